//! What is done entry by entry: a cube takes a row at a time.

use cubecl::prelude::*;

use super::control::{
    ACCEPTED, CHECKED, EXPONENT, FINISHED, IDLE, LAST, PLAIN, RECORD, REFRESH, RIDGE, SHIFT, SLOPE,
    START, TINY,
};
use super::tables::{UNITS, place_of_row, power_of_two};
use crate::evidence::magnitude_bits;
use crate::norms::{cube_max, cube_sum};

/// The largest |S_ij| of each row, and Σ_j S_ij² relative to its square.
#[cube(launch_unchecked)]
pub(super) fn row_norms_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    statistics: &Array<f32>,
    row_norms: &mut Array<f32>,
    count: u32,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut words = SharedMemory::<u32>::new(UNITS);
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let start = place.start + place.row * place.n;
        let mut largest = 0u32;
        let mut column = UNIT_POS as usize;
        while column < place.n {
            largest = max(largest, magnitude_bits(statistics[start + column]));
            column += UNITS;
        }
        let largest = f32::reinterpret(cube_max(largest, &mut words, UNITS));
        // A row without a normal number counts as 0: the reciprocal of its largest would be infinite.
        let scale = select(largest < comptime!(TINY), 0.0, 1.0 / largest);
        let mut squares = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < place.n {
            let x = statistics[start + column] * scale;
            squares += x * x;
            column += UNITS;
        }
        let squares = cube_sum(squares, &mut floats, UNITS);
        if UNIT_POS == 0 {
            row_norms[2 * row] = largest;
            row_norms[2 * row + 1] = squares;
        }
        row += CUBE_COUNT;
    }
}

/// Q ← SHIFT · I − SLOPE · M.
#[cube(launch_unchecked)]
pub(super) fn polynomial_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    records: &Array<f32>,
    phases: &Array<u32>,
    m: &Array<f32>,
    q: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let phase = phases[place.matrix];
        let steps = phase == PLAIN || phase == REFRESH || phase == LAST;
        let shift = records[place.matrix * RECORD + SHIFT];
        let slope = records[place.matrix * RECORD + SLOPE];
        let start = place.start + place.row * place.n;
        let end = select(steps, place.n, 0);
        let mut column = UNIT_POS as usize;
        while column < end {
            let diagonal = select(column == place.row, shift, 0.0);
            q[start + column] = diagonal - slope * m[start + column];
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}

/// After X = H Q: H ← X, and what the next M is made from. M itself becomes z A at the start, and z S where it is computed
/// afresh: there the ridge, which f32 would round on the diagonal, comes in later. Of W, a power of what lies in Q, the
/// first factor goes to W or, if an odd number of products makes it, to X.
#[cube(launch_unchecked)]
pub(super) fn settle_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    in_x: &Array<u32>,
    records: &Array<f32>,
    phases: &Array<u32>,
    statistics: &Array<f32>,
    h: &mut Array<f32>,
    x: &mut Array<f32>,
    m: &mut Array<f32>,
    q: &mut Array<f32>,
    w: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let phase = phases[place.matrix];
        let record = place.matrix * RECORD;
        let first_in_x = in_x[place.matrix] == 1;
        let z = power_of_two(-i32::cast_from(records[record + EXPONENT]));
        let ridge = records[record + RIDGE];
        let start = place.start + place.row * place.n;
        let busy = phase != IDLE && phase != FINISHED && phase != CHECKED;
        let end = select(busy, place.n, 0);
        let mut column = UNIT_POS as usize;
        while column < end {
            let at = start + column;
            let on_diagonal = column == place.row;
            let product = x[at];
            h[at] = select(phase == START, select(on_diagonal, 1.0, 0.0), product);
            if phase == START || phase == REFRESH {
                m[at] = z * statistics[at] + select(on_diagonal && phase == START, ridge, 0.0);
            }
            let base = select(phase == REFRESH, product, q[at]);
            if phase == REFRESH {
                q[at] = base;
            }
            if first_in_x {
                x[at] = base;
            } else {
                w[at] = base;
            }
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}

