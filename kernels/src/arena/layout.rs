//! Where each tensor of an arena starts.
//!
//! All tensors of a model lie in one buffer, and so do their gradients and each of the optimizer's states, in the same
//! layout: a leading pad of one block, then each tensor from a block boundary on, followed by at least [`GAP`] zeros,
//! then a trailing pad. A launch thus sweeps over the whole model, however many tensors it has, and
//!
//! * a block never holds values of two tensors, so sums per tensor are sums over blocks;
//! * the zeros between tensors break the chains of a band: every edge that would cross them has the statistic
//!   0 · g = 0, and the pads let a unit look back and ahead without a bound check.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;

/// Values in a block; also the alignment of each tensor in the arena.
pub const BLOCK: usize = 256;

/// The zeros that follow each tensor at least, and so the widest band.
pub const GAP: usize = 32;

/// Where the tensors of a model lie in the arena, and their shapes. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    // Arc, for a launch may run on the device's thread.
    tensors: Arc<[Range<usize>]>,
    shapes: Arc<[Vec<usize>]>,
    blocks: usize,
}

impl Layout {
    /// The layout of tensors with the given numbers of values, in this order. A tensor may be empty.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are no values at all, or more than the 2³¹ that kernels can index.
    pub fn new(lengths: &[usize]) -> Result<Self, Error> {
        Self::with_shapes(lengths.iter().map(|&n| vec![n]).collect())
    }

    /// The layout of tensors of the given shapes, row-major, in this order. A scalar has the shape `[]`.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn with_shapes(shapes: Vec<Vec<usize>>) -> Result<Self, Error> {
        let shape = |found: String, expected: &str| Error::Shape {
            operation: "arena layout",
            argument: "shapes",
            found,
            expected: expected.into(),
        };
        let mut blocks = 1;
        let mut tensors = Vec::with_capacity(shapes.len());
        for lengths in &shapes {
            let start = blocks * BLOCK;
            let values = lengths.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let (n, end) = values
                .and_then(|n| Some((n, start.checked_add(n)?)))
                .filter(|&(_, end)| end < (1 << 31) - 2 * BLOCK)
                .ok_or_else(|| shape(format!("{lengths:?}"), "fewer than 2³¹ values in all"))?;
            tensors.push(start..end);
            blocks += (n + GAP).div_ceil(BLOCK);
        }
        if tensors.iter().all(Range::is_empty) {
            return Err(shape(format!("{shapes:?}"), "at least one value"));
        }
        Ok(Self {
            tensors: tensors.into(),
            shapes: shapes.into(),
            blocks: blocks + 1,
        })
    }

    /// Values in the arena, pads and gaps included.
    pub fn arena_len(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Blocks in the arena, the two pads included.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Values of the model, without pads and gaps.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(Range::len).sum()
    }

    /// Where each tensor lies in the arena.
    pub fn tensors(&self) -> &[Range<usize>] {
        &self.tensors
    }

    /// The shape of each tensor.
    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    /// The blocks of each tensor, its gap included.
    pub fn block_ranges(&self) -> Vec<Range<usize>> {
        self.tensors
            .iter()
            .map(|t| t.start / BLOCK..(t.start / BLOCK + (t.len() + GAP).div_ceil(BLOCK)))
            .collect()
    }

    /// For each block the tensor it belongs to; the pads belong to tensor 0, of which they hold no value.
    pub fn tensor_of_block(&self) -> Vec<u32> {
        let mut table = vec![0; self.blocks];
        for (tensor, blocks) in self.block_ranges().into_iter().enumerate() {
            table[blocks].fill(tensor as u32);
        }
        table
    }

    /// The tensor and the index within it of the arena's value `at`, unless it lies in a pad or gap.
    pub fn locate(&self, at: usize) -> Option<(usize, usize)> {
        self.tensors
            .iter()
            .position(|t| t.contains(&at))
            .map(|tensor| (tensor, at - self.tensors[tensor].start))
    }

    /// Whether tensors lie in the same places, whatever their shapes.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        // Slices are not compared by their address first.
        Arc::ptr_eq(&self.tensors, &other.tensors) || self.tensors == other.tensors
    }

    /// Lays the tensors out in an arena in host memory, zeros elsewhere. [`super::Arena::of`] takes them to the device.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of tensors or the length of one differs from the layout.
    pub fn gather(&self, tensors: &[impl AsRef<[f32]>]) -> Result<Vec<f32>, Error> {
        if tensors.len() != self.tensors.len() {
            return Err(Error::Shape {
                operation: "arena gather",
                argument: "tensors",
                found: format!("{} tensors", tensors.len()),
                expected: format!("{}", self.tensors.len()),
            });
        }
        let mut arena = vec![0.0; self.arena_len()];
        for (values, range) in tensors.iter().zip(self.tensors()) {
            let values = values.as_ref();
            if values.len() != range.len() {
                return Err(Error::Shape {
                    operation: "arena gather",
                    argument: "a tensor",
                    found: format!("{} values", values.len()),
                    expected: format!("{}", range.len()),
                });
            }
            arena[range.clone()].copy_from_slice(values);
        }
        Ok(arena)
    }

    /// The tensors of an arena, copied out.
    pub fn scatter<T: Copy>(&self, arena: &[T]) -> Vec<Vec<T>> {
        self.tensors
            .iter()
            .map(|range| arena[range.clone()].to_vec())
            .collect()
    }
}
