//! A tensor from a buffer of its own into an arena, and back, on the device.
//!
//! A dense tensor is its n values one after the other, in whole words of four bytes: where two values share a word and n is odd, the
//! second half of the last word is nobody's. In the arena it belongs to the gap, and stays zero.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::buffer::Arena;
use crate::context::{Context, Units};
use crate::error::Error;
use crate::launch::{Grid, array};

const WORD: usize = size_of::<u32>();

#[cube(launch_unchecked)]
fn move_kernel(
    from: &Array<u32>,
    to: &mut Array<u32>,
    from_start: u32,
    to_start: u32,
    words: u32,
    // The bits of the last word that are the tensor's.
    last: u32,
) {
    let mut at = ABSOLUTE_POS;
    while at < words as usize {
        let kept = select(at + 1 == words as usize, last, u32::MAX);
        to[to_start as usize + at] = from[from_start as usize + at] & kept;
        at += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Where a tensor lies in the words of an arena.
struct Place {
    start: usize,
    words: usize,
    /// Bytes of its values.
    bytes: usize,
}

impl Place {
    fn last(&self) -> u32 {
        if self.bytes.is_multiple_of(WORD) {
            u32::MAX
        } else {
            0xffff
        }
    }
}

impl Arena {
    /// Copies a dense tensor of the arena's format, in another buffer of the device, into its place. Nothing else changes, and
    /// nothing passes through host memory.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that the layout does not have and for an arena with ghost columns, whose copies would be
    /// another's; [`Error::Length`] if `from` does not have the tensor's length; launch errors as [`Context::launch`].
    pub fn write(&self, context: &Context, tensor: usize, from: &Handle) -> Result<(), Error> {
        let operation = "arena write";
        let place = self.place(operation, tensor)?;
        self.require(operation, "arena", self.layout(), self.format())?;
        let (found, expected) = (from.size_in_used(), place.bytes as u64);
        if found != expected && found != (place.words * WORD) as u64 {
            return Err(Error::Length {
                operation,
                argument: "from",
                found,
                expected,
            });
        }
        moved(
            context,
            operation,
            (from, 0, place.words),
            (self.handle(), place.start, self.bytes() / WORD),
            &place,
        )
    }

    /// A tensor in a dense buffer of its own, in the arena's format.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that the layout does not have; launch errors as [`Context::launch`].
    pub fn read(&self, context: &Context, tensor: usize) -> Result<Handle, Error> {
        let operation = "arena read";
        let place = self.place(operation, tensor)?;
        let to = context.client().empty(place.words * WORD);
        moved(
            context,
            operation,
            (self.handle(), place.start, self.bytes() / WORD),
            (&to, 0, place.words),
            &place,
        )?;
        Ok(to)
    }

    fn place(&self, operation: &'static str, tensor: usize) -> Result<Place, Error> {
        let tensors = self.layout().tensors();
        let Some(range) = tensors.get(tensor) else {
            return Err(Error::Shape {
                operation,
                argument: "tensor",
                found: format!("tensor {tensor}"),
                expected: format!("one of {}", tensors.len()),
            });
        };
        let bytes = self.format().bytes() * range.len();
        Ok(Place {
            // A tensor starts at a block, and so at a word.
            start: self.format().bytes() * range.start / WORD,
            words: bytes.div_ceil(WORD),
            bytes,
        })
    }
}

/// Copies the words of a tensor; a side is a buffer, the word where the tensor begins there, and the words of the buffer.
fn moved(
    context: &Context,
    operation: &'static str,
    (from, from_start, from_words): (&Handle, usize, usize),
    (to, to_start, to_words): (&Handle, usize, usize),
    place: &Place,
) -> Result<(), Error> {
    if place.words == 0 {
        return Ok(());
    }
    let units: usize = match context.profile().units {
        Units::Few => 64,
        Units::Many => 256,
    };
    let grid = Grid {
        cubes: place.words.div_ceil(units).min(4096) as u32,
        units: units as u32,
        buffers: 3,
    };
    context.launch(operation, (), grid, |client, cubes, dim| {
        // SAFETY: both buffers were checked to hold the tensor's words from their starts on. Where a buffer ends amid its last
        // word, the rest of that word is no other's: devices hand out memory in words.
        unsafe {
            move_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                dim,
                array(from, from_words),
                array(to, to_words),
                from_start as u32,
                to_start as u32,
                place.words as u32,
                place.last(),
            );
        }
    })
}
