//! What is trained: each workload is a folder here, and a line in [`ALL`].
//!
//! A [`Workload`] is what is known without a device: data, tensors, names. On a device it becomes an [`Objective`], which the
//! training loop asks for gradients and losses. `docs/workloads.md` tells how to add one.

pub mod autoencoder;
pub mod layers;
mod objective;
mod options;
pub mod text;
mod workload;

pub use objective::Objective;
pub use options::{Entry, Options};
pub use workload::{Examples, Memory, Workload, layout_of};

/// Every workload; the first is the one that is trained where none is named.
pub const ALL: &[Entry] = &[
    Entry::of::<autoencoder::AutoencoderOptions>("autoencoder"),
    Entry::of::<text::TextOptions>("text"),
];
