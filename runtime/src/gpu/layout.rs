//! How a backend lays out tensors in memory.

use cubecl::server::{Handle, MemoryLayout, MemoryLayoutDescriptor, MemoryLayoutPolicy};
use cubecl::stream_id::StreamId;
use cubecl_runtime::allocator::{ContiguousMemoryLayoutPolicy, PitchedMemoryLayoutPolicy};

/// The policy of a backend.
pub enum Layout {
    /// Row after row, as wgpu has it.
    Contiguous(ContiguousMemoryLayoutPolicy),
    /// Rows that start at multiples of the alignment where asked for, as CUDA has it.
    Pitched(PitchedMemoryLayoutPolicy),
}

impl Layout {
    #[cfg(feature = "wgpu")]
    pub(crate) fn contiguous(alignment: u64) -> Self {
        Layout::Contiguous(ContiguousMemoryLayoutPolicy::new(alignment as usize))
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn pitched(alignment: u64) -> Self {
        Layout::Pitched(PitchedMemoryLayoutPolicy::new(alignment as usize))
    }
}

impl MemoryLayoutPolicy for Layout {
    fn apply(
        &self,
        stream: StreamId,
        descriptors: &[MemoryLayoutDescriptor],
    ) -> (Handle, Vec<MemoryLayout>) {
        match self {
            Layout::Contiguous(policy) => policy.apply(stream, descriptors),
            Layout::Pitched(policy) => policy.apply(stream, descriptors),
        }
    }
}
