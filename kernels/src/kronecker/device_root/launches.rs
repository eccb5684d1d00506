//! The launches of [`DeviceRoots`], as a table: for each row or for each matrix a cube, the kernel, its arrays, its scalars and what
//! it knows when it is compiled.

use std::ops::Range;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::check::{self, Multiplier, Times};
use super::control::{self, COUNTS, FINISHED, RECORD, bits};
use super::tables::{CUBES, MATRIX, ROW, UNITS};
use super::{DeviceRoots, OPERATION, PATIENCE, rows};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Grid, array};
use crate::product::{Gate, gated};

/// A method for each line: `name(arguments) cubes: kernel, [arrays], scalars => [comptime values]`. It binds an array of each buffer and
/// one of the scalars.
macro_rules! launches {
    ($this:ident; $(
        $(#[$doc:meta])*
        $name:ident($($argument:ident: $type:ty),*) $items:ident:
        $module:ident::$kernel:ident, [$($array:expr),*] $(, $scalar:expr)* $(=> [$($known:expr),*])?;
    )*) => {
        impl DeviceRoots {$(
            $(#[$doc])*
            pub(super) fn $name(&self, context: &Context $(, $argument: $type)*) -> Result<(), Error> {
                let $this = self;
                let grid = grid(self.$items(), 1 + [$(stringify!($array)),*].len());
                let variant = (stringify!($name), $($($known),*)?);
                context.launch(OPERATION, variant, grid, |client, cubes, units| {
                    // SAFETY: the tables below give each buffer the length that `DeviceRoots::new` made it with, and those of a caller
                    // the one that `compute` and `copy` have checked. Kernels stay within the rows and matrices that they
                    // are told of, whose values lie within those of all.
                    unsafe {
                        $module::$kernel::launch_unchecked::<Gpu>(
                            client, cubes, units $(, $array)* , $this.$items() as u32 $(, $scalar)* $($(, $known)*)?
                        );
                    }
                })
            }
        )*}
    };
}

launches! { this;
    copy_values(from: &Handle, to: &Handle) row_count:
        rows::copy_kernel,
        [this.matrices(), this.rows(), this.all(from), this.all(to)];
    row_norms(statistics: &Handle) row_count:
        rows::row_norms_kernel,
        [this.matrices(), this.rows(), this.all(statistics), this.pairs(&this.row_norms)];
    take_up(which: Range<usize>) matrix_count:
        control::take_up_kernel,
        [this.matrices(), this.pairs(&this.row_norms), this.records(), this.phases()],
        which.start as u32, which.end as u32;
    ridge(vector: &Handle, image: &Handle, epsilon: f64, relative: bool) matrix_count:
        control::ridge_kernel,
        [this.matrices(), this.vector(vector), this.vector(image), this.records(), this.phases()],
        epsilon as f32 => [relative];
    decide(closing: bool) matrix_count:
        control::decide_kernel,
        [this.matrices(), this.vector(&this.row_squares), this.records(), this.phases()],
        (this.rounds + PATIENCE) as f32 => [closing];
    polynomial() row_count:
        rows::polynomial_kernel,
        [this.matrices(), this.rows(), this.records(), this.phases(), this.all(&this.m), this.all(&this.q)];
    settle(statistics: &Handle) row_count:
        rows::settle_kernel,
        [
            this.matrices(), this.rows(), this.first_in_x(), this.records(), this.phases(), this.all(statistics),
            this.all(&this.h), this.all(&this.x), this.all(&this.m), this.all(&this.q), this.all(&this.w)
        ];
    ridge_product() row_count:
        rows::ridge_product_kernel,
        [this.matrices(), this.rows(), this.records(), this.phases(), this.all(&this.w), this.all(&this.x)];
    symmetrise() row_count:
        rows::symmetrise_kernel,
        [this.matrices(), this.rows(), this.phases(), this.all(&this.m), this.vector(&this.row_squares)];
    symmetrise_root() row_count:
        rows::finish_kernel,
        [this.matrices(), this.rows(), this.phases(), this.all(&this.h), this.all(&this.w)];
    apply_kernel(
        matrix: &Handle, from: &Handle, to: &Handle, mask: u32, launch: usize,
        multiplier: Multiplier, times: Times, normalised: bool
    ) row_count:
        check::apply_kernel,
        [
            this.matrices(), this.rows(), this.records(), this.phases(), this.all(matrix), this.all(&this.x),
            this.vector(from), this.vector(to)
        ],
        mask, launch as u32, 0 => [multiplier, times, normalised];
    accept(left: &Handle, image: &Handle, threshold: f64, last: bool) matrix_count:
        check::accept_kernel,
        [
            this.matrices(), this.vector(left), this.vector(image), this.records(), this.counts(), this.phases()
        ],
        threshold as f32 => [last];
    renew(roots: &Handle) row_count:
        rows::renew_kernel,
        [
            this.matrices(), this.rows(), this.records(), this.phases(), this.all(&this.w), this.all(&this.x),
            this.all(roots)
        ];
}

impl DeviceRoots {
    /// W ← H made symmetric; of an odd p also X ← W².
    pub(super) fn finish(&self, context: &Context) -> Result<(), Error> {
        self.symmetrise_root(context)?;
        let Some(square) = &self.products.square else {
            return Ok(());
        };
        let gate = Gate {
            phases: &self.phases,
            mask: bits(&[FINISHED]),
        };
        gated(context, square, [&self.w, &self.w, &self.x], 0.0, gate)
    }

    /// `to` ← A `from` in the phases of `mask`, see [`check`].
    pub(super) fn apply(
        &self,
        context: &Context,
        matrix: &Handle,
        [from, to]: [&Handle; 2],
        mask: u32,
        launch: usize,
        (multiplier, times, normalised): (Multiplier, Times, bool),
    ) -> Result<(), Error> {
        self.apply_kernel(
            context, matrix, from, to, mask, launch, multiplier, times, normalised,
        )
    }

    fn row_count(&self) -> usize {
        self.row_count
    }

    fn matrix_count(&self) -> usize {
        self.sizes.len()
    }

    /// n² values of each matrix.
    fn all(&self, buffer: &Handle) -> ArrayArg<Gpu> {
        array(buffer, self.values)
    }

    /// A value for each row.
    fn vector(&self, buffer: &Handle) -> ArrayArg<Gpu> {
        array(buffer, self.row_count)
    }

    /// Two values for each row.
    fn pairs(&self, buffer: &Handle) -> ArrayArg<Gpu> {
        array(buffer, 2 * self.row_count)
    }

    fn matrices(&self) -> ArrayArg<Gpu> {
        array(&self.matrices, MATRIX * self.sizes.len())
    }

    fn rows(&self) -> ArrayArg<Gpu> {
        array(&self.rows, ROW * self.row_count)
    }

    fn first_in_x(&self) -> ArrayArg<Gpu> {
        array(&self.first_in_x, self.sizes.len())
    }

    fn records(&self) -> ArrayArg<Gpu> {
        array(&self.records, RECORD * self.sizes.len())
    }

    fn counts(&self) -> ArrayArg<Gpu> {
        array(&self.counts, COUNTS * self.sizes.len())
    }

    fn phases(&self) -> ArrayArg<Gpu> {
        array(&self.phases, self.sizes.len())
    }
}

fn grid(items: usize, buffers: usize) -> Grid {
    Grid {
        cubes: items.clamp(1, CUBES) as u32,
        units: UNITS as u32,
        buffers: buffers as u32,
    }
}
