//! Buffers as the arguments of a kernel, and the length checks that stand between them and an unchecked launch.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::error::Error;

/// A kernel argument over `vectors` vectors of `buffer`.
pub(crate) fn array(buffer: &Handle, vectors: usize) -> ArrayArg<Gpu> {
    // SAFETY: callers pass lengths that `require_*` found the buffer to hold.
    unsafe { ArrayArg::from_raw_parts(buffer.clone(), vectors) }
}

/// A sequence of one array over `buffer`, or of none.
pub(crate) fn optional<E: CubePrimitive>(
    buffer: Option<&Handle>,
    vectors: usize,
) -> SequenceArg<Gpu, Array<E>> {
    let mut sequence = SequenceArg::new();
    if let Some(buffer) = buffer {
        sequence.push(array(buffer, vectors));
    }
    sequence
}

/// Requires that `buffer` holds exactly `expected` bytes.
pub(crate) fn require_bytes(
    operation: &'static str,
    argument: &'static str,
    buffer: &Handle,
    expected: u64,
) -> Result<(), Error> {
    let found = buffer.size_in_used();
    if found == expected {
        return Ok(());
    }
    Err(Error::Length {
        operation,
        argument,
        found,
        expected,
    })
}
