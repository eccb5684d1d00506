//! The CUDA C++ of recorded launches on the host's processor: compiled with its C++ compiler and the headers in
//! `cuda/include`, which stand in for CUDA's.
//!
//! Every launch runs twice, its cubes and units in descending and in ascending order, and has to give the same bits. It fails
//! if a buffer is accessed outside of its length, if one that the text promises nobody writes (`const … __restrict__`) is
//! written through another, or if some units of a cube wait at a barrier and others do not.

mod compiler;
mod executor;
mod parameters;
mod program;

pub use compiler::Compiler;
pub use executor::HostCuda;
