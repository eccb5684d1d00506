//! What happens next to each matrix: decided on the device, by one cube a matrix, from ‖M − I‖_F.

use cubecl::prelude::*;

use super::tables::{UNITS, place_of_matrix, power_of_two};
use crate::evidence::magnitude_bits;
use crate::kronecker::longest_step::{CUSHION, GAIN, LEAST, TOLERANCE};
use crate::kronecker::root::RAISES;
use crate::norms::{cube_max, cube_sum};
use crate::precision::held;

/// Nothing: this root is not computed now.
pub(super) const IDLE: u32 = 0;
/// H ← I, M ← z A.
pub(super) const START: u32 = 1;
/// H ← H Q, M ← W M W with W = Q^{p/2}.
pub(super) const PLAIN: u32 = 2;
/// H ← H Q, M ← Wᵀ (z A) W with W = H^{p/2}, summed with more digits.
pub(super) const REFRESH: u32 = 3;
/// H ← H Q.
pub(super) const LAST: u32 = 4;
/// The root is as good as it gets, and not yet checked.
pub(super) const FINISHED: u32 = 5;
/// The root is accepted or refused.
pub(super) const CHECKED: u32 = 6;

/// A set of phases, as bits.
pub(super) const fn bits(phases: &[u32]) -> u32 {
    let mut set = 0;
    let mut at = 0;
    while at < phases.len() {
        set |= 1 << phases[at];
        at += 1;
    }
    set
}

/// Values of a record, one for each matrix.
pub(super) const RECORD: usize = 16;
/// ‖S‖_F.
pub(super) const NORM: usize = 0;
/// e of z = 2^−e.
pub(super) const EXPONENT: usize = 1;
/// What is added to the diagonal of S; 0 where f32 cannot hold it.
pub(super) const ADDED: usize = 2;
/// The same times z.
pub(super) const RIDGE: usize = 3;
/// A lower bound of the eigenvalues of M.
pub(super) const LOW: usize = 4;
/// How much the least of them have grown.
pub(super) const GROWN: usize = 5;
/// ‖M − I‖_F before the last step.
pub(super) const BEFORE: usize = 6;
/// Q = SHIFT · I − SLOPE · M.
pub(super) const SHIFT: usize = 7;
pub(super) const SLOPE: usize = 8;
pub(super) const REFRESHED: usize = 9;
pub(super) const ITERATIONS: usize = 10;
pub(super) const RAISED: usize = 11;
pub(super) const STOPPED: usize = 12;
pub(super) const RESIDUAL: usize = 13;
pub(super) const CHECK: usize = 14;
/// 1 if the last root was accepted.
pub(super) const ACCEPTED: usize = 15;

/// Words of a count: refusals in a row, in all, and the most in a row.
pub(super) const COUNTS: usize = 3;

/// Values of STOPPED.
pub(super) const CONVERGED: f32 = 1.0;
pub(super) const DIVERGING: f32 = 2.0;
pub(super) const OUT_OF_ROUNDS: f32 = 3.0;
pub(super) const INDEFINITE: f32 = 4.0;
pub(super) const NOT_FINITE: f32 = 5.0;

const INFINITY: u32 = 0x7f80_0000;
/// The bits of 2¹²⁰: no larger norm can be scaled.
const HUGE: u32 = 0x7b80_0000;
/// The least normal number.
pub(super) const TINY: f32 = 1.175_494_4e-38;

/// e such that ½ ≤ 2^−e · norm < 1.
#[cube]
fn exponent_above(norm: f32) -> i32 {
    i32::cast_from(magnitude_bits(norm) >> 23) - 126
}

/// e of the scale of a matrix of that norm. Entries below the least normal number are not seen in it, and are to stay
/// below 1 in all.
#[cube]
fn scale_exponent(norm: f32, n: usize) -> i32 {
    exponent_above(max(norm, f32::cast_from(n as u32) * comptime!(TINY)))
}

