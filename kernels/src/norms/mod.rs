//! Norms of tensors, for every optimizer that compares lengths: ‖x‖ in a form that neither overflows nor underflows, folded per block
//! and then per tensor in a fixed order; and over all tensors, for clipping.

mod fold;
mod global;
mod length;
mod norm;
mod reduction;

use cubecl::server::Handle;

use crate::arena::Layout;
use crate::error::Error;
use crate::launch::require_bytes;

pub(crate) use fold::{cube_max, cube_sum};
pub(crate) use global::FACTOR;
pub use global::{GLOBAL, global_norm};
pub(crate) use length::{
    BlockLength, PART, PARTS, measure_vector, of_block, shared_parts, show_parts,
};
pub(crate) use norm::{AT_ONCE, VECTORS, WIDTH, per_block_grid};
pub use norm::{norm_of_each, norm_per_tensor};
pub use reduction::Reduction;

/// A number for each tensor, found by the block.
#[derive(Clone, Copy)]
pub struct PerTensor<'a> {
    /// The numbers; f32.
    pub values: &'a Handle,
    /// For each block the tensor it belongs to ([`Layout::tensor_of_block`]); u32.
    pub tensor_of_block: &'a Handle,
}

impl PerTensor<'_> {
    pub(crate) fn check(
        &self,
        operation: &'static str,
        argument: &'static str,
        layout: &Layout,
    ) -> Result<(), Error> {
        let tensors = layout.tensors().len() as u64;
        require_bytes(operation, argument, self.values, 4 * tensors)?;
        let blocks = layout.blocks() as u64;
        require_bytes(
            operation,
            "tensor_of_block",
            self.tensor_of_block,
            4 * blocks,
        )
    }
}
