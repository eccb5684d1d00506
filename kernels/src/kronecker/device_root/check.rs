//! Products of a matrix and a vector, for λ_max and for the check of a root.

use cubecl::prelude::*;

use super::control::{
    ACCEPTED, CHECK, CHECKED, COUNTS, EXPONENT, FINISHED, INDEFINITE, NOT_FINITE, RECORD, RESIDUAL,
    RIDGE, STOPPED, goes_back,
};
use super::tables::{UNITS, place_of_matrix, place_of_row, power_of_two};
use crate::evidence::magnitude_bits;
use crate::kronecker::root::WRONG;
use crate::norms::cube_sum;
use crate::precision::held;
use crate::product::{leading, lost_in_sum, opaque};

/// How often a vector is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Times {
    /// In every launch.
    Always,
    /// In the first ⌊p/2⌋ launches, then it is copied.
    HalfDown,
    /// In the first ⌈p/2⌉ launches.
    HalfUp,
}

/// What a vector is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Multiplier {
    /// z S.
    Statistics,
    /// z S + z ridge · I, summed with more digits than f32.
    Ridged,
    /// The root: W, or X where the iteration's order is 2 p.
    Root,
}

/// `to` ← A v, with v = `from`, or `from` / ‖`from`‖ if `normalised`, for the matrices in the phases of `mask`.
#[cube(launch_unchecked)]
pub(super) fn apply_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    records: &Array<f32>,
    phases: &Array<u32>,
    a: &Array<f32>,
    squared: &Array<f32>,
    from: &Array<f32>,
    to: &mut Array<f32>,
    count: u32,
    mask: u32,
    launch: u32,
    zero: u32,
    #[comptime] multiplier: Multiplier,
    #[comptime] times: Times,
    #[comptime] normalised: bool,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let record = place.matrix * RECORD;
        let chosen = (mask >> phases[place.matrix]) & 1u32 == 1u32;
        let end = select(chosen, place.n, 0);
        let mut multiplies = true;
        if comptime!(times == Times::HalfDown) {
            multiplies = launch < place.p / 2;
        }
        if comptime!(times == Times::HalfUp) {
            multiplies = launch < place.p - place.p / 2;
        }
        let mut length = 1.0f32;
        if comptime!(normalised) {
            let mut square = 0.0f32;
            let mut column = UNIT_POS as usize;
            while column < end {
                let v = from[place.first_row + column];
                square += v * v;
                column += UNITS;
            }
            length = f32::sqrt(cube_sum(square, &mut floats, UNITS));
        }
        let inverse = select(length == 0.0, 0.0, 1.0 / length);
        let use_square =
            comptime!(multiplier == Multiplier::Root).runtime() && place.order != place.p;
        let z = power_of_two(-i32::cast_from(records[record + EXPONENT]));
        let mut sum = 0.0f32;
        let mut rest = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < end {
            let at = place.start + place.row * place.n + column;
            let v = from[place.first_row + column];
            if comptime!(multiplier == Multiplier::Root) {
                sum += select(use_square, squared[at], a[at]) * v;
            } else if comptime!(multiplier == Multiplier::Statistics) {
                sum += z * a[at] * v;
            } else {
                let x = z * a[at];
                let (x_high, v_high) = (leading(x), leading(v));
                let (x_low, v_low) = (x - x_high, v - v_high);
                let term = x_high * v_high;
                let after = opaque(sum + term, zero);
                rest += lost_in_sum(sum, term, after, zero) + (x_high * v_low + x_low * v);
                sum = after;
            }
            column += UNITS;
        }
        let own = from[place.first_row + place.row];
        if comptime!(multiplier == Multiplier::Ridged) {
            // The units' sums have to be added as they were made.
            let unit = UNIT_POS as usize;
            sync_cube();
            floats[unit] = sum;
            sync_cube();
            if unit == 0 {
                for other in 1..UNITS {
                    let term = floats[other];
                    let after = opaque(sum + term, zero);
                    rest += lost_in_sum(sum, term, after, zero);
                    sum = after;
                }
            }
            let rest = cube_sum(rest, &mut floats, UNITS);
            if unit == 0 && end > 0 {
                to[row] = sum + (rest + records[record + RIDGE] * own);
            }
        } else {
            let sum = cube_sum(sum, &mut floats, UNITS);
            if UNIT_POS == 0 && end > 0 {
                to[row] = inverse * select(multiplies, sum, own);
            }
        }
        row += CUBE_COUNT;
    }
}

/// Accepts or refuses each finished root: both its residual and its check, |leftᵀ image − 1|, are to be below `threshold`. One that is
/// wrong beyond doubt starts over with a larger ridge, if it may and these are not the `last` rounds.
#[cube(launch_unchecked)]
pub(super) fn accept_kernel(
    matrices: &Array<u32>,
    left: &Array<f32>,
    image: &Array<f32>,
    records: &mut Array<f32>,
    counts: &mut Array<u32>,
    phases: &mut Array<u32>,
    count: u32,
    threshold: f32,
    #[comptime] last: bool,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let threshold = magnitude_bits(held(threshold));
    let mut matrix = CUBE_POS;
    while matrix < count as usize {
        let place = place_of_matrix(matrices, matrix);
        let mut product = 0.0f32;
        let mut row = UNIT_POS as usize;
        while row < place.n {
            product += left[place.first_row + row] * image[place.first_row + row];
            row += UNITS;
        }
        let product = cube_sum(product, &mut floats, UNITS);
        let record = matrix * RECORD;
        if UNIT_POS == 0 && phases[matrix] == FINISHED {
            let stop = records[record + STOPPED];
            let found = stop != INDEFINITE && stop != NOT_FINITE;
            let check = f32::abs(product - 1.0);
            records[record + CHECK] = select(found, check, f32::MAX);
            if !found {
                records[record + RESIDUAL] = f32::MAX;
            }
            let error = max(
                magnitude_bits(check),
                magnitude_bits(records[record + RESIDUAL]),
            );
            let mut over = false;
            if comptime!(!last) {
                let wrong = found && error >= comptime!((WRONG as f32).to_bits());
                over = goes_back(records, record, phases, matrix, place.n, wrong);
            }
            if !over {
                let good = found && error < threshold;
                records[record + ACCEPTED] = select(good, 1.0, 0.0);
                phases[matrix] = CHECKED;
                let at = matrix * COUNTS;
                let streak = select(good, 0u32, counts[at] + 1);
                counts[at] = streak;
                counts[at + 1] += select(good, 0u32, 1u32);
                counts[at + 2] = max(counts[at + 2], streak);
            }
        }
        matrix += CUBE_COUNT;
    }
}
