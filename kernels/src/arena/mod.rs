//! The flat arena: all tensors of a model in one buffer.
//!
//! A [`Segments`] says where each tensor lies, [`Slots`] hold what the units of a launch see.

mod layout;
mod slots;

pub use layout::{BLOCK, GAP, Segments};
pub use slots::Slots;
pub(crate) use slots::{write, write_pivots};
