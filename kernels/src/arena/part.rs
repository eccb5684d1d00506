//! Some tensors of a layout as a layout of their own, in the same memory.

use std::ops::Range;

use super::buffer::Arena;
use super::layout::{BLOCK, Layout};
use crate::error::Error;

/// Tensors of an arranged layout that lie behind each other, with a block of zeros before and after them
/// ([`Layout::arranged`]). What is launched over a part neither sees nor moves the other tensors.
#[derive(Clone, Debug)]
pub struct Part {
    whole: Layout,
    layout: Layout,
    /// The number in the whole of each tensor of the part.
    tensors: Vec<usize>,
    /// The blocks in the whole, pads included.
    blocks: Range<usize>,
}

impl Part {
    /// The tensors of these numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not lie behind each other in this order between blocks of zeros, or hold no value.
    pub fn new(whole: &Layout, tensors: Vec<usize>) -> Result<Self, Error> {
        let ranges = whole.block_ranges();
        let names = whole.names();
        let apart = |found: String| Error::Shape {
            operation: "part of an arena",
            argument: "tensors",
            found,
            expected:
                "tensors behind each other between blocks of zeros; arrange the layout by its parts"
                    .into(),
        };
        if let Some(unknown) = tensors.iter().find(|&&tensor| tensor >= names.len()) {
            return Err(apart(format!("tensor {unknown} of {}", names.len())));
        }
        let own = |&tensor: &usize| (names[tensor].clone(), whole.shapes()[tensor].clone());
        let layout = Layout::named(tensors.iter().map(own))?;
        let first = ranges[tensors[0]].start - 1;
        let blocks = first..first + layout.blocks();
        for (&tensor, own) in tensors.iter().zip(layout.block_ranges()) {
            if ranges[tensor].start != first + own.start {
                return Err(apart(format!(
                    "{} apart from the tensor before",
                    names[tensor]
                )));
            }
        }
        let pads = [blocks.start, blocks.end - 1];
        let holds = |pad: usize| ranges.iter().position(|blocks| blocks.contains(&pad));
        if let Some(other) = pads.into_iter().find_map(holds) {
            return Err(apart(format!("{} right beside them", names[other])));
        }
        Ok(Self {
            whole: whole.clone(),
            layout,
            tensors,
            blocks,
        })
    }

    /// Where its tensors lie in the part.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The number in the whole of each of its tensors.
    pub fn tensors(&self) -> &[usize] {
        &self.tensors
    }

    /// The part of an arena of the whole layout: the same memory.
    ///
    /// # Errors
    /// [`Error::Shape`] for an arena of another layout, or with ghost columns.
    pub fn of(
        &self,
        operation: &'static str,
        argument: &'static str,
        arena: &Arena,
    ) -> Result<Arena, Error> {
        let format = arena.format();
        arena.require(operation, argument, &self.whole, format)?;
        let bytes = |blocks: usize| (blocks * BLOCK * format.bytes()) as u64;
        let handle = arena.handle().clone();
        let handle = handle.offset_start(bytes(self.blocks.start));
        let behind = bytes(self.whole.blocks() - self.blocks.end);
        Arena::around(handle.offset_end(behind), &self.layout, format)
    }
}
