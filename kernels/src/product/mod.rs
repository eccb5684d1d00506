//! The door to matrix products, C = A B.
//!
//! On a CPU adapter a product runs on host memory, [`host`]. On a graphics processor it runs on device buffers, by one kernel for
//! the network, Gram matrices and roots: a table lists products of any sizes ([`Products`]), and one launch computes them all
//! ([`multiply`]). Sizes and places are values at run time, so a program compiles few variants.
//!
//! Products and sums are f32. TF32, which keeps 10 of the 23 bits of a factor, is never used.
//!
//! # Why not a library's kernel
//! `cubek-matmul` 0.2 offers on f32 without TF32 one kernel, whose tile is 256 × 128: the autoencoder's products then have 2 to 32
//! cubes, and an H200 has 132 multiprocessors. It took some twenty variants of it, 17 seconds of compiling, to train the
//! autoencoder there.

mod blueprint;
mod digits;
mod host;
mod kernel;
mod launch;
mod stage;
mod table;
mod tail;

pub use blueprint::{Blueprint, Sums};
pub(crate) use digits::{leading, lost_in_sum, opaque};
pub(crate) use host::host_weighted;
pub use host::{HostFloat, HostMatrix, host};
pub(crate) use launch::{Gate, Work, gated};
pub use launch::{Scale, multiply};
pub(crate) use table::Entry;
pub use table::{Product, Products, View};
pub(crate) use tail::{Rounding, Tail, rounded};

const OPERATION: &str = "matrix product";
