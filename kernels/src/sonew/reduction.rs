//! Norms and maxima per tensor, in two launches whatever the number of tensors: a value per block (or run), then one
//! cube per tensor that folds them in a fixed order, so that equal inputs give equal bits.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::buffers::{array, require_arena, require_bytes};
use crate::context::{Context, Grid, Processor};
use crate::error::Error;
use crate::evidence::magnitude_bits;
use crate::fold::{cube_max, cube_sum};
use crate::length::{Length, extend, inverse, unit_of};
use crate::precision::{Precision, Storage};
use crate::segments::{BLOCK, Segments};

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
    per_block: u32,
    #[comptime] units: usize,
    #[comptime] channels: usize,
    #[comptime] how: Fold,
) {
    let tensor = CUBE_POS;
    // Partials start behind the leading pad, so block k has the partials of index (k − 1) · per_block onwards.
    let first = (ranges[tensor * 2] as usize - 1) * per_block as usize;
    let last = (ranges[tensor * 2 + 1] as usize - 1) * per_block as usize;
    let mut floats = SharedMemory::<f32>::new(units);
    let mut words = SharedMemory::<u32>::new(units);
    #[unroll]
    for channel in 0..channels {
        let mut largest = 0u32;
        let mut at = first + UNIT_POS as usize;
        while at < last {
            largest = max(largest, magnitude_bits(partials[at * channels + channel]));
            at += units;
        }
        let largest = cube_max(largest, &mut words, units);
        let mut folded = f32::reinterpret(largest);
        if comptime!(how == Fold::Norm) {
            let unit = unit_of(largest);
            let mut squares = 0.0f32;
            let mut at = first + UNIT_POS as usize;
            while at < last {
                let part = partials[at * channels + channel] * inverse(unit);
                squares += part * part;
                at += units;
            }
            folded = cube_sum(squares, &mut floats, units).sqrt() * f32::reinterpret(unit);
        }
        if UNIT_POS == 0 {
            out[tensor * channels + channel] = folded;
        }
    }
}

/// Folds partial values per tensor.
pub struct Reduction {
    ranges: Handle,
    tensors: usize,
    partial_blocks: usize,
}

impl Reduction {
    /// Uploads which blocks belong to which tensor.
    pub fn new(context: &Context, segments: &Segments) -> Self {
        let ranges: Vec<u32> = segments
            .block_ranges()
            .into_iter()
            .flat_map(|blocks| [blocks.start as u32, blocks.end as u32])
            .collect();
        Self {
            ranges: context.upload(&ranges),
            tensors: segments.tensors().len(),
            partial_blocks: segments.blocks() - 2,
        }
    }

    /// Pairs of norms: `partials` holds `per_block` pairs for each block between the pads, those of the parts of a tensor,
    /// `out` the pair of each tensor.
    ///
    /// # Errors
    /// [`Error::Length`] if a buffer has another length; launch errors as [`Context::launch`].
    pub fn pairs_of_norms(
        &self,
        context: &Context,
        partials: &Handle,
        per_block: usize,
        out: &Handle,
    ) -> Result<(), Error> {
        self.fold::<2>(context, partials, per_block, out, Fold::Norm)
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
        let count = self.partial_blocks * per_block * CHANNELS;
        require_bytes(operation, "partials", partials, 4 * count as u64)?;
        require_bytes(operation, "out", out, 4 * (self.tensors * CHANNELS) as u64)?;
        let units: usize = match context.processor() {
            Processor::Cpu => 64,
            Processor::Gpu => 256,
        };
        let grid = Grid {
            cubes: self.tensors as u32,
            units: units as u32,
            buffers: 4,
        };
        context.launch(operation, (CHANNELS, how), grid, |client, cubes, dim| {
            // SAFETY: the ranges lie within the partials, whose length was checked; `out` has a value for each cube.
            unsafe {
                fold_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    dim,
                    array(partials, count),
                    array(&self.ranges, 2 * self.tensors),
                    array(out, self.tensors * CHANNELS),
                    per_block as u32,
                    units,
                    CHANNELS,
                    how,
                );
            }
        })
    }
}

#[cube(launch_unchecked)]
fn norm_kernel<S: Storage, N: Size>(
    values: &Array<Vector<S::Word, N>>,
    partials: &mut Array<f32>,
    blocks: u32,
    #[comptime] width: usize,
) {
    let mut block = ABSOLUTE_POS;
    let stride = CUBE_COUNT * CUBE_DIM as usize;
    let vectors = comptime!(BLOCK / width);
    while block < blocks as usize {
        let mut length = Length::new();
        for v in 0..vectors {
            let part = S::load::<N>(values, (block + 1) * vectors + v, width);
            extend(&mut length, &part, width);
        }
        partials[block] = length.root();
        block += stride;
    }
}