/// X ← z ridge · W where M is computed afresh, to which z S W is added.
#[cube(launch_unchecked)]
pub(super) fn ridge_product_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    records: &Array<f32>,
    phases: &Array<u32>,
    w: &Array<f32>,
    x: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let ridge = records[place.matrix * RECORD + RIDGE];
        let start = place.start + place.row * place.n;
        let end = select(phases[place.matrix] == REFRESH, place.n, 0);
        let mut column = UNIT_POS as usize;
        while column < end {
            x[start + column] = ridge * w[start + column];
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}

/// M ← (M + Mᵀ) / 2, and the squares of M − I: of row i the columns up to i, counted twice off the diagonal.
#[cube(launch_unchecked)]
pub(super) fn symmetrise_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    phases: &Array<u32>,
    m: &mut Array<f32>,
    row_squares: &mut Array<f32>,
    count: u32,
) {
    let mut floats = SharedMemory::<f32>::new(UNITS);
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let phase = phases[place.matrix];
        let new = phase == START || phase == PLAIN || phase == REFRESH;
        let end = select(new, place.row + 1, 0);
        let mut squares = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < end {
            let below = place.start + place.row * place.n + column;
            let above = place.start + column * place.n + place.row;
            let mean = 0.5 * (m[below] + m[above]);
            m[below] = mean;
            m[above] = mean;
            let on_diagonal = column == place.row;
            let distance = mean - select(on_diagonal, 1.0, 0.0);
            squares += select(on_diagonal, 1.0, 2.0) * distance * distance;
            column += UNITS;
        }
        let squares = cube_sum(squares, &mut floats, UNITS);
        if UNIT_POS == 0 {
            row_squares[row] = squares;
        }
        row += CUBE_COUNT;
    }
}

/// W ← (H + Hᵀ) / 2 of what is finished.
#[cube(launch_unchecked)]
pub(super) fn finish_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    phases: &Array<u32>,
    h: &Array<f32>,
    w: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let end = select(phases[place.matrix] == FINISHED, place.n, 0);
        let mut column = UNIT_POS as usize;
        while column < end {
            let at = place.start + place.row * place.n + column;
            let mirrored = place.start + column * place.n + place.row;
            w[at] = 0.5 * (h[at] + h[mirrored]);
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}

/// The roots in use ← z^{1/p} of what was accepted: W, or X = W² where the iteration's order is 2 p.
#[cube(launch_unchecked)]
pub(super) fn renew_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    records: &Array<f32>,
    phases: &Array<u32>,
    w: &Array<f32>,
    x: &Array<f32>,
    roots: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let record = place.matrix * RECORD;
        // z^{1/p} = 2^{−e/p}, its whole part exactly and the rest without rounding by its size: 2^{pk} S has the digits of S.
        let above = comptime!(256u32) * place.p;
        let raised = u32::cast_from(f32::cast_from(above) - records[record + EXPONENT]);
        let whole = i32::cast_from(raised / place.p) - 256;
        let rest = f32::cast_from(raised % place.p) / f32::cast_from(place.p);
        let back = power_of_two(whole) * f32::powf(2.0, rest);
        let accepted = phases[place.matrix] == CHECKED && records[record + ACCEPTED] == 1.0;
        let squared = place.order != place.p;
        let end = select(accepted, place.n, 0);
        let mut column = UNIT_POS as usize;
        while column < end {
            let at = place.start + place.row * place.n + column;
            roots[at] = back * select(squared, x[at], w[at]);
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}

/// `to` ← `from`, everywhere.
#[cube(launch_unchecked)]
pub(super) fn copy_kernel(
    matrices: &Array<u32>,
    rows: &Array<u32>,
    from: &Array<f32>,
    to: &mut Array<f32>,
    count: u32,
) {
    let mut row = CUBE_POS;
    while row < count as usize {
        let place = place_of_row(matrices, rows, row);
        let start = place.start + place.row * place.n;
        let mut column = UNIT_POS as usize;
        while column < place.n {
            to[start + column] = from[start + column];
            column += UNITS;
        }
        row += CUBE_COUNT;
    }
}
