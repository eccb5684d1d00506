//! Statistics and directions of all blocks on the device: two launches for the statistics, two for the directions of
//! matrices and one for those of vectors, however many blocks there are.

use cubecl::server::Handle;

use super::blocking::{Block, Blocking, Side};

use super::statistics::{LARGEST, weights};
use crate::arena::{self, Arena, Layout};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, require_bytes};
use crate::precision::Native;
use crate::product::{Blueprint, Product, Products, Scale, View, multiply};

/// The products of a blocking, as tables on the device.
pub struct DeviceBlocking {
    /// G Gᵀ of the left factors, and Gᵀ G of the right ones: apart, for each is read its own way.
    grams: [Products; 2],
    /// Root times gradient: of matrices into the scratch arena, of vectors into the direction.
    lefts: Products,
    vectors: Products,
    /// What the scratch arena holds, times the right root.
    rights: Products,
    layout: Layout,
    factor_values: usize,
}

impl DeviceBlocking {
    /// Uploads the tables.
    ///
    /// # Errors
    /// As [`Products::new`].
    pub fn new(
        context: &Context,
        layout: &Layout,
        blocking: &Blocking,
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let own = |block: &Block| View::rows(block.start, block.stride);
        let (mut left_grams, mut right_grams) = (vec![], vec![]);
        let (mut lefts, mut vectors, mut rights) = (vec![], vec![], vec![]);
        for factor in blocking.factors() {
            let block = &blocking.blocks()[factor.block];
            let (g, square) = (own(block), View::rows(factor.range.start, factor.n));
            let (grams, a, b, k) = match factor.side {
                Side::Left => (&mut left_grams, g, g.transposed(), block.columns),
                Side::Right => (&mut right_grams, g.transposed(), g, block.rows),
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
        let gram = |products: &[Product]| Products::symmetric(context, products, strategy);
        let table = |products: &[Product]| Products::new(context, products, strategy);
        Ok(Self {
            grams: [gram(&left_grams)?, gram(&right_grams)?],
            lefts: table(&lefts)?,
            vectors: table(&vectors)?,
            rights: table(&rights)?,
            layout: layout.clone(),
            factor_values: blocking.factor_values(),
        })
    }

    /// As [`super::statistics`], on the device: `grads` is of f32, `factors` holds [`Blocking::factor_values`] values
    /// of f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for an arena of another layout or format, [`Error::Length`] for `factors` of another length, [`Error::Range`] for β₂ outside (0, 1]; launch errors as
    /// [`Context::launch`].
    pub fn statistics(
        &self,
        context: &Context,
        grads: &Arena,
        factors: &Handle,
        beta2: f64,
    ) -> Result<(), Error> {
        let operation = "kronecker statistics";
        let (keep, weight) = weights(operation, beta2)?;
        arena::require::<Native<f32>>(operation, &self.layout, [("grads", grads)])?;
        let grads = grads.handle();
        require_bytes(operation, "factors", factors, 4 * self.factor_values as u64)?;
        let scale = Scale {
            keep,
            weight,
            bound: Some(LARGEST),
        };
        for grams in &self.grams {
            multiply(context, grams, [grads, grads, factors], scale)?;
        }
        Ok(())
    }

    /// As [`super::direction`], on the device, all arenas of f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for an arena of another layout or format, [`Error::Length`] for `roots` of another length; launch errors as [`Context::launch`].
    pub fn direction(
        &self,
        context: &Context,
        roots: &Handle,
        grads: &Arena,
        scratch: &Arena,
        out: &Arena,
    ) -> Result<(), Error> {
        let operation = "kronecker direction";
        let arenas = [("grads", grads), ("scratch", scratch), ("out", out)];
        arena::require::<Native<f32>>(operation, &self.layout, arenas)?;
        let [grads, scratch, out] = [grads, scratch, out].map(Arena::handle);
        require_bytes(operation, "roots", roots, 4 * self.factor_values as u64)?;
        let scale = Scale::default();
        multiply(context, &self.lefts, [roots, grads, scratch], scale)?;
        multiply(context, &self.vectors, [roots, grads, out], scale)?;
        multiply(context, &self.rights, [scratch, roots, out], scale)
    }
}
