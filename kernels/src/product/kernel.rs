//! The kernel: a cube computes a tile of C.

use cubecl::prelude::*;

use super::blueprint::{Blueprint, Sums};
use super::digits::{leading, lost_in_sum, opaque};
use super::factors::{Factors, parts_of};
use super::matrix::multiply_turn_by_matrix_units;
use super::stage::{Access, Four, Operand, read_turn, write_turn};
use super::symmetric::finish_symmetric;
use super::table::{TILE, WORDS};
use super::tail::{Entries, Tail, finish};
use crate::precision::held;

/// What is known of a launch when its kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    pub blueprint: Blueprint,
    pub a: Access,
    pub b: Access,
    /// Values of C at once.
    pub width: usize,
    pub tail: Tail,
    /// Whether entries of A and B count as at most a bound.
    pub bounded: bool,
    /// Whether products are passed over by their phase.
    pub gated: bool,
    /// Whether what is above the diagonal of C is what is below it.
    pub symmetric: bool,
}

impl Plan {
    /// Blocks of four lines by four terms that A has in a turn.
    pub(super) const fn left_blocks(self) -> usize {
        self.blueprint.rows * self.blueprint.terms / 16
    }

    pub(super) const fn blocks(self) -> usize {
        self.left_blocks() + self.blueprint.columns * self.blueprint.terms / 16
    }

    /// Blocks of a unit, at most.
    pub(super) const fn loads(self) -> usize {
        self.blocks().div_ceil(self.blueprint.units())
    }

    const fn compensated(self) -> bool {
        matches!(self.blueprint.sums, Sums::Compensated)
    }
}

/// Where a unit works in its tile.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Place {
    /// Its slice.
    pub slice: usize,
    /// Its number in the slice.
    pub number: usize,
    /// Its first row, a quarter: four rows are a vector of shared memory.
    pub row: usize,
    /// Its first column, a quarter.
    pub column: usize,
}

/// A plane of 32 units takes 4 units down and 8 across: together they read the fewest words of shared memory, and write whole lines of
/// device memory. With matrix units it takes 8 down and 4 across, as those give them their entries.
#[cube]
fn place_of_unit(#[comptime] plan: Plan) -> Place {
    let unit = UNIT_POS as usize;
    let units = comptime!(plan.blueprint.slice_units());
    let number = unit % units;
    let down = comptime!(if plan.blueprint.matrix_parts().is_some() {
        8
    } else {
        4
    });
    let beside = comptime!(32 / down);
    let across = comptime!(plan.blueprint.columns / plan.blueprint.unit_columns / beside);
    // Quarters from one unit to the next.
    let step = comptime!(if plan.blueprint.matrix_parts().is_some() {
        2
    } else {
        1
    });
    let plane = number / 32;
    let lane = number % 32;
    Place {
        slice: unit / units,
        number,
        row: plane / across * down + lane / beside,
        column: (plane % across * beside + lane % beside) * step,
    }
}

