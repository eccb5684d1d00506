//! The door to matrix products, C = A B.
//!
//! On a CPU adapter a product runs on host memory, [`host`]. On a graphics processor it runs on device buffers, by one kernel for
//! the network, Gram matrices and roots: a table lists products of any sizes ([`Products`]), and one launch computes them all
//! ([`multiply`]). Sizes and places are values at run time, so a program compiles few variants.
//!
//! Units multiply and sum in f32. Matrix units, where a device has them, multiply 16-bit values in their own format, which loses no digit of
//! theirs, and sum in f32; f32 they multiply only if asked to, in three parts of bf16 within the tolerance of f32, or as TF32, which keeps 11
//! of the 24 digits of a factor ([`Multiplication`]).
//!
//! # Why not a library's kernel
//! `cubek-matmul` 0.2 offers on f32 without TF32 one kernel, whose tile is 256 × 128: the autoencoder's products then have 2 to 32
//! cubes, and an H200 has 132 multiprocessors. It took some twenty variants of it, 17 seconds of compiling, to train the
//! autoencoder there.

mod blueprint;
mod digits;
mod factors;
mod host;
mod kernel;
mod launch;
mod matrix;
mod stage;
mod symmetric;
mod table;
mod tail;

pub use blueprint::{Blueprint, Sums, multiprocessors};
pub(crate) use digits::{leading, lost_in_sum, opaque};
pub use factors::{Factors, Multiplication, Parts};
pub(crate) use host::host_weighted;
pub use host::{HostFloat, HostMatrix, host};
pub(crate) use launch::{Gate, Work, gated};
pub use launch::{Scale, multiply};
pub(crate) use table::Entry;
pub use table::{Product, Products, View};
pub(crate) use tail::{Rounding, Tail, rounded};

const OPERATION: &str = "matrix product";
