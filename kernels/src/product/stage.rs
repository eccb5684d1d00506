//! Terms of A and B on their way to a tile: from device memory into registers, and from there into shared memory.
//!
//! A line is a row of A or a column of B. A unit takes four lines by four terms at a time, reads them along whichever of the two lies
//! side by side in memory, and writes, for each term, its four lines as one vector: in shared memory lines lie side by side, whichever
//! way they were read.

use cubecl::prelude::*;

use super::blueprint::Blueprint;
use super::factors::Parts;
use super::kernel::Plan;
use super::matrix::write_words;

/// Four lines of one term.
pub(super) type Four = Vector<f32, Const<4>>;

/// What lies side by side in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Beside {
    /// The terms of a line.
    Terms,
    /// The lines of a term.
    Lines,
    /// Neither, for all products of a launch.
    Neither,
}

/// How an operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Access {
    pub beside: Beside,
    /// Values at once: 1, 2 or 4.
    pub width: usize,
}

/// An operand of a tile.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Operand {
    pub offset: usize,
    pub line_stride: usize,
    pub term_stride: usize,
    /// The tile's first line.
    pub first: usize,
    /// Lines of the whole operand.
    pub lines: usize,
}

/// Where a unit's block lies in a turn: its first line, within the tile, and its first term, within the turn.
#[derive(CubeType, Clone, Copy)]
struct Block {
    line: usize,
    term: usize,
}

/// x, at most ±`bound`; NaN stays NaN.
#[cube]
fn bounded(x: f32, bound: f32) -> f32 {
    select(x > bound, bound, select(x < -bound, -bound, x))
}

/// The `number`-th block of an operand with so many lines in a tile. Neighbouring units take neighbouring lines where those lie side
/// by side; else two of them share the 32 bytes of a sector, and the next two take the next lines.
#[cube]
fn block_of(number: usize, #[comptime] lines: usize, #[comptime] access: Access) -> Block {
    let across = comptime!(lines / 4);
    if comptime!(access.beside == Beside::Lines) {
        Block {
            line: number % across * 4,
            term: number / across * 4,
        }
    } else {
        let pair = number / 2;
        Block {
            line: pair % across * 4,
            term: (pair / across * 2 + number % 2) * 4,
        }
    }
}

/// Reads a block. Lines beyond the last are the last again, their sums are not kept; with `masked`, terms from `terms` on are 0.
#[cube]
fn read_block<N: Size>(
    from: &Array<Vector<f32, N>>,
    operand: Operand,
    block: Block,
    first_term: usize,
    terms: usize,
    bound: f32,
    staged: &mut Array<Four>,
    #[comptime] at: usize,
    #[comptime] access: Access,
    #[comptime] masked: bool,
    #[comptime] is_bounded: bool,
) {
    let width = comptime!(access.width);
    let along_lines = comptime!(access.beside == Beside::Lines);
    let line = operand.first + block.line;
    let term = first_term + block.term;
    // The start of the last vector.
    let last_line = if along_lines {
        (operand.lines - 1) / width * width
    } else {
        operand.lines - 1
    };
    let last_term = if along_lines {
        terms - 1
    } else {
        (terms - 1) / width * width
    };
    let mut values = Sequence::<f32>::new();
    #[unroll]
    for q in 0..4usize {
        #[unroll]
        for part in 0..comptime!(4 / access.width) {
            let own_line = line + comptime!(if along_lines { part * width } else { q });
            let own_term = term + comptime!(if along_lines { q } else { part * width });
            let read_line = min(own_line, last_line);
            let read_term = if masked {
                min(own_term, last_term)
            } else {
                own_term
            };
            let index = index_of(operand, read_line, read_term, access);
            let vector = from[index / width];
            #[unroll]
            for lane in 0..width {
                let value = vector[lane];
                let value = if is_bounded {
                    bounded(value, bound)
                } else {
                    value
                };
                let value = if masked {
                    let its_term = own_term + comptime!(if along_lines { 0 } else { lane });
                    select(its_term < terms, value, 0.0)
                } else {
                    value
                };
                values.push(value);
            }
        }
    }
    #[unroll]
    for t in 0..4usize {
        let mut four = Four::empty();
        #[unroll]
        for l in 0..4usize {
            four[l] = *values.index(comptime!(if along_lines { t * 4 + l } else { l * 4 + t }));
        }
        staged[at + t] = four;
    }
}

