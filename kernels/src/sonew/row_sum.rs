//! ‖H‖₁ of each tensor, to which ε may be relative: a launch that has the largest row sum of each block, and the fold of those.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::arena::{self, Arena};
use crate::context::{Context, Units};
use crate::error::Error;
use crate::launch::{array, require_bytes};
use crate::norms::{AT_ONCE, PARTS, Reduction, VECTORS, WIDTH, per_block_grid, shared_parts};
use crate::precision::{Precision, Storage};

#[cube(launch_unchecked)]
fn row_sum_kernel<S: Storage, N: Size>(
    diagonal: &Array<Vector<S::Word, N>>,
    edges: &Sequence<Array<Vector<S::Word, N>>>,
    partials: &mut Array<f32>,
    blocks: u32,
    #[comptime] team: bool,
    #[comptime] band: usize,
) {
    if comptime!(team) {
        let mut shared = SharedMemory::<f32>::new(comptime!(shared_parts(AT_ONCE)));
        let mut first = CUBE_POS * AT_ONCE;
        while first < blocks as usize {
            let at = first * VECTORS + UNIT_POS as usize;
            if at < blocks as usize * VECTORS {
                let part = UNIT_POS as usize;
                let sum = largest_of_vector::<S, N>(diagonal, edges, at + VECTORS, band);
                shared[part + part / PARTS] = sum;
            }
            sync_cube();
            let own = UNIT_POS as usize;
            if own < AT_ONCE && first + own < blocks as usize {
                let mut largest = 0.0f32;
                for part in 0..PARTS {
                    largest = max(largest, shared[own * comptime!(PARTS + 1) + part]);
                }
                partials[first + own] = largest;
            }
            sync_cube();
            first += CUBE_COUNT * AT_ONCE;
        }
    } else {
        let mut block = ABSOLUTE_POS;
        while block < blocks as usize {
            let mut largest = 0.0f32;
            for v in 0..VECTORS {
                let at = (block + 1) * VECTORS + v;
                largest = max(
                    largest,
                    largest_of_vector::<S, N>(diagonal, edges, at, band),
                );
            }
            partials[block] = largest;
            block += CUBE_COUNT * CUBE_DIM as usize;
        }
    }
}

/// The largest sum of absolute values in the rows of a vector.
#[cube]
fn largest_of_vector<S: Storage, N: Size>(
    diagonal: &Array<Vector<S::Word, N>>,
    edges: &Sequence<Array<Vector<S::Word, N>>>,
    at: usize,
    #[comptime] band: usize,
) -> f32 {
    let reach = comptime!(band.div_ceil(WIDTH));
    let part = S::load::<N>(diagonal, at, WIDTH);
    let mut rows = Array::<f32>::new(WIDTH);
    #[unroll]
    for lane in 0..WIDTH {
        rows[lane] = part.index(lane).abs();
    }
    #[unroll]
    for k in 0..band {
        // Row i holds the edge to i+1+k and, as the matrix is symmetric, the one from i−1−k.
        let mut line = Sequence::<f32>::new();
        #[unroll]
        for back in 0..comptime!(reach + 1) {
            let values = S::load::<N>(edges.index(k), at + back - reach, WIDTH);
            #[unroll]
            for lane in 0..WIDTH {
                line.push(values.index(lane).abs());
            }
        }
        #[unroll]
        for lane in 0..WIDTH {
            rows[lane] += *line.index(comptime!(reach * WIDTH + lane))
                + *line.index(comptime!(reach * WIDTH + lane - k - 1));
        }
    }
    let mut largest = 0.0f32;
    #[unroll]
    for lane in 0..WIDTH {
        // A sum of statistics that are at their largest is no number, and would be an infinite ε.
        largest = max(largest, min(rows[lane], f32::MAX));
    }
    largest
}

/// ‖H‖₁ of each tensor: the largest sum of absolute values in a row of the symmetric band matrix. Scratch and result
/// as in [`norm_per_tensor`](crate::norms::norm_per_tensor).
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout than the reduction's or another format, [`Error::Length`] for a table of
/// another length; launch errors as [`Context::launch`].
pub fn largest_row_sum<S: Precision>(
    context: &Context,
    reduction: &Reduction,
    diagonal: &Arena,
    edges: &[Arena],
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    let operation = "largest row sum";
    let layout = reduction.layout();
    arena::require::<S::State>(operation, layout, [("diagonal", diagonal)])?;
    arena::require::<S::State>(operation, layout, arena::named("edges", edges))?;
    let blocks = layout.blocks() - 2;
    require_bytes(operation, "partials", partials, 4 * blocks as u64)?;
    let team = context.profile().units == Units::Many;
    let grid = per_block_grid(context.profile(), blocks, 3 + edges.len());
    let variant = (type_name::<S>(), edges.len(), team);
    context.launch(operation, variant, grid, |client, cubes, dim| {
        // SAFETY: the arenas are of one layout, whose leading pad is longer than the band; one partial for each block.
        unsafe {
            row_sum_kernel::launch_unchecked::<S::State, Gpu>(
                client,
                cubes,
                dim,
                WIDTH / S::State::PER_WORD,
                diagonal.vectors(WIDTH),
                arena::sequence(edges, WIDTH),
                array(partials, blocks),
                blocks as u32,
                team,
                edges.len(),
            );
        }
    })?;
    reduction.maxima(context, partials, out)
}
