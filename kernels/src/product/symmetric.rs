//! What becomes of the sums of a symmetric result: blocks of 4 × 4 entries below the diagonal are written where they are and, transposed,
//! above it; of a block on the diagonal, which one unit has whole, the half below goes for both. So every entry is written once, and the
//! result is symmetric to the bit.

use cubecl::prelude::*;

use super::kernel::Plan;
use super::tail::{Entries, kept};

/// Writes a unit's entries, weight · s, and keep · C beside it.
#[cube]
pub(super) fn finish_symmetric<NC: Size>(
    c: &mut Array<Vector<f32, NC>>,
    sums: &Array<f32>,
    entries: Entries,
    keep: f32,
    weight: f32,
    #[comptime] plan: Plan,
) {
    let blueprint = comptime!(plan.blueprint);
    #[unroll]
    for down in 0..comptime!(blueprint.unit_rows / 4) {
        #[unroll]
        for across in 0..comptime!(blueprint.unit_columns / 4) {
            let row = entries.first_row + comptime!(blueprint.row(4 * down));
            let column = entries.first_column + comptime!(blueprint.column(4 * across));
            if row < entries.rows && column <= row {
                let mut block = Array::<f32>::new(16usize);
                #[unroll]
                for i in 0..4usize {
                    #[unroll]
                    for j in 0..4usize {
                        let sum =
                            comptime!((4 * down + i) * blueprint.unit_columns + 4 * across + j);
                        block[comptime!(4 * i + j)] = weight * sums[sum];
                    }
                }
                if comptime!(plan.tail.keeps()) {
                    add_kept(c, &mut block, entries, row, column, keep, plan);
                }
                write_block(c, &block, entries, row, column, plan);
            }
        }
    }
}

/// Index of the vector of C that begins with an entry.
#[cube]
fn place_of(entries: Entries, row: usize, column: usize, #[comptime] plan: Plan) -> usize {
    (entries.offset + row * entries.row_stride + column) / comptime!(plan.width)
}

#[cube]
fn add_kept<NC: Size>(
    c: &Array<Vector<f32, NC>>,
    block: &mut Array<f32>,
    entries: Entries,
    row: usize,
    column: usize,
    keep: f32,
    #[comptime] plan: Plan,
) {
    let width = comptime!(plan.width);
    #[unroll]
    for i in 0..4usize {
        #[unroll]
        for v in 0..comptime!(4 / width) {
            let j = comptime!(v * width);
            if row + i < entries.rows && column + j < entries.columns {
                let before = kept(c, place_of(entries, row + i, column + j, plan), plan);
                #[unroll]
                for lane in 0..width {
                    block[comptime!(4 * i + j + lane)] += keep * before[lane];
                }
            }
        }
    }
}

/// Writes the block that begins at an entry on or below the diagonal, and its mirror image.
#[cube]
fn write_block<NC: Size>(
    c: &mut Array<Vector<f32, NC>>,
    block: &Array<f32>,
    entries: Entries,
    row: usize,
    column: usize,
    #[comptime] plan: Plan,
) {
    let width = comptime!(plan.width);
    #[unroll]
    for i in 0..4usize {
        #[unroll]
        for v in 0..comptime!(4 / width) {
            let first = comptime!(v * width);
            let mut below = Vector::<f32, NC>::empty();
            let mut above = Vector::<f32, NC>::empty();
            #[unroll]
            for lane in 0..width {
                let j = comptime!(first + lane);
                let own = block[comptime!(4 * i + j)];
                let mirrored = block[comptime!(4 * j + i)];
                below[lane] = if comptime!(j > i) {
                    select(row == column, mirrored, own)
                } else {
                    own
                };
                above[lane] = mirrored;
            }
            if row + i < entries.rows && column + first < entries.columns {
                c[place_of(entries, row + i, column + first, plan)] = below;
            }
            if column < row && column + i < entries.columns && row + first < entries.rows {
                c[place_of(entries, column + i, row + first, plan)] = above;
            }
        }
    }
}