/// Takes up the matrices from `first` up to `end`: ‖S‖_F from the rows' largest values and sums of squares relative to it.
#[cube(launch_unchecked)]
pub(super) fn take_up_kernel(
    matrices: &Array<u32>,
    row_norms: &Array<f32>,
    records: &mut Array<f32>,
    phases: &mut Array<u32>,
    count: u32,
    first: u32,
    end: u32,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut words = SharedMemory::<u32>::new(UNITS);
    let mut matrix = CUBE_POS;
    while matrix < count as usize {
        let place = place_of_matrix(matrices, matrix);
        let mut largest = 0u32;
        let mut row = UNIT_POS as usize;
        while row < place.n {
            largest = max(
                largest,
                magnitude_bits(row_norms[2 * (place.first_row + row)]),
            );
            row += UNITS;
        }
        let largest_bits = cube_max(largest, &mut words, UNITS);
        let largest = f32::reinterpret(largest_bits);
        let scale = select(largest < TINY, 0.0, 1.0 / largest);
        let mut squares = 0.0f32;
        let mut row = UNIT_POS as usize;
        while row < place.n {
            let at = 2 * (place.first_row + row);
            let relative = row_norms[at] * scale;
            squares += relative * relative * row_norms[at + 1];
            row += UNITS;
        }
        let squares = cube_sum(squares, &mut floats, UNITS);
        if UNIT_POS == 0 {
            let record = matrix * RECORD;
            let chosen = matrix as u32 >= first && (matrix as u32) < end;
            let norm = largest * f32::sqrt(squares);
            if chosen {
                records[record + ADDED] = 0.0;
                records[record + ITERATIONS] = 0.0;
                records[record + RAISED] = 0.0;
            }
            if !chosen {
                phases[matrix] = IDLE;
            } else if max(largest_bits, magnitude_bits(norm)) >= HUGE {
                phases[matrix] = FINISHED;
                records[record + STOPPED] = NOT_FINITE;
            } else {
                phases[matrix] = START;
                records[record + NORM] = norm;
                records[record + EXPONENT] = f32::cast_from(scale_exponent(norm, place.n));
            }
        }
        matrix += CUBE_COUNT;
    }
}

/// Sets what the iteration starts from, with ε · `size` added to the diagonal of S. The product is formed after scaling, for
/// f32 may not hold it before.
#[cube]
pub(super) fn start(records: &mut Array<f32>, record: usize, n: usize, epsilon: f32, size: f32) {
    let added = epsilon * size;
    let exponent = scale_exponent(records[record + NORM] + added, n);
    let ridge = epsilon * (size * power_of_two(-exponent));
    records[record + EXPONENT] = f32::cast_from(exponent);
    records[record + ADDED] = added;
    records[record + RIDGE] = ridge;
    records[record + LOW] = max(ridge, comptime!(LEAST as f32));
    records[record + GROWN] = 1.0;
    records[record + BEFORE] = 1e30;
    records[record + REFRESHED] = 0.0;
    records[record + ITERATIONS] = 0.0;
}

/// The ridge of each matrix that starts: ε, or ε max(λ_max, 10⁻³⁰) with the Rayleigh quotient vᵀ z S v / vᵀ v.
#[cube(launch_unchecked)]
pub(super) fn ridge_kernel(
    matrices: &Array<u32>,
    vector: &Array<f32>,
    image: &Array<f32>,
    records: &mut Array<f32>,
    phases: &mut Array<u32>,
    count: u32,
    epsilon: f32,
    #[comptime] relative: bool,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut matrix = CUBE_POS;
    while matrix < count as usize {
        let place = place_of_matrix(matrices, matrix);
        let record = matrix * RECORD;
        let mut size = 1.0f32;
        if comptime!(relative) {
            let mut square = 0.0f32;
            let mut quotient = 0.0f32;
            let mut row = UNIT_POS as usize;
            while row < place.n {
                let x = vector[place.first_row + row];
                square += x * x;
                quotient += x * image[place.first_row + row];
                row += UNITS;
            }
            let square = cube_sum(square, &mut floats, UNITS);
            let quotient = cube_sum(quotient, &mut floats, UNITS);
            let largest = select(square == 0.0, 0.0, quotient / square);
            let back = power_of_two(i32::cast_from(records[record + EXPONENT]));
            // As `Ridge::of` has it.
            size = max(max(largest, 0.0) * back, 1e-30f32);
        }
        if UNIT_POS == 0 && phases[matrix] == START {
            start(records, record, place.n, held(epsilon), size);
            // Zero, and nothing added.
            if records[record + NORM] < comptime!(TINY) && records[record + RIDGE] == 0.0 {
                phases[matrix] = FINISHED;
                records[record + STOPPED] = INDEFINITE;
            }
        }
        matrix += CUBE_COUNT;
    }
}

