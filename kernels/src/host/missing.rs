//! Without the feature `host`: what cannot be computed is an error that names it.

use super::{At, Eigen};
use crate::error::Error;
use crate::product::HostFloat;

fn missing(operation: &'static str) -> Error {
    Error::NotBuilt {
        operation,
        feature: "host",
    }
}

/// Nothing is read or written.
///
/// # Safety
/// None is needed.
pub(crate) unsafe fn multiply<F: HostFloat>(
    _: [usize; 3],
    _: At<*mut F>,
    _: F,
    _: bool,
    _: At<*const F>,
    _: At<*const F>,
    _: F,
) -> Result<(), Error> {
    Err(missing("a matrix product in host memory"))
}

pub(crate) fn symmetric(_: &[f64], _: usize) -> Result<Option<Eigen>, Error> {
    Err(missing("an eigendecomposition"))
}

/// Calls `change` on `values`, in this thread.
pub(crate) fn each_part(values: &mut [f32], change: impl Fn(&mut [f32]) + Send + Sync) {
    change(values);
}
