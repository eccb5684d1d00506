//! Where each tensor of an arena starts.
//!
//! All tensors of a model lie in one buffer, and so do their gradients and each of the optimizer's states, in the same
//! layout: a leading pad of one block, then each tensor from a block boundary on, followed by at least [`GAP`] zeros,
//! then a trailing pad. A launch thus sweeps over the whole model, however many tensors it has, and
//!
//! * a block never holds values of two tensors, so sums per tensor are sums over blocks;
//! * the zeros between tensors break the chains of a band: every edge that would cross them has the statistic
//!   0 · g = 0, and the pads let a unit look back and ahead without a bound check.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;

/// Values in a block; also the alignment of each tensor in the arena.
pub const BLOCK: usize = 256;

/// The zeros that follow each tensor at least, and so the widest band.
pub const GAP: usize = 32;

/// Where the tensors of a model lie in the arena, their shapes and their names. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    // Arc, for a launch may run on the device's thread.
    tensors: Arc<[Range<usize>]>,
    shapes: Arc<[Vec<usize>]>,
    names: Arc<[String]>,
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
        let named = shapes.into_iter().enumerate();
        Self::named(named.map(|(tensor, shape)| (format!("t{tensor}"), shape)))
    }

    /// The layout of tensors of the given names and shapes, row-major, in this order. Without names they are t0, t1, …
    ///
    /// # Errors
    /// As [`Layout::new`]; [`Error::Shape`] for a name that is empty or given twice.
    pub fn named(
        tensors: impl IntoIterator<Item = (impl Into<String>, Vec<usize>)>,
    ) -> Result<Self, Error> {
        let (mut names, mut shapes) = (Vec::<String>::new(), Vec::new());
        let mut known = HashSet::new();
        for (name, shape) in tensors {
            let name = name.into();
            if name.is_empty() || !known.insert(name.clone()) {
                let expected = "names that are neither empty nor given twice";
                return Err(refused("names", format!("`{name}`"), expected));
            }
            names.push(name);
            shapes.push(shape);
        }
        let parts = vec![0; shapes.len()];
        Self::lay(names.into(), shapes.into(), &parts)
    }

    /// The same tensors, those of one part behind each other, the least part first, and a block of zeros between parts.
    /// The numbers, names and shapes of tensors stay; where they lie changes. [`super::Part`] takes a part out.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not a part for each tensor; as [`Layout::new`].
    pub fn arranged(&self, part_of_tensor: &[usize]) -> Result<Self, Error> {
        if part_of_tensor.len() != self.tensors.len() {
            let found = format!("parts of {} tensors", part_of_tensor.len());
            let expected = format!("one for each of {}", self.tensors.len());
            return Err(refused("parts", found, &expected));
        }
        Self::lay(self.names.clone(), self.shapes.clone(), part_of_tensor)
    }

    fn lay(
        names: Arc<[String]>,
        shapes: Arc<[Vec<usize>]>,
        parts: &[usize],
    ) -> Result<Self, Error> {
        let mut order: Vec<usize> = (0..shapes.len()).collect();
        order.sort_by_key(|&tensor| parts[tensor]);
        let mut blocks = 1;
        let mut tensors = vec![0..0; shapes.len()];
        let mut part = None;
        for tensor in order {
            if part
                .replace(parts[tensor])
                .is_some_and(|it| it != parts[tensor])
            {
                blocks += 1;
            }
            let lengths = &shapes[tensor];
            let start = blocks * BLOCK;
            let values = lengths.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let (n, end) = values
                .and_then(|n| Some((n, start.checked_add(n)?)))
                .filter(|&(_, end)| end < (1 << 31) - 2 * BLOCK)
                .ok_or_else(|| {
                    let expected = "fewer than 2³¹ values in all";
                    refused("shapes", format!("{lengths:?}"), expected)
                })?;
            tensors[tensor] = start..end;
            blocks += (n + GAP).div_ceil(BLOCK);
        }
        if tensors.iter().all(Range::is_empty) {
            return Err(refused(
                "shapes",
                format!("{shapes:?}"),
                "at least one value",
            ));
        }
        Ok(Self {
            tensors: tensors.into(),
            shapes,
            names,
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

    /// The name of each tensor.
    pub fn names(&self) -> &[String] {
        &self.names
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

fn refused(argument: &'static str, found: String, expected: &str) -> Error {
    Error::Shape {
        operation: "arena layout",
        argument,
        found,
        expected: expected.into(),
    }
}
