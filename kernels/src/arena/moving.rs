//! A tensor from a buffer of its own into an arena, and back, on the device.
//!
//! A dense tensor is its n values one after the other, in the words of its format ([`Storage::Word`](crate::precision::Storage)): a
//! value each, but for bf16, of which two share a word. Where n is odd, the second half of the last word is nobody's; in the arena
//! it belongs to the gap, and stays zero.

use cubecl::prelude::*;
use cubecl::server::Handle;
use half::f16;
use sonew_runtime::Gpu;

use super::buffer::Arena;
use crate::context::{Context, Units};
use crate::error::Error;
use crate::launch::{Grid, array};
use crate::precision::Format;

#[cube(launch_unchecked)]
fn move_words_kernel(
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

#[cube(launch_unchecked)]
fn move_halves_kernel(
    from: &Array<f16>,
    to: &mut Array<f16>,
    from_start: u32,
    to_start: u32,
    words: u32,
) {
    let mut at = ABSOLUTE_POS;
    while at < words as usize {
        to[to_start as usize + at] = from[from_start as usize + at];
        at += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Where a tensor lies in the words of an arena.
struct Place {
    /// Bytes of a word.
    word: usize,
    start: usize,
    words: usize,
    /// The bits of the last word that are the tensor's.
    last: u32,
}

impl Arena {
    /// Copies a dense tensor of the arena's format, in another buffer of the device, into its place. Nothing else changes, and
    /// nothing passes through host memory.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that the layout does not have and for an arena with ghost columns, whose copies would be
    /// another's; [`Error::Length`] if `from` does not have the tensor's length in whole words; launch errors as [`Context::launch`].
    pub fn write(&self, context: &Context, tensor: usize, from: &Handle) -> Result<(), Error> {
        let operation = "arena write";
        let place = self.place(operation, tensor)?;
        self.require(operation, "arena", self.layout(), self.format())?;
        let (found, expected) = (from.size_in_used(), (place.words * place.word) as u64);
        if found != expected {
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
            (self.handle(), place.start, self.bytes() / place.word),
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
        let to = context.client().empty(place.words * place.word);
        moved(
            context,
            operation,
            (self.handle(), place.start, self.bytes() / place.word),
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
        // A tensor starts at a block, and so at a word.
        let (word, per_word) = match self.format() {
            Format::F32 => (size_of::<f32>(), 1),
            Format::F16 => (size_of::<f16>(), 1),
            Format::Bf16 => (size_of::<u32>(), 2),
        };
        let whole = range.len().is_multiple_of(per_word);
        Ok(Place {
            word,
            start: range.start / per_word,
            words: range.len().div_ceil(per_word),
            last: if whole { u32::MAX } else { 0xffff },
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
    let halves = place.word == size_of::<f16>();
    context.launch(operation, halves, grid, |client, cubes, dim| {
        let (from, to) = (array(from, from_words), array(to, to_words));
        let (from_start, to_start) = (from_start as u32, to_start as u32);
        let words = place.words as u32;
        // SAFETY: both buffers were checked to hold the tensor's words from their starts on.
        unsafe {
            if halves {
                move_halves_kernel::launch_unchecked::<Gpu>(
                    client, cubes, dim, from, to, from_start, to_start, words,
                );
            } else {
                move_words_kernel::launch_unchecked::<Gpu>(
                    client, cubes, dim, from, to, from_start, to_start, words, place.last,
                );
            }
        }
    })
}
