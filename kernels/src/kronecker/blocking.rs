//! Which part of which tensor a factor preconditions.
//!
//! As the benchmark's Shampoo has it: axes of length 1 vanish and neighbouring axes are merged while their product stays
//! within a limit; what is left is a vector (one factor, p = 2) or a matrix (two factors, p = 4); axes longer than a
//! block are cut into blocks, each with factors of its own.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::arena::Layout;
use crate::error::Error;

/// Lengths that decide how a tensor is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest side of a block, ≥ 1.
    pub block: usize,
    /// Neighbouring axes are merged while their product is at most this; at most 1 merges nothing but axes of length 1.
    pub merge: usize,
    /// A tensor with a longer axis than this, after merging, is not preconditioned.
    pub largest: usize,
}

/// How a tensor is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// One factor of order p = 2.
    Vector {
        /// Its length.
        n: usize,
    },
    /// Two factors of order p = 4.
    Matrix {
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// The graft's update, and why.
    Graft {
        /// Why it is not preconditioned.
        reason: String,
    },
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector { n } => write!(f, "vector of {n}, p = 2"),
            Self::Matrix { rows, columns } => write!(f, "matrix of {rows} × {columns}, p = 4"),
            Self::Graft { reason } => write!(f, "graft only: {reason}"),
        }
    }
}

/// From which side a factor multiplies its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// S = G Gᵀ over the rows.
    Left,
    /// S = Gᵀ G over the columns.
    Right,
}

/// A rectangular part of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The tensor.
    pub tensor: usize,
    /// Arena index of its first value.
    pub start: usize,
    /// Rows; of a vector its length.
    pub rows: usize,
    /// Columns; of a vector 1.
    pub columns: usize,
    /// Values from one row to the next in the arena.
    pub stride: usize,
    /// Index of its factors: the left one and, of a matrix, the right one.
    pub factors: Range<usize>,
}

/// A square matrix that belongs to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// The block it belongs to.
    pub block: usize,
    /// Its side.
    pub side: Side,
    /// Its rows and columns.
    pub n: usize,
    /// p of the inverse p-th root.
    pub order: u32,
    /// Where its n² values lie in a buffer of all factors.
    pub range: Range<usize>,
}

/// All blocks and factors of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocking {
    assignments: Vec<Assignment>,
    blocks: Vec<Block>,
    factors: Vec<Factor>,
}

impl Blocking {
    /// The blocks of a layout. `order` replaces p everywhere if given; `vectors` says whether vectors are preconditioned.
    ///
    /// # Errors
    /// [`Error::Range`] if a block has no side or the order is 0, [`Error::Shape`] if the factors are too large.
    pub fn new(
        layout: &Layout,
        limits: Limits,
        order: Option<u32>,
        vectors: bool,
    ) -> Result<Self, Error> {
        let at_least_one = |argument, found: usize| {
            if found > 0 {
                return Ok(());
            }
            Err(Error::Range {
                operation: "kronecker blocking",
                argument,
                found: 0.0,
                expected: "≥ 1",
            })
        };
        at_least_one("block", limits.block)?;
        at_least_one("order", order.unwrap_or(1) as usize)?;
        let mut blocking = Self {
            assignments: Vec::new(),
            blocks: Vec::new(),
            factors: Vec::new(),
        };
        let tensors = layout.tensors().iter().zip(layout.shapes());
        for (tensor, (range, shape)) in tensors.enumerate() {
            let assignment = assign(shape, limits, vectors);
            let (rows, columns) = match assignment {
                Assignment::Vector { n } => (n, 1),
                Assignment::Matrix { rows, columns } => (rows, columns),
                Assignment::Graft { .. } => (0, 0),
            };
            let matrix = matches!(assignment, Assignment::Matrix { .. });
            for row in pieces(rows, limits.block) {
                for column in pieces(columns, limits.block) {
                    let start = range.start + row.start * columns + column.start;
                    let (rows, width) = (row.len(), column.len());
                    blocking.push(tensor, start, rows, width, columns, matrix, order)?;
                }
            }
            blocking.assignments.push(assignment);
        }
        Ok(blocking)
    }

    fn push(
        &mut self,
        tensor: usize,
        start: usize,
        rows: usize,
        columns: usize,
        stride: usize,
        matrix: bool,
        order: Option<u32>,
    ) -> Result<(), Error> {
        let first = self.factors.len();
        let sides: &[(Side, usize)] = &[(Side::Left, rows), (Side::Right, columns)];
        let sides = if matrix { sides } else { &sides[..1] };
        for &(side, n) in sides {
            let at = self.factor_values();
            let end = n.checked_mul(n).and_then(|values| at.checked_add(values));
            let end = end
                .filter(|&end| end < 1 << 31)
                .ok_or_else(|| Error::Shape {
                    operation: "kronecker blocking",
                    argument: "a factor",
                    found: format!("{n} × {n} of tensor {tensor}"),
                    expected: "fewer than 2³¹ values in all factors; use smaller blocks".into(),
                })?;
            self.factors.push(Factor {
                block: self.blocks.len(),
                side,
                n,
                order: order.unwrap_or(2 * sides.len() as u32),
                range: at..end,
            });
        }
        self.blocks.push(Block {
            tensor,
            start,
            rows,
            columns,
            stride,
            factors: first..self.factors.len(),
        });
        Ok(())
    }

    /// How each tensor is treated.
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// The blocks, in the order of tensors.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The factors, in the order of blocks.
    pub fn factors(&self) -> &[Factor] {
        &self.factors
    }

    /// The arena index behind the last value of any block.
    pub(super) fn arena_end(&self) -> usize {
        let ends = self.blocks.iter().map(|block| {
            let rows = block.rows.saturating_sub(1) * block.stride;
            block.start + rows + block.columns
        });
        ends.max().unwrap_or(0)
    }

    /// Values of all factors together.
    pub fn factor_values(&self) -> usize {
        self.factors.last().map_or(0, |factor| factor.range.end)
    }
}

fn pieces(length: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length)
        .step_by(block)
        .map(move |start| start..length.min(start + block))
}

/// Axes of length 1 dropped, neighbours merged while their product is at most `merge`.
fn merged(shape: &[usize], merge: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = Vec::new();
    for &length in shape.iter().filter(|&&length| length != 1) {
        match axes.last_mut() {
            Some(last) if last.saturating_mul(length) <= merge => *last *= length,
            _ => axes.push(length),
        }
    }
    axes
}

fn assign(shape: &[usize], limits: Limits, vectors: bool) -> Assignment {
    let graft = |reason: String| Assignment::Graft { reason };
    if shape.contains(&0) {
        return graft("it is empty".into());
    }
    let axes = merged(shape, limits.merge);
    if let Some(longest) = axes.iter().find(|&&axis| axis > limits.largest) {
        let largest = limits.largest;
        return graft(format!("an axis of {longest} is longer than {largest}"));
    }
    match axes[..] {
        [] if vectors => Assignment::Vector { n: 1 },
        [n] if vectors => Assignment::Vector { n },
        [] | [_] => graft("vectors are left to the graft".into()),
        [rows, columns] => Assignment::Matrix { rows, columns },
        _ => graft(format!("{} axes are left after merging", axes.len())),
    }
}
