//! The first half of a descent: updates the graft's second moment d and measures ‖s‖ and ‖r‖ over each run.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::graft::{
    DescentRates, Prepared, Rates, graft_update, launch_rates, needs, norm_below, normalised,
};
use crate::buffers::{array, optional, require_arena, require_bytes};
use crate::context::Context;
use crate::error::Error;
use crate::evidence::{Found, Slots, magnitude_bits, note_non_finite, require_slots, slots};
use crate::first_order::moving_average;
use crate::length::{Length, extend};
use crate::precision::{Precision, Storage, product};
use crate::segments::Segments;
use crate::sonew::Graft;
use crate::sweep::{Strategy, Sweep, run_start};

#[derive(Clone, Copy)]
pub struct MeasureBuffers<'a> {
    /// Gradients g.
    pub grads: &'a Handle,
    /// Directions s, in the state's format.
    pub direction: &'a Handle,
    /// The graft's second moment d, updated in place; for [`Graft::Adam`] and [`Graft::RmsProp`].
    pub second: Option<&'a Handle>,
    /// ‖g‖ of each tensor, for [`Graft::RmsProp`]; f32.
    pub grad_norms: Option<&'a Handle>,
    /// (‖s‖, ‖r‖) of each run; f32.
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
    #[comptime] sweep: Sweep,
    #[comptime] graft: Graft,
) {
    let width = comptime!(sweep.width);
    let mut run = ABSOLUTE_POS;
    let rates = rates.held();
    let mut found = Found::new();
    while run < runs as usize {
        let tensor = tensor_of_block[run / comptime!(sweep.runs_per_block()) + 1] as usize;
        let below = norm_below(grad_norms, tensor, graft);
        let start = run_start(run, sweep);
        let mut largest = 0u32;
        let mut length = Length::new();
        let mut graft_length = Length::new();
        for step in 0..sweep.run {
            let at = start + step;
            let g = S::Params::load::<NP>(grads, at, width);
            let s = S::State::load::<NS>(direction, at, width);
            if comptime!(needs(graft).0) {
                let old = S::State::load::<NS>(second.index(0usize), at, width);
                let mut new = Sequence::<f32>::new();
                let mut update = Sequence::<f32>::new();
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
                extend(&mut graft_length, &update, width);
                S::State::store::<NS>(second.index_mut(0usize), at, &new, width);
            } else {
                extend(&mut graft_length, &g, width);
            }
            extend(&mut length, &s, width);
            #[unroll]
            for lane in 0..width {
                largest = max(largest, magnitude_bits(*g.index(lane)));
            }
        }
        norms[run * 2] = length.root();
        norms[run * 2 + 1] = graft_length.root();
        note_non_finite::<S::Params, NP>(&mut found, grads, start, largest, sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&found, evidence, stamp);
}

/// Updates the graft's second moment and measures ‖s‖ and ‖r‖ over each run, in one launch.
///
/// # Errors
/// [`Error::Length`] for a buffer of another length, [`Error::Shape`] for a buffer that the graft lacks or has no use
/// for, [`Error::Range`] for a number outside its range; launch errors as [`Context::launch`].
pub fn measure<S: Precision>(
    context: &Context,
    segments: &Segments,
    buffers: MeasureBuffers<'_>,
    graft: Graft,
    rates: DescentRates,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "kronecker measure";
    let (second, norms) = (buffers.second, buffers.grad_norms);
    let prepared =
        Prepared::new::<S>(operation, context, segments, graft, second, norms, strategy)?;
    let Prepared {
        sweep,
        n,
        runs,
        tensors,
    } = prepared;
    require_arena::<S::Params>(operation, "grads", buffers.grads, n)?;
    require_arena::<S::State>(operation, "direction", buffers.direction, n)?;
    require_bytes(operation, "norms", buffers.norms, 8 * runs as u64)?;
    let table = 4 * segments.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let grid = sweep.grid(segments, 7);
    let (evidence, stamp) = require_slots(operation, buffers.evidence, grid)?;
    let rates = launch_rates(operation, rates)?;
    let vectors = n / sweep.width;
    let variant = (type_name::<S>(), sweep, graft);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas hold n values, the tables one entry a block, a tensor or two a run, and the evidence a slot
        // for each unit, all checked above; runs cover the blocks between the pads.
        unsafe {
            measure_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                array(buffers.grads, vectors),
                array(buffers.direction, vectors),
                optional(second, vectors),
                optional(norms, tensors),
                array(buffers.norms, 2 * runs),
                array(buffers.tensor_of_block, segments.blocks()),
                slots(evidence, grid),
                stamp,
                rates,
                runs as u32,
                sweep,
                graft,
            );
        }
    })
}
