//! The launches of [`DeviceRoots`], one method a kernel. [`DeviceRoots::compute`] has checked what comes from outside.

use std::ops::Range;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::{Client, Gpu};

use super::check::{self, Multiplier, Times};
use super::control::{self, COUNTS, FINISHED, RECORD, bits};
use super::tables::{CUBES, MATRIX, ROW, UNITS};
use super::{DeviceRoots, OPERATION, PATIENCE, rows};
use crate::buffers::array;
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::product::{Gate, gated};

impl DeviceRoots {
    pub(super) fn copy_values(
        &self,
        context: &Context,
        from: &Handle,
        to: &Handle,
    ) -> Result<(), Error> {
        self.by_row(context, "copy", 4, |client, cubes, units| {
            // SAFETY: as `by_row`; `copy` has checked that both buffers hold all values.
            unsafe {
                rows::copy_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    array(from, self.values),
                    array(to, self.values),
                    self.row_count as u32,
                );
            }
        })
    }

    pub(super) fn row_norms(&self, context: &Context, statistics: &Handle) -> Result<(), Error> {
        self.by_row(context, "row norms", 5, |client, cubes, units| {
            // SAFETY: as `by_row`; `compute` has checked the statistics, the norms are a pair a row.
            unsafe {
                rows::row_norms_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    array(statistics, self.values),
                    array(&self.row_norms, 2 * self.row_count),
                    self.row_count as u32,
                );
            }
        })
    }

    pub(super) fn take_up(&self, context: &Context, which: Range<usize>) -> Result<(), Error> {
        self.by_matrix(context, "take up", 5, |client, cubes, units| {
            // SAFETY: as `by_matrix`; the norms are a pair a row.
            unsafe {
                control::take_up_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    array(&self.row_norms, 2 * self.row_count),
                    self.record_values(),
                    self.phase_words(),
                    self.sizes.len() as u32,
                    which.start as u32,
                    which.end as u32,
                );
            }
        })
    }

    pub(super) fn ridge(
        &self,
        context: &Context,
        [vector, image]: [&Handle; 2],
        epsilon: f64,
        relative: bool,
    ) -> Result<(), Error> {
        let variant = ("ridge", relative);
        self.by_matrix(context, variant, 6, |client, cubes, units| {
            // SAFETY: as `by_matrix`; vectors have a value a row.
            unsafe {
                control::ridge_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    array(vector, self.row_count),
                    array(image, self.row_count),
                    self.record_values(),
                    self.phase_words(),
                    self.sizes.len() as u32,
                    epsilon as f32,
                    relative,
                );
            }
        })
    }

    pub(super) fn decide(&self, context: &Context, closing: bool) -> Result<(), Error> {
        let variant = ("decide", closing);
        self.by_matrix(context, variant, 5, |client, cubes, units| {
            // SAFETY: as `by_matrix`; the squares have a value a row.
            unsafe {
                control::decide_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    array(&self.row_squares, self.row_count),
                    self.record_values(),
                    self.phase_words(),
                    self.sizes.len() as u32,
                    (self.rounds + PATIENCE) as f32,
                    closing,
                );
            }
        })
    }

    pub(super) fn polynomial(&self, context: &Context) -> Result<(), Error> {
        self.by_row(context, "polynomial", 7, |client, cubes, units| {
            // SAFETY: as `by_row`; M and Q hold all values.
            unsafe {
                rows::polynomial_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.record_values(),
                    self.phase_words(),
                    array(&self.m, self.values),
                    array(&self.q, self.values),
                    self.row_count as u32,
                );
            }
        })
    }

    pub(super) fn settle(&self, context: &Context, statistics: &Handle) -> Result<(), Error> {
        self.by_row(context, "settle", 12, |client, cubes, units| {
            let all = |buffer| array(buffer, self.values);
            // SAFETY: as `by_row`; `compute` has checked the statistics, the other buffers hold all values.
            unsafe {
                rows::settle_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    array(&self.first_in_x, self.sizes.len()),
                    self.record_values(),
                    self.phase_words(),
                    all(statistics),
                    all(&self.h),
                    all(&self.x),
                    all(&self.m),
                    all(&self.q),
                    all(&self.w),
                    self.row_count as u32,
                );
            }
        })
    }

    pub(super) fn ridge_product(&self, context: &Context) -> Result<(), Error> {
        self.by_row(context, "ridge product", 7, |client, cubes, units| {
            // SAFETY: as `by_row`; W and X hold all values.
            unsafe {
                rows::ridge_product_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.record_values(),
                    self.phase_words(),
                    array(&self.w, self.values),
                    array(&self.x, self.values),
                    self.row_count as u32,
                );
            }
        })
    }

    pub(super) fn symmetrise(&self, context: &Context) -> Result<(), Error> {
        self.by_row(context, "symmetrise", 6, |client, cubes, units| {
            // SAFETY: as `by_row`; M holds all values, the squares one a row.
            unsafe {
                rows::symmetrise_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.phase_words(),
                    array(&self.m, self.values),
                    array(&self.row_squares, self.row_count),
                    self.row_count as u32,
                );
            }
        })
    }

    /// W ← H made symmetric; of an odd p also X ← W².
    pub(super) fn finish(&self, context: &Context) -> Result<(), Error> {
        self.by_row(context, "finish", 6, |client, cubes, units| {
            // SAFETY: as `by_row`; H and W hold all values.
            unsafe {
                rows::finish_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.phase_words(),
                    array(&self.h, self.values),
                    array(&self.w, self.values),
                    self.row_count as u32,
                );
            }
        })?;
        let Some(square) = &self.products.square else {
            return Ok(());
        };
        let gate = Gate {
            phases: &self.phases,
            mask: bits(&[FINISHED]),
        };
        gated(context, square, [&self.w, &self.w, &self.x], 0.0, gate)
    }

    pub(super) fn apply(
        &self,
        context: &Context,
        matrix: &Handle,
        [from, to]: [&Handle; 2],
        mask: u32,
        launch: usize,
        how: (Multiplier, Times, bool),
    ) -> Result<(), Error> {
        let (multiplier, times, normalised) = how;
        self.by_row(context, how, 9, |client, cubes, units| {
            // SAFETY: as `by_row`; the matrix is W or was checked by `compute`, vectors have a value a row.
            unsafe {
                check::apply_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.record_values(),
                    self.phase_words(),
                    array(matrix, self.values),
                    array(&self.x, self.values),
                    array(from, self.row_count),
                    array(to, self.row_count),
                    self.row_count as u32,
                    mask,
                    launch as u32,
                    0,
                    multiplier,
                    times,
                    normalised,
                );
            }
        })
    }

    pub(super) fn accept(
        &self,
        context: &Context,
        left: &Handle,
        image: &Handle,
        threshold: f64,
        last: bool,
    ) -> Result<(), Error> {
        self.by_matrix(context, ("accept", last), 7, |client, cubes, units| {
            // SAFETY: as `by_matrix`; vectors have a value a row.
            unsafe {
                check::accept_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    array(left, self.row_count),
                    array(image, self.row_count),
                    self.record_values(),
                    array(&self.counts, COUNTS * self.sizes.len()),
                    self.phase_words(),
                    self.sizes.len() as u32,
                    threshold as f32,
                    last,
                );
            }
        })
    }

    pub(super) fn renew(&self, context: &Context, roots: &Handle) -> Result<(), Error> {
        self.by_row(context, "renew", 8, |client, cubes, units| {
            // SAFETY: as `by_row`; `compute` has checked the roots, W and X hold all values.
            unsafe {
                rows::renew_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    self.matrix_words(),
                    self.row_words(),
                    self.record_values(),
                    self.phase_words(),
                    array(&self.w, self.values),
                    array(&self.x, self.values),
                    array(roots, self.values),
                    self.row_count as u32,
                );
            }
        })
    }

    /// Launches with a cube for each row; kernels stay within `row_count` rows, whose matrices lie within `values` values.
    fn by_row(
        &self,
        context: &Context,
        variant: impl std::hash::Hash,
        buffers: u32,
        launch: impl FnOnce(&Client, CubeCount, CubeDim) + Send,
    ) -> Result<(), Error> {
        let grid = grid(self.row_count, buffers);
        context.launch(OPERATION, variant, grid, launch)
    }

    /// Launches with a cube for each matrix; kernels stay within the tables and records of as many.
    fn by_matrix(
        &self,
        context: &Context,
        variant: impl std::hash::Hash,
        buffers: u32,
        launch: impl FnOnce(&Client, CubeCount, CubeDim) + Send,
    ) -> Result<(), Error> {
        let grid = grid(self.sizes.len(), buffers);
        context.launch(OPERATION, variant, grid, launch)
    }

    fn matrix_words(&self) -> ArrayArg<Gpu> {
        array(&self.matrices, MATRIX * self.sizes.len())
    }

    fn row_words(&self) -> ArrayArg<Gpu> {
        array(&self.rows, ROW * self.row_count)
    }

    fn record_values(&self) -> ArrayArg<Gpu> {
        array(&self.records, RECORD * self.sizes.len())
    }

    fn phase_words(&self) -> ArrayArg<Gpu> {
        array(&self.phases, self.sizes.len())
    }
}

fn grid(items: usize, buffers: u32) -> Grid {
    Grid {
        cubes: items.clamp(1, CUBES) as u32,
        units: UNITS as u32,
        buffers,
    }
}