#[cube(launch_unchecked)]
pub(super) fn product_kernel<NA: Size, NB: Size, NC: Size>(
    a: &Array<Vector<f32, NA>>,
    b: &Array<Vector<f32, NB>>,
    c: &mut Array<Vector<f32, NC>>,
    problems: &Array<u32>,
    tiles: &Array<u32>,
    phases: &Sequence<Array<u32>>,
    besides: &Sequence<Array<Vector<f32, NC>>>,
    extra: &mut Sequence<Array<f32>>,
    keep: f32,
    weight: f32,
    bound: f32,
    tile_count: u32,
    mask: u32,
    zero: u32,
    #[comptime] plan: Plan,
) {
    let blueprint = comptime!(plan.blueprint);
    let keep = held(keep);
    let weight = held(weight);
    let bound = held(bound);
    let mut shared = SharedMemory::<Four>::new(comptime!(plan.blueprint.shared_vectors()));
    let mut staged = Array::<Four>::new(comptime!(4 * plan.loads()));
    let mut sums = Array::<f32>::new(comptime!(plan.blueprint.entries()));
    let mut rests = Array::<f32>::new(comptime!(if plan.compensated() {
        plan.blueprint.entries()
    } else {
        1
    }));
    let place = place_of_unit(plan);
    let mut at = CUBE_POS;
    while at < tile_count as usize {
        let entry = at * comptime!(TILE);
        let problem = tiles[entry] as usize * comptime!(WORDS);
        let first_row = tiles[entry + 1] as usize;
        let first_column = tiles[entry + 2] as usize;
        let left = Operand {
            offset: problems[problem] as usize,
            line_stride: problems[problem + 1] as usize,
            term_stride: problems[problem + 2] as usize,
            first: first_row,
            lines: problems[problem + 8] as usize,
        };
        let right = Operand {
            offset: problems[problem + 3] as usize,
            line_stride: problems[problem + 4] as usize,
            term_stride: problems[problem + 5] as usize,
            first: first_column,
            lines: problems[problem + 9] as usize,
        };
        let mut terms = problems[problem + 10] as usize;
        let mut goes_on = true;
        if comptime!(plan.gated) {
            let phase = phases.index(0usize)[problems[problem + 11] as usize];
            goes_on = (mask >> phase) & 1u32 == 1u32;
            terms = select(goes_on, terms, 0);
        }
        #[unroll]
        for i in 0..comptime!(plan.blueprint.entries()) {
            sums[i] = 0.0;
            if comptime!(plan.compensated()) {
                rests[i] = 0.0;
            }
        }
        // While a turn is multiplied, the next is read into registers; then it is written beside it.
        let whole = terms / blueprint.terms;
        let turns = terms.div_ceil(blueprint.terms);
        let mut turn = 0usize;
        while turn <= turns {
            let first_term = turn * blueprint.terms;
            if turn < whole {
                read_turn(
                    a,
                    b,
                    left,
                    right,
                    first_term,
                    terms,
                    bound,
                    &mut staged,
                    plan,
                    false,
                );
            } else if turn < turns {
                read_turn(
                    a,
                    b,
                    left,
                    right,
                    first_term,
                    terms,
                    bound,
                    &mut staged,
                    plan,
                    true,
                );
            }
            let own = turn % 2 * comptime!(plan.blueprint.turn());
            if turn > 0 {
                let before = comptime!(plan.blueprint.turn()) - own;
                if comptime!(plan.blueprint.matrix_parts().is_some()) {
                    multiply_turn_by_matrix_units(&shared, before, place, &mut sums, plan);
                } else {
                    multiply_turn(&shared, before, place, &mut sums, &mut rests, zero, plan);
                }
            }
            if turn < turns {
                write_turn(&mut shared, own, &staged, plan);
            }
            sync_cube();
            turn += 1;
        }
        if comptime!(plan.blueprint.slices > 1) {
            add_slices(&mut shared, place, &mut sums, plan);
        }
        if comptime!(plan.compensated()) {
            #[unroll]
            for i in 0..comptime!(plan.blueprint.entries()) {
                sums[i] += rests[i];
            }
        }
        let entries = Entries {
            first_row: first_row + place.row * 4,
            first_column: first_column + place.column * 4,
            rows: select(goes_on && place.slice == 0, left.lines, 0),
            columns: right.lines,
            offset: problems[problem + 6] as usize,
            row_stride: problems[problem + 7] as usize,
            line: problems[problem + 12] as usize,
            beside: problems[problem + 13] as usize,
            beside_stride: problems[problem + 14] as usize,
        };
        let mut loss = 0.0f32;
        if comptime!(plan.symmetric) {
            finish_symmetric(c, &sums, entries, keep, weight, plan);
        } else {
            loss += finish(c, besides, extra, &sums, entries, keep, weight, plan);
        }
        if comptime!(plan.tail.is_loss()) {
            let total = sum_of_units(loss, &mut shared, comptime!(plan.blueprint.units()));
            if UNIT_POS == 0 {
                extra.index_mut(0usize)[at] = total;
            }
        }
        at += CUBE_COUNT;
    }
}