/// ‖x‖ of each tensor of an arena in the parameters' format. `partials` is scratch, one f32 for each block between
/// the pads; `out` one f32 for each tensor.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length; launch errors as [`Context::launch`].
pub fn norm_per_tensor<S: Precision>(
    context: &Context,
    segments: &Segments,
    reduction: &Reduction,
    values: &Handle,
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    let operation = "norm";
    let n = segments.arena_len();
    require_arena::<S::Params>(operation, "values", values, n)?;
    let blocks = segments.blocks() - 2;
    require_bytes(operation, "partials", partials, 4 * blocks as u64)?;
    const WIDTH: usize = 4;
    let grid = per_block_grid(blocks, 2);
    context.launch(operation, type_name::<S>(), grid, |client, cubes, dim| {
        // SAFETY: the arena holds n values, the partials one for each block swept.
        unsafe {
            norm_kernel::launch_unchecked::<S::Params, Gpu>(
                client,
                cubes,
                dim,
                WIDTH / S::Params::PER_WORD,
                array(values, n / WIDTH),
                array(partials, blocks),
                blocks as u32,
                WIDTH,
            );
        }
    })?;
    reduction.fold::<1>(context, partials, 1, out, Fold::Norm)
}

#[cube(launch_unchecked)]
fn row_sum_kernel<S: Storage, N: Size>(
    diagonal: &Array<Vector<S::Word, N>>,
    edges: &Sequence<Array<Vector<S::Word, N>>>,
    partials: &mut Array<f32>,
    blocks: u32,
    #[comptime] width: usize,
    #[comptime] band: usize,
) {
    let mut block = ABSOLUTE_POS;
    let stride = CUBE_COUNT * CUBE_DIM as usize;
    let vectors = comptime!(BLOCK / width);
    let reach = comptime!(band.div_ceil(width));
    while block < blocks as usize {
        let mut largest = 0.0f32;
        for v in 0..vectors {
            let at = (block + 1) * vectors + v;
            let part = S::load::<N>(diagonal, at, width);
            let mut rows = Array::<f32>::new(width);
            #[unroll]
            for lane in 0..width {
                rows[lane] = part.index(lane).abs();
            }
            #[unroll]
            for k in 0..band {
                // Row i holds the edge to i+1+k and, as the matrix is symmetric, the one from i−1−k.
                let mut line = Sequence::<f32>::new();
                #[unroll]
                for back in 0..comptime!(reach + 1) {
                    let values = S::load::<N>(edges.index(k), at + back - reach, width);
                    #[unroll]
                    for lane in 0..width {
                        line.push(values.index(lane).abs());
                    }
                }
                #[unroll]
                for lane in 0..width {
                    rows[lane] += *line.index(comptime!(reach * width + lane))
                        + *line.index(comptime!(reach * width + lane - k - 1));
                }
            }
            #[unroll]
            for lane in 0..width {
                // A sum of statistics that are at their largest is no number, and would be an infinite ε.
                largest = max(largest, min(rows[lane], f32::MAX));
            }
        }
        partials[block] = largest;
        block += stride;
    }
}

/// ‖H‖₁ of each tensor: the largest sum of absolute values in a row of the symmetric band matrix. Scratch and result
/// as in [`norm_per_tensor`].
///
/// # Errors
/// [`Error::Length`] if a buffer has another length; launch errors as [`Context::launch`].
pub fn largest_row_sum<S: Precision>(
    context: &Context,
    segments: &Segments,
    reduction: &Reduction,
    diagonal: &Handle,
    edges: &[Handle],
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    let operation = "largest row sum";
    let n = segments.arena_len();
    require_arena::<S::State>(operation, "diagonal", diagonal, n)?;
    for edge in edges {
        require_arena::<S::State>(operation, "edges", edge, n)?;
    }
    let blocks = segments.blocks() - 2;
    require_bytes(operation, "partials", partials, 4 * blocks as u64)?;
    const WIDTH: usize = 4;
    let grid = per_block_grid(blocks, 3 + edges.len());
    let variant = (type_name::<S>(), edges.len());
    context.launch(operation, variant, grid, |client, cubes, dim| {
        let mut band = SequenceArg::new();
        for edge in edges {
            band.push(array(edge, n / WIDTH));
        }
        // SAFETY: the arenas hold n values and the leading pad is longer than the band; one partial for each block.
        unsafe {
            row_sum_kernel::launch_unchecked::<S::State, Gpu>(
                client,
                cubes,
                dim,
                WIDTH / S::State::PER_WORD,
                array(diagonal, n / WIDTH),
                band,
                array(partials, blocks),
                blocks as u32,
                WIDTH,
                edges.len(),
            );
        }
    })?;
    reduction.fold::<1>(context, partials, 1, out, Fold::Max)
}

fn per_block_grid(blocks: usize, buffers: usize) -> Grid {
    const UNITS: usize = 64;
    Grid {
        cubes: blocks.div_ceil(UNITS).clamp(1, 4096) as u32,
        units: UNITS as u32,
        buffers: 1 + buffers as u32,
    }
}