/// Starts over with ten times the ridge, if that is `wanted`, there is a ridge, and it was not raised too often. Says whether it does.
#[cube]
pub(super) fn goes_back(
    records: &mut Array<f32>,
    record: usize,
    phases: &mut Array<u32>,
    matrix: usize,
    n: usize,
    wanted: bool,
) -> bool {
    let added = records[record + ADDED];
    let raised = records[record + RAISED];
    let goes = wanted && added > 0.0 && raised < comptime!(RAISES as f32);
    if goes {
        start(records, record, n, 10.0, added);
        records[record + RAISED] = raised + 1.0;
        phases[matrix] = START;
    }
    goes
}

/// (a, b) of the longest monotone step, into SHIFT and SLOPE, and what it makes of LOW and GROWN.
#[cube]
fn plan_step(records: &mut Array<f32>, record: usize, order: u32) {
    let p = f32::cast_from(order);
    let low = records[record + LOW];
    let s = max(f32::powf(low, 1.0 / p), comptime!(CUSHION as f32));
    let mut sum = 1.0f32;
    let mut power = 1.0f32;
    for _ in 0..order {
        power *= s;
        sum += power;
    }
    let shift = (p + 1.0) / p * f32::powf((p + 1.0) / sum, 1.0 / p);
    let slope = shift / sum;
    records[record + SHIFT] = shift;
    records[record + SLOPE] = slope;
    let smallest = f32::powf(shift - slope * low, p) * low;
    records[record + LOW] = min(smallest, f32::powf(shift - slope, p));
    records[record + GROWN] *= f32::powf(shift, p);
    records[record + ITERATIONS] += 1.0;
}

/// Decides the next phase of each matrix from the rows' squares of M − I. One that has taken `enough` iterations and is not there
/// starts over, if it may: an eigenvalue is all but zero. The last call, `closing`, finishes all.
#[cube(launch_unchecked)]
pub(super) fn decide_kernel(
    matrices: &Array<u32>,
    row_squares: &Array<f32>,
    records: &mut Array<f32>,
    phases: &mut Array<u32>,
    count: u32,
    enough: f32,
    #[comptime] closing: bool,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut matrix = CUBE_POS;
    while matrix < count as usize {
        let place = place_of_matrix(matrices, matrix);
        let phase = phases[matrix];
        let mut square = 0.0f32;
        let mut row = UNIT_POS as usize;
        while row < place.n {
            square += row_squares[place.first_row + row];
            row += UNITS;
        }
        let square = cube_sum(square, &mut floats, UNITS);
        let record = matrix * RECORD;
        if UNIT_POS == 0 {
            if phase == LAST {
                phases[matrix] = FINISHED;
            } else if phase == START || phase == PLAIN || phase == REFRESH {
                let distance = f32::sqrt(square);
                let before = records[record + BEFORE];
                let n = f32::cast_from(place.n as u32);
                let low = records[record + LOW];
                // As on the host.
                let lost = magnitude_bits(square) >= INFINITY || square > 4.0 * n;
                let allowed = f32::sqrt(n) * (1.0 - low) + comptime!(TOLERANCE as f32);
                let rising =
                    low > 0.9 && distance > allowed && before < 1.0 && distance > 1.2 * before;
                let astray = lost || rising;
                let there = distance <= comptime!(TOLERANCE as f32);
                let stalled = records[record + ITERATIONS] >= enough && !there;
                let mut over = false;
                if comptime!(!closing) {
                    over = goes_back(records, record, phases, matrix, place.n, astray || stalled);
                }
                if over {
                    // Its next round begins afresh.
                } else if comptime!(closing).runtime() || astray {
                    records[record + STOPPED] =
                        comptime!(if closing { OUT_OF_ROUNDS } else { DIVERGING }).runtime();
                    records[record + RESIDUAL] = distance;
                    phases[matrix] = FINISHED;
                } else {
                    records[record + BEFORE] = distance;
                    let low = max(records[record + LOW], 1.0 - distance);
                    records[record + LOW] = min(low, 1.0);
                    plan_step(records, record, place.order);
                    let far = records[record + GROWN] >= comptime!(GAIN as f32);
                    if there {
                        records[record + STOPPED] = CONVERGED;
                        records[record + RESIDUAL] = distance * distance;
                        phases[matrix] = LAST;
                    } else if far && records[record + REFRESHED] == 0.0 {
                        records[record + REFRESHED] = 1.0;
                        phases[matrix] = REFRESH;
                    } else {
                        phases[matrix] = PLAIN;
                    }
                }
            }
        }
        matrix += CUBE_COUNT;
    }
}
