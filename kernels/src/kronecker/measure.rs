//! The first half of a descent: updates the graft's second moment d and measures ‖s‖ and ‖r‖ over each block.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::graft::{
    DescentRates, Prepared, Rates, graft_update, launch_rates, needs, norm_below, normalised,
};
use crate::arena::{self, Arena, BLOCK, Slots};
use crate::context::Context;
use crate::error::Error;
use crate::evidence::{Found, magnitude_bits, note_non_finite};
use crate::first_order::moving_average;
use crate::graft::Graft;
use crate::launch::{
    Strategy, Sweep, array, first_run, offset_of_unit, optional, require_bytes, run_start,
    steps_within, stride_of_runs,
};
use crate::norms::{BlockLength, measure_vector, of_block, shared_parts, show_parts};
use crate::precision::{Precision, Storage, product};

/// What [`measure`] reads and writes.
#[derive(Clone, Copy)]
pub struct MeasureBuffers<'a> {
    /// Gradients g.
    pub grads: &'a Arena,
    /// Directions s, in the state's format.
    pub direction: &'a Arena,
    /// The graft's second moment d, updated in place; for [`Graft::Adam`] and [`Graft::RmsProp`].
    pub second: Option<&'a Arena>,
    /// ‖g‖ of each tensor, for [`Graft::RmsProp`]; f32.
    pub grad_norms: Option<&'a Handle>,
    /// (‖s‖, ‖r‖) of each block between the pads, or of each part of one: [`Sweep::norms`] numbers; f32.
    pub norms: &'a Handle,
    /// For each block the tensor it belongs to; u32.
    pub tensor_of_block: &'a Handle,
    /// Non-finite gradients seen, one slot a unit.
    pub evidence: &'a Slots,
}

#[cube(launch_unchecked)]
fn measure_kernel<S: Precision, NP: Size, NS: Size>(
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    direction: &Array<Vector<<S::State as Storage>::Word, NS>>,
    second: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    grad_norms: &Sequence<Array<f32>>,
    norms: &mut Array<f32>,
    tensor_of_block: &Array<u32>,
    evidence: &mut Array<u32>,
    stamp: u32,
    rates: &Rates,
    runs: u32,
    // The first vector behind the tensors.
    end: u32,
    #[comptime] sweep: Sweep,
    #[comptime] graft: Graft,
) {
    let width = comptime!(sweep.width);
    let per_block = comptime!(BLOCK / sweep.width);
    let blocks_of_tile = comptime!(sweep.run * sweep.width / BLOCK);
    // Two norms for each block of a team's tile.
    let numbers = comptime!(2 * shared_parts(blocks_of_tile));
    let of_team = comptime!(if sweep.team { numbers } else { 1 });
    let mut shared = SharedMemory::<f32>::new(of_team);
    let rates = rates.held();
    let mut found = Found::new();
    let mut run = first_run(sweep);
    while run < runs as usize {
        let start = run_start(run, sweep) + offset_of_unit(sweep);
        let tensor = tensor_of_block[min(start, end as usize) / per_block] as usize;
        let below = norm_below(grad_norms, tensor, graft);
        let mut largest = 0u32;
        let mut length = BlockLength::new();
        let mut graft_length = BlockLength::new();
        for step in 0..steps_within(start, end as usize, sweep) {
            let at = start + step;
            let g = S::Params::load::<NP>(grads, at, width);
            let s = S::State::load::<NS>(direction, at, width);
            let mut update = Sequence::<f32>::new();
            if comptime!(needs(graft).0) {
                let old = S::State::load::<NS>(second.index(0usize), at, width);
                let mut new = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    let scaled = normalised::<S::Math>(*g.index(lane), below, graft);
                    let moved = moving_average::<S::Math>(
                        *old.index(lane),
                        product::<S::Math>(scaled, scaled),
                        &rates.beta2,
                    );
                    let moved = min(moved, S::State::largest());
                    update.push(graft_update::<S::Math>(scaled, moved, &rates, graft));
                    new.push(moved);
                }
                S::State::store::<NS>(second.index_mut(0usize), at, &new, width);
            } else {
                #[unroll]
                for lane in 0..width {
                    update.push(*g.index(lane));
                }
            }
            if comptime!(sweep.team) {
                let position = UNIT_POS as usize;
                show_parts(&mut shared, 0usize, position, &s, width, blocks_of_tile);
                let behind = comptime!(shared_parts(blocks_of_tile));
                show_parts(
                    &mut shared,
                    behind,
                    position,
                    &update,
                    width,
                    blocks_of_tile,
                );
            } else {
                let each = comptime!(sweep.norms_per_block() > 1);
                measure_vector(&mut length, norms, &s, at, width, each, 0usize, 2usize);
                let graft_length = &mut graft_length;
                measure_vector(
                    graft_length,
                    norms,
                    &update,
                    at,
                    width,
                    each,
                    1usize,
                    2usize,
                );
            }
            #[unroll]
            for lane in 0..width {
                largest = max(largest, magnitude_bits(*g.index(lane)));
            }
        }
        if comptime!(sweep.team) {
            sync_cube();
            let (block, channel) = (UNIT_POS as usize / 2, UNIT_POS as usize % 2);
            let of_arena = run * blocks_of_tile + block;
            let blocks = end as usize / per_block - 1;
            if block < blocks_of_tile && of_arena < blocks {
                let first = channel * comptime!(shared_parts(blocks_of_tile));
                norms[of_arena * 2 + channel] =
                    of_block(&shared, first, block, blocks, blocks_of_tile);
            }
            sync_cube();
        } else if comptime!(sweep.norms_per_block() == 1) {
            norms[run * 2] = length.root();
            norms[run * 2 + 1] = graft_length.root();
        }
        note_non_finite::<S::Params, NP>(&mut found, grads, start, largest, sweep);
        run += stride_of_runs(sweep);
    }
    crate::evidence::write(&found, evidence, stamp);
}

