//! GPU kernels.
// The `#[cube]` macro generates a public module and items beside each kernel that no doc comment can reach.
#![allow(missing_docs)]

mod buffers;
pub mod context;
pub mod error;
pub mod evidence;
pub mod first_order;
pub mod kronecker;
pub mod matmul;
pub mod network;
pub mod precision;
pub mod segments;
pub mod sonew;
pub mod sweep;