/// Adds the products of a turn's terms, of those of this unit's slice.
#[cube]
fn multiply_turn(
    shared: &SharedMemory<Four>,
    base: usize,
    place: Place,
    sums: &mut Array<f32>,
    rests: &mut Array<f32>,
    zero: u32,
    #[comptime] plan: Plan,
) {
    let blueprint = comptime!(plan.blueprint);
    let (left_pitch, right_pitch) = comptime!((
        blueprint.pitch(blueprint.rows),
        blueprint.pitch(blueprint.columns)
    ));
    let first = place.slice * comptime!(blueprint.slice_terms());
    let mut left = base + first * left_pitch + place.row;
    let mut right =
        base + comptime!(blueprint.operand(blueprint.rows)) + first * right_pitch + place.column;
    let mut rows = Array::<Four>::new(comptime!(plan.blueprint.unit_rows / 4));
    let mut columns = Array::<Four>::new(comptime!(plan.blueprint.unit_columns / 4));
    for _ in 0..comptime!(blueprint.slice_terms()) {
        #[unroll]
        for i in 0..comptime!(plan.blueprint.unit_rows / 4) {
            rows[i] = shared[left + comptime!(i * blueprint.rows / 8)];
        }
        #[unroll]
        for j in 0..comptime!(plan.blueprint.unit_columns / 4) {
            columns[j] = shared[right + comptime!(j * blueprint.columns / 8)];
        }
        #[unroll]
        for i in 0..blueprint.unit_rows {
            let of_rows = rows[comptime!(i / 4)];
            let x = of_rows[comptime!(i % 4)];
            #[unroll]
            for j in 0..blueprint.unit_columns {
                let of_columns = columns[comptime!(j / 4)];
                let y = of_columns[comptime!(j % 4)];
                let entry = comptime!(i * blueprint.unit_columns + j);
                if comptime!(plan.compensated()) {
                    add_with_rest(sums, rests, entry, x, y, zero);
                } else {
                    sums[entry] += product_of_factors(x, y, comptime!(blueprint.factors));
                }
            }
        }
        left += left_pitch;
        right += right_pitch;
    }
}

/// x y, or the sum of the products of their parts.
#[cube]
fn product_of_factors(x: f32, y: f32, #[comptime] factors: Factors) -> f32 {
    match factors {
        Factors::Whole | Factors::Matrix(_) => x * y,
        Factors::Parts(parts) => {
            let (of_x, of_y) = (parts_of(x, parts), parts_of(y, parts));
            let mut sum = 0.0f32;
            #[unroll]
            for pair in 0..comptime!(parts.products().len()) {
                let x = *of_x.index(comptime!(parts.products()[pair][0]));
                let y = *of_y.index(comptime!(parts.products()[pair][1]));
                sum += x * y;
            }
            sum
        }
    }
}

/// Adds x y to a sum, and what the sum loses to its rest.
#[cube]
fn add_with_rest(
    sums: &mut Array<f32>,
    rests: &mut Array<f32>,
    #[comptime] entry: usize,
    x: f32,
    y: f32,
    zero: u32,
) {
    let (x_high, y_high) = (leading(x), leading(y));
    let (x_low, y_low) = (x - x_high, y - y_high);
    let term = x_high * y_high;
    let before = sums[entry];
    let after = opaque(before + term, zero);
    sums[entry] = after;
    rests[entry] += lost_in_sum(before, term, after, zero) + (x_high * y_low + x_low * y);
}

/// Adds the sums of the other slices to those of the first, in order.
#[cube]
fn add_slices(
    shared: &mut SharedMemory<Four>,
    place: Place,
    sums: &mut Array<f32>,
    #[comptime] plan: Plan,
) {
    let units = comptime!(plan.blueprint.slice_units());
    #[unroll]
    for slice in 1..comptime!(plan.blueprint.slices) {
        if place.slice == slice {
            #[unroll]
            for v in 0..comptime!(plan.blueprint.entries() / 4) {
                let mut four = Four::empty();
                #[unroll]
                for lane in 0..4usize {
                    four[lane] = sums[comptime!(4 * v + lane)];
                }
                shared[v * units + place.number] = four;
            }
        }
        sync_cube();
        if place.slice == 0 {
            #[unroll]
            for v in 0..comptime!(plan.blueprint.entries() / 4) {
                let four = shared[v * units + place.number];
                #[unroll]
                for lane in 0..4usize {
                    sums[comptime!(4 * v + lane)] += four[lane];
                }
            }
        }
        sync_cube();
    }
}

/// As [`cube_sum`](crate::norms::cube_sum), in the vectors that are there: CUDA texts put two kinds of shared memory of a kernel in the
/// order of a hash that changes from process to process.
#[cube]
fn sum_of_units(value: f32, shared: &mut SharedMemory<Four>, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = Four::new(value);
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[0];
    // The next tile's first turn is written once all have read.
    sync_cube();
    total[0usize]
}
