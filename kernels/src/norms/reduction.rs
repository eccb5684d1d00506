//! Norms and maxima per tensor, in two launches whatever the number of tensors: a value per block, then one cube per tensor that
//! folds them in a fixed order, so that equal inputs give equal bits.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::fold::{cube_max, cube_sum};
use super::length::{Length, add, merge, read_part};
use crate::arena::Layout;
use crate::context::{Context, Units};
use crate::error::Error;
use crate::evidence::magnitude_bits;
use crate::launch::{Grid, Sweep, array, require_bytes};

/// How partial values are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fold {
    /// ‖x‖ from the norms of its parts.
    Norm,
    /// The largest; values ≥ 0.
    Max,
}

#[cube(launch_unchecked)]
fn fold_kernel(
    partials: &Array<f32>,
    ranges: &Array<u32>,
    out: &mut Array<f32>,
    #[comptime] per_block: usize,
    #[comptime] units: usize,
    #[comptime] channels: usize,
    #[comptime] how: Fold,
) {
    let tensor = CUBE_POS;
    // Partials start behind the leading pad.
    let first = ranges[tensor * 2] as usize - 1;
    let last = ranges[tensor * 2 + 1] as usize - 1;
    let mut floats = SharedMemory::<f32>::new(units);
    let mut words = SharedMemory::<u32>::new(units);
    #[unroll]
    for channel in 0..channels {
        let mut length = Length::new();
        let mut largest = 0u32;
        let mut block = first + UNIT_POS as usize;
        while block < last {
            if comptime!(how == Fold::Max) {
                largest = max(
                    largest,
                    magnitude_bits(partials[block * channels + channel]),
                );
            } else if comptime!(per_block == 1) {
                add(&mut length, partials[block * channels + channel]);
            } else {
                let mut whole = Length::new();
                for part in 0..per_block {
                    let at = block * per_block + part;
                    let part = read_part(partials, at * channels + channel);
                    merge(&mut whole, &part);
                }
                add(&mut length, whole.root());
            }
            block += units;
        }
        let folded = if comptime!(how == Fold::Max) {
            f32::reinterpret(cube_max(largest, &mut words, units))
        } else {
            let unit = cube_max(length.unit, &mut words, units);
            let squares = length.in_unit(unit);
            cube_sum(squares, &mut floats, units).sqrt() * f32::reinterpret(unit)
        };
        if UNIT_POS == 0 {
            out[tensor * channels + channel] = folded;
        }
    }
}

/// Folds partial values per tensor.
pub struct Reduction {
    ranges: Handle,
    layout: Layout,
}

impl Reduction {
    /// Uploads which blocks belong to which tensor.
    pub fn new(context: &Context, layout: &Layout) -> Self {
        let ranges: Vec<u32> = layout
            .block_ranges()
            .into_iter()
            .flat_map(|blocks| [blocks.start as u32, blocks.end as u32])
            .collect();
        Self {
            ranges: context.upload(&ranges),
            layout: layout.clone(),
        }
    }

    /// Where the tensors lie.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Pairs of norms: `partials` holds those that a sweep has measured ([`Sweep::norms`]), `out` the pair of each tensor.
    ///
    /// # Errors
    /// [`Error::Length`] if a buffer has another length; launch errors as [`Context::launch`].
    pub fn pairs_of_norms(
        &self,
        context: &Context,
        partials: &Handle,
        sweep: Sweep,
        out: &Handle,
    ) -> Result<(), Error> {
        self.fold::<2>(context, partials, sweep.norms_per_block(), out, Fold::Norm)
    }

    /// ‖x‖ of each tensor from those of its blocks.
    pub(super) fn norms(
        &self,
        context: &Context,
        partials: &Handle,
        out: &Handle,
    ) -> Result<(), Error> {
        self.fold::<1>(context, partials, 1, out, Fold::Norm)
    }

    /// The largest of the values ≥ 0 of each tensor's blocks.
    pub(crate) fn maxima(
        &self,
        context: &Context,
        partials: &Handle,
        out: &Handle,
    ) -> Result<(), Error> {
        self.fold::<1>(context, partials, 1, out, Fold::Max)
    }

    fn fold<const CHANNELS: usize>(
        &self,
        context: &Context,
        partials: &Handle,
        per_block: usize,
        out: &Handle,
        how: Fold,
    ) -> Result<(), Error> {
        let operation = "reduction per tensor";
        // A part has the sum of its squares and their unit, a block its norm.
        let numbers = if per_block > 1 { 2 } else { 1 };
        let tensors = self.layout.tensors().len();
        let count = (self.layout.blocks() - 2) * per_block * CHANNELS * numbers;
        require_bytes(operation, "partials", partials, 4 * count as u64)?;
        require_bytes(operation, "out", out, 4 * (tensors * CHANNELS) as u64)?;
        let units: usize = match context.profile().units {
            Units::Few => 64,
            Units::Many => 256,
        };
        let grid = Grid {
            cubes: tensors as u32,
            units: units as u32,
            buffers: 4,
        };
        context.launch(
            operation,
            (CHANNELS, how, per_block),
            grid,
            |client, cubes, dim| {
                // SAFETY: the ranges lie within the partials, whose length was checked; `out` has a value for each cube.
                unsafe {
                    fold_kernel::launch_unchecked::<Gpu>(
                        client,
                        cubes,
                        dim,
                        array(partials, count),
                        array(&self.ranges, 2 * tensors),
                        array(out, tensors * CHANNELS),
                        per_block,
                        units,
                        CHANNELS,
                        how,
                    );
                }
            },
        )
    }
}