/// Updates the graft's second moment and measures ‖s‖ and ‖r‖ over each block, in one launch.
///
/// # Errors
/// [`Error::Length`] for a table of another length, [`Error::Shape`] for an arena of another layout or format or one that the graft lacks or has no use
/// for, [`Error::Range`] for a number outside its range; launch errors as [`Context::launch`].
pub fn measure<S: Precision>(
    context: &Context,
    buffers: MeasureBuffers<'_>,
    graft: Graft,
    rates: DescentRates,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "kronecker measure";
    let (second, norms) = (buffers.second, buffers.grad_norms);
    let layout = buffers.grads.layout();
    let prepared = Prepared::new::<S>(operation, context, layout, graft, second, norms, strategy)?;
    let Prepared {
        sweep,
        runs,
        tensors,
    } = prepared;
    arena::require::<S::Params>(operation, layout, [("grads", buffers.grads)])?;
    arena::require::<S::State>(operation, layout, [("direction", buffers.direction)])?;
    let pairs = sweep.norms(layout);
    require_bytes(operation, "norms", buffers.norms, 4 * pairs as u64)?;
    if sweep.team {
        let blocks = sweep.run * sweep.width / BLOCK;
        context.require_shared(operation, 4 * 2 * shared_parts(blocks))?;
    }
    let table = 4 * layout.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let grid = sweep.grid(layout, 7);
    let evidence = buffers.evidence.claim(operation, grid)?;
    let rates = launch_rates(operation, rates)?;
    let width = sweep.width;
    let variant = (type_name::<S>(), sweep, graft);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout, the tables have one entry a block, a tensor or two a run, and the evidence a slot
        // for each unit, all checked above; runs cover the blocks between the pads.
        unsafe {
            measure_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                buffers.grads.vectors(width),
                buffers.direction.vectors(width),
                arena::sequence(second, width),
                optional(norms, tensors),
                array(buffers.norms, pairs),
                array(buffers.tensor_of_block, layout.blocks()),
                evidence.argument(),
                evidence.stamp,
                rates,
                runs as u32,
                ((layout.arena_len() - BLOCK) / width) as u32,
                sweep,
                graft,
            );
        }
    })
}
