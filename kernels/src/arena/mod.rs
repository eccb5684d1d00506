//! The flat arena: all tensors of a model in one buffer.
//!
//! * a [`Layout`] says where each tensor lies;
//! * an [`Arena`] is a buffer of that layout, in a format that it knows. It is checked where it is made, so that what takes one
//!   need not ask for its length again;
//! * a [`Part`] is some of its tensors as an arena of their own, in the same memory;
//! * tensors that are on the device already move into an arena and out of it there ([`Arena::write`], [`Arena::read`]);
//! * [`TensorRates`] are what tensors have in place of a step's learning rate and weight decay;
//! * [`Slots`] hold what the units of a launch over an arena see.

mod argument;
mod buffer;
mod layout;
mod moving;
mod part;
mod rates;
mod slots;

pub use argument::require;
pub(crate) use argument::{named, require_with_ghosts, sequence};
pub use buffer::Arena;
pub use layout::{BLOCK, GAP, Layout};
pub use part::Part;
pub(crate) use rates::{
    Rate, rate_of_block, rate_of_run, rate_of_vector, require_layout, require_one_each,
};
pub use rates::{TensorRate, TensorRates};
pub use slots::Slots;
pub(crate) use slots::{write, write_pivots};
