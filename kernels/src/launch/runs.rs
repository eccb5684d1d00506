//! Where the runs of a unit lie, in a kernel.

use cubecl::prelude::*;

use super::sweep::Sweep;
use crate::arena::BLOCK;

/// The first vector of a run: the walk starts behind the leading pad.
#[cube]
pub(crate) fn run_start(run: usize, #[comptime] sweep: Sweep) -> usize {
    run * sweep.run + comptime!(BLOCK / sweep.width)
}

/// The first run of a unit: one of its own, or the first of its team.
#[cube]
pub(crate) fn first_run(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        CUBE_POS
    } else {
        ABSOLUTE_POS
    }
}

/// From a run of a unit to its next.
#[cube]
pub(crate) fn stride_of_runs(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        CUBE_COUNT
    } else {
        CUBE_COUNT * CUBE_DIM as usize
    }
}

/// Where in a run the vectors of a unit begin.
#[cube]
pub(crate) fn offset_of_unit(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        UNIT_POS as usize
    } else {
        0usize.runtime()
    }
}

/// Vectors from `start` on that a unit takes: none where a tile is longer than what is left of the arena.
#[cube]
pub(crate) fn steps_within(start: usize, end: usize, #[comptime] sweep: Sweep) -> usize {
    let steps = comptime!(sweep.steps());
    if comptime!(sweep.team) {
        select(start < end, steps, 0usize)
    } else {
        steps.runtime()
    }
}
