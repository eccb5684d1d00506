//! The CUDA C++ of recorded launches on the host's processor: compiled with its C++ compiler and the headers in `include`,
//! which stand in for CUDA's.
//!
//! [`HostCuda`] runs every launch twice, its cubes and units in descending and in ascending order, and both have to give the
//! same bits. A launch fails if a buffer is accessed outside of its length, if one that the text promises nobody writes
//! (`const … __restrict__`) is written through another, or if some units of a cube wait at a barrier and others do not. Units
//! run one after the other, from barrier to barrier; a text with shuffles, votes, matrix instructions or assembly does not
//! compile here.
//!
//! [`HostCuda::trace`] runs a launch once and tells of every access to memory.

mod compiler;
mod executor;
mod parameters;
mod program;

pub use compiler::HostCompiler;
pub use executor::HostCuda;
pub use program::{Access, SHARED};
