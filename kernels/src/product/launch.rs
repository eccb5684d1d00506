//! Launches of products.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::OPERATION;
use super::kernel::{Plan, product_kernel};
use super::table::{Products, TILE, WORDS};
use super::tail::Tail;
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Grid, array, optional};

/// Cubes at most; every device allows as many along x.
const CUBES: usize = 1 << 15;

/// What products are multiplied with, and added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Of what C holds, which is not read if this is 0.
    pub keep: f64,
    /// Of the product.
    pub weight: f64,
    /// Entries of A and B count as at most ± this.
    pub bound: Option<f32>,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            keep: 0.0,
            weight: 1.0,
            bound: None,
        }
    }
}

/// C_i ← `keep` · C_i + `weight` · A_i B_i for all products, in one launch. The buffers are of f32, and A, B and C views into them; C
/// must overlap neither A nor B.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short; launch errors as [`Context::launch`].
pub fn multiply(
    context: &Context,
    products: &Products,
    buffers: [&Handle; 3],
    scale: Scale,
) -> Result<(), Error> {
    Work::scaled(products, buffers, scale).launch(context)
}

/// Products whose phase, a number below 32, is not in the set of bits `mask` are passed over.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    pub phases: &'a Handle,
    pub mask: u32,
}

/// C_i ← `keep` · C_i + A_i B_i for the products that the gate lets through. `phases` must have a word for every index that the
/// products were given.
pub(crate) fn gated(
    context: &Context,
    products: &Products,
    buffers: [&Handle; 3],
    keep: f64,
    gate: Gate<'_>,
) -> Result<(), Error> {
    let scale = Scale {
        keep,
        ..Scale::default()
    };
    let work = Work {
        gate: Some(gate),
        ..Work::scaled(products, buffers, scale)
    };
    work.launch(context)
}

/// A launch, and what becomes of its sums.
pub(crate) struct Work<'a> {
    pub products: &'a Products,
    /// A, B and C.
    pub buffers: [&'a Handle; 3],
    pub tail: Tail,
    pub scale: Scale,
    /// What is added to every row of C, if anything.
    pub bias: Option<&'a Handle>,
    /// What lies beside C, if anything.
    pub beside: Option<&'a Handle>,
    /// Where sums of lines go, or the loss of each tile.
    pub extra: Option<&'a Handle>,
    pub gate: Option<Gate<'a>>,
}

impl<'a> Work<'a> {
    /// Without anything beside A, B and C.
    pub fn scaled(products: &'a Products, buffers: [&'a Handle; 3], scale: Scale) -> Self {
        Self {
            products,
            buffers,
            tail: Tail::Scaled {
                keeps: scale.keep != 0.0,
                line_sums: products.line_sums,
            },
            scale,
            bias: None,
            beside: None,
            extra: None,
            gate: None,
        }
    }

    /// Requires buffers as long as the products need.
    fn require_buffers(&self) -> Result<(), Error> {
        let [a, b, c, line, beside] = self.products.needs;
        let [left, right, out] = self.buffers;
        let extra = if self.tail.is_loss() {
            self.products.tile_count
        } else {
            line
        };
        let needed = [
            ("a", Some(left), a),
            ("b", Some(right), b),
            ("c", Some(out), c),
            ("bias", self.bias, line),
            ("beside", self.beside, beside),
            ("extra", self.extra, extra),
        ];
        for (argument, buffer, needs) in needed {
            let Some(buffer) = buffer else { continue };
            let (found, expected) = (buffer.size_in_used(), 4 * needs as u64);
            if found < expected {
                return Err(Error::Length {
                    operation: OPERATION,
                    argument,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Launches it.
    ///
    /// # Errors
    /// [`Error::Length`] if a buffer is too short; [`Error::Limit`] for more shared memory than the device has; launch errors as
    /// [`Context::launch`].
    pub fn launch(self, context: &Context) -> Result<(), Error> {
        self.require_buffers()?;
        let Self {
            products,
            buffers: [a, b, c],
            tail,
            scale,
            bias,
            beside,
            extra,
            gate,
        } = self;
        if products.tile_count == 0 {
            return Ok(());
        }
        let blueprint = products.blueprint;
        context.require_shared(OPERATION, blueprint.shared_bytes())?;
        let plan = Plan {
            blueprint,
            a: products.a,
            b: products.b,
            width: products.width,
            tail,
            bounded: scale.bound.is_some(),
            gated: gate.is_some(),
            symmetric: products.symmetric,
        };
        let others = [bias, beside, extra, gate.map(|gate| gate.phases)];
        let others = others.iter().flatten().count();
        let grid = Grid {
            cubes: products.tile_count.min(CUBES) as u32,
            units: blueprint.units() as u32,
            buffers: 6 + others as u32,
        };
        let phases = gate.map(|gate| gate.phases);
        context.launch(OPERATION, plan, grid, move |client, cubes, units| {
            let vectors =
                |buffer: &Handle, width: usize| (buffer.size_in_used() / 4) as usize / width;
            let mut besides = SequenceArg::new();
            for buffer in [bias, beside].into_iter().flatten() {
                besides.push(array(buffer, vectors(buffer, plan.width)));
            }
            // SAFETY: each buffer was checked to hold the last vector of every view; loads beyond a matrix are redirected to
            // its last line or term, stores beyond it are skipped, and cubes stop at the last tile.
            unsafe {
                product_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    plan.a.width,
                    plan.b.width,
                    plan.width,
                    array(a, vectors(a, plan.a.width)),
                    array(b, vectors(b, plan.b.width)),
                    array(c, vectors(c, plan.width)),
                    array(&products.problems, products.count * WORDS),
                    array(&products.tiles, TILE * products.tile_count),
                    optional(phases, phases.map_or(0, |it| vectors(it, 1))),
                    besides,
                    optional(extra, extra.map_or(0, |it| vectors(it, 1))),
                    scale.keep as f32,
                    scale.weight as f32,
                    scale.bound.unwrap_or(f32::MAX),
                    products.tile_count as u32,
                    gate.map_or(0, |gate| gate.mask),
                    0,
                    plan,
                );
            }
        })
    }
}
