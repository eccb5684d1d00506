//! Statistics and directions of all blocks on the device: one launch for the statistics, two for the directions of
//! matrices and one for those of vectors, however many blocks there are.

use cubecl::server::Handle;

use super::blocking::{Block, Blocking, Side};
use super::grouped::{Product, Products, TileBlueprint, View, grouped_product};
use super::statistics::{LARGEST, weights};
use crate::buffers::require_bytes;
use crate::context::Context;
use crate::error::Error;
use crate::segments::Segments;

/// The products of a blocking, as tables on the device.
pub struct DeviceBlocking {
    grams: Products,
    /// Root times gradient: of matrices into the scratch arena, of vectors into the direction.
    lefts: Products,
    vectors: Products,
    /// What the scratch arena holds, times the right root.
    rights: Products,
    arena: usize,
    factor_values: usize,
}

impl DeviceBlocking {
    /// Uploads the tables.
    ///
    /// # Errors
    /// As [`Products::new`].
    pub fn new(
        context: &Context,
        segments: &Segments,
        blocking: &Blocking,
        blueprint: TileBlueprint,
    ) -> Result<Self, Error> {
        let own = |block: &Block| View::rows(block.start, block.stride);
        let (mut grams, mut lefts, mut vectors, mut rights) = (vec![], vec![], vec![], vec![]);
        for factor in blocking.factors() {
            let block = &blocking.blocks()[factor.block];
            let (g, square) = (own(block), View::rows(factor.range.start, factor.n));
            let (a, b, k) = match factor.side {
                Side::Left => (g, g.transposed(), block.columns),
                Side::Right => (g.transposed(), g, block.rows),
            };
            grams.push(Product {
                a,
                b,
                c: square,
                m: factor.n,
                n: factor.n,
                k,
            });
            let (a, b) = match factor.side {
                Side::Left => (square, g),
                Side::Right => (g, square),
            };
            let applied = Product {
                a,
                b,
                c: g,
                m: block.rows,
                n: block.columns,
                k: factor.n,
            };
            match (factor.side, block.factors.len()) {
                (Side::Left, 1) => vectors.push(applied),
                (Side::Left, _) => lefts.push(applied),
                (Side::Right, _) => rights.push(applied),
            }
        }
        let table = |products: &[Product]| Products::new(context, products, blueprint);
        Ok(Self {
            grams: table(&grams)?,
            lefts: table(&lefts)?,
            vectors: table(&vectors)?,
            rights: table(&rights)?,
            arena: segments.arena_len(),
            factor_values: blocking.factor_values(),
        })
    }

    /// As [`super::statistics`], on the device: `grads` is an arena, `factors` holds [`Blocking::factor_values`] values
    /// of f32.
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another length, [`Error::Range`] for β₂ outside (0, 1]; launch errors as
    /// [`Context::launch`].
    pub fn statistics(
        &self,
        context: &Context,
        grads: &Handle,
        factors: &Handle,
        beta2: f64,
    ) -> Result<(), Error> {
        let operation = "kronecker statistics";
        let (keep, weight) = weights(operation, beta2)?;
        require_bytes(operation, "grads", grads, 4 * self.arena as u64)?;
        require_bytes(operation, "factors", factors, 4 * self.factor_values as u64)?;
        grouped_product(
            context,
            &self.grams,
            grads,
            grads,
            factors,
            keep,
            weight,
            Some(LARGEST),
        )
    }

    /// As [`super::direction`], on the device; `scratch` is an arena.
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
    pub fn direction(
        &self,
        context: &Context,
        roots: &Handle,
        grads: &Handle,
        scratch: &Handle,
        out: &Handle,
    ) -> Result<(), Error> {
        let operation = "kronecker direction";
        for (argument, buffer) in [("grads", grads), ("scratch", scratch), ("out", out)] {
            require_bytes(operation, argument, buffer, 4 * self.arena as u64)?;
        }
        require_bytes(operation, "roots", roots, 4 * self.factor_values as u64)?;
        grouped_product(context, &self.lefts, roots, grads, scratch, 0.0, 1.0, None)?;
        grouped_product(context, &self.vectors, roots, grads, out, 0.0, 1.0, None)?;
        grouped_product(context, &self.rights, scratch, roots, out, 0.0, 1.0, None)
    }
}
