//! What is computed on the host's processor in loops of its own: the elementwise parts of a network, and eigenvectors.
//!
//! A crate apart because it has to be optimized: kernels are many and are only described by the code around them, so their
//! crate is built for a small and quick build, while here every loop is to become vector code. Nothing is generic, so that it
//! is compiled here.

pub mod coded_rows;
pub mod eigen;
pub mod elementwise;