#[cube]
fn index_of(operand: Operand, line: usize, term: usize, #[comptime] access: Access) -> usize {
    if comptime!(access.beside == Beside::Lines) {
        operand.offset + term * operand.term_stride + line
    } else if comptime!(access.beside == Beside::Terms) {
        operand.offset + line * operand.line_stride + term
    } else {
        operand.offset + line * operand.line_stride + term * operand.term_stride
    }
}

/// Reads this unit's blocks of the turn that begins with `first_term`.
#[cube]
pub(super) fn read_turn<NA: Size, NB: Size>(
    a: &Array<Vector<f32, NA>>,
    b: &Array<Vector<f32, NB>>,
    left: Operand,
    right: Operand,
    first_term: usize,
    terms: usize,
    bound: f32,
    staged: &mut Array<Four>,
    #[comptime] plan: Plan,
    #[comptime] masked: bool,
) {
    #[unroll]
    for load in 0..comptime!(plan.loads()) {
        let number = UNIT_POS as usize + comptime!(load * plan.blueprint.units());
        let of_left = comptime!(plan.left_blocks());
        let at = comptime!(4 * load);
        if number < of_left {
            let block = block_of(number, comptime!(plan.blueprint.rows), comptime!(plan.a));
            read_block(
                a,
                left,
                block,
                first_term,
                terms,
                bound,
                staged,
                at,
                comptime!(plan.a),
                masked,
                comptime!(plan.bounded),
            );
        } else if number < comptime!(plan.blocks()) {
            let number = number - of_left;
            let block = block_of(number, comptime!(plan.blueprint.columns), comptime!(plan.b));
            read_block(
                b,
                right,
                block,
                first_term,
                terms,
                bound,
                staged,
                at,
                comptime!(plan.b),
                masked,
                comptime!(plan.bounded),
            );
        }
    }
}

/// Writes what [`read_turn`] read to the turn of shared memory that begins at `base`.
#[cube]
pub(super) fn write_turn(
    shared: &mut SharedMemory<Four>,
    base: usize,
    staged: &Array<Four>,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for load in 0..comptime!(plan.loads()) {
        let number = UNIT_POS as usize + comptime!(load * plan.blueprint.units());
        let of_left = comptime!(plan.left_blocks());
        let at = comptime!(4 * load);
        if number < of_left {
            let lines = comptime!(plan.blueprint.rows);
            let block = block_of(number, lines, comptime!(plan.a));
            write_block(
                shared,
                base,
                block,
                staged,
                at,
                lines,
                comptime!(plan.blueprint),
            );
        } else if number < comptime!(plan.blocks()) {
            let number = number - of_left;
            let lines = comptime!(plan.blueprint.columns);
            let block = block_of(number, lines, comptime!(plan.b));
            let base = base + comptime!(plan.blueprint.operand(plan.blueprint.rows));
            write_block(
                shared,
                base,
                block,
                staged,
                at,
                lines,
                comptime!(plan.blueprint),
            );
        }
    }
}

#[cube]
fn write_block(
    shared: &mut SharedMemory<Four>,
    base: usize,
    block: Block,
    staged: &Array<Four>,
    #[comptime] at: usize,
    #[comptime] lines: usize,
    #[comptime] blueprint: Blueprint,
) {
    let pitch = comptime!(blueprint.pitch(lines));
    let to = base + block.line / 4;
    if comptime!(blueprint.matrix_parts().is_some()) {
        let terms = comptime!(blueprint.matrix_parts().map_or(1, Parts::word_terms));
        let to = to + block.term / terms * pitch;
        write_words(shared, to, staged, at, lines, blueprint);
    } else {
        #[unroll]
        for t in 0..4usize {
            shared[to + (block.term + t) * pitch] = staged[at + t];
        }
    }
}
