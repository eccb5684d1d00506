//! Where the images come from: an IDX file, or the copy built into the program.

pub mod embedded;
pub mod idx;

pub use idx::{IdxError, Images};
