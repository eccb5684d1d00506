//! Named arrays in safetensors files: first and last weights, batch orders, and what a kernel reads and writes.

mod convert;
mod error;
mod header;
mod read;
mod write;

pub use error::ArraysError;
pub use header::FormatError;
pub use read::{Arrays, Stored};
pub use write::{Array, Values, can_write, write};
