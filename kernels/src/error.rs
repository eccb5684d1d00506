//! What can go wrong before, at and after a launch. Every variant says where, what was found, what was expected, and
//! what to do.

/// An error of a kernel launch or of reading its results.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A buffer holds another number of values than the operation needs.
    #[error(
        "{operation}: buffer `{argument}` holds {found} bytes, expected {expected}; allocate it with the same arena layout as the others"
    )]
    Length {
        /// The operation that refused.
        operation: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A hyperparameter lies outside its range.
    #[error("{operation}: {argument} = {found:?} is out of range, expected {expected}")]
    Range {
        /// The operation that refused.
        operation: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The value found.
        found: f64,
        /// The range expected, in words.
        expected: &'static str,
    },
    /// A shape does not fit the operation.
    #[error("{operation}: {argument} is {found}, expected {expected}")]
    Shape {
        /// The operation that refused.
        operation: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The shape found.
        found: String,
        /// The shape expected.
        expected: String,
    },
    /// The device's limits do not allow the launch.
    #[error(
        "{operation}: needs {found} {resource}, the device allows {allowed}; force a blueprint that needs less"
    )]
    Limit {
        /// The operation that refused.
        operation: &'static str,
        /// What is limited.
        resource: &'static str,
        /// What the launch asks for.
        found: u64,
        /// What the device has.
        allowed: u64,
    },
    /// A buffer would be larger than any of the device.
    #[error(
        "{operation}: {argument} needs a buffer of {found} bytes, the largest of this device has {allowed}; take a smaller model, batch or array, or a device with larger buffers (`max_buffer_bytes` of the device says how large)"
    )]
    TooLarge {
        /// The operation that refused.
        operation: &'static str,
        /// What the buffer is for.
        argument: &'static str,
        /// Bytes needed.
        found: u64,
        /// Bytes of the device's largest buffer.
        allowed: u64,
    },
    /// The driver refused or lost a launch.
    #[error(
        "{operation}: the device reported a failed launch: {reason}; results since the last successful read are void"
    )]
    Launch {
        /// The operation that failed.
        operation: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// The library was built without what the operation needs.
    #[error(
        "{operation} needs the feature `{feature}` of sonew-kernels, and this program was built without it; ask for it in Cargo.toml, of whichever crate of SONew-rs you depend on"
    )]
    NotBuilt {
        /// The operation.
        operation: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// This device has no way to run the operation.
    #[error("{operation} is not supported on this device: {reason}")]
    Unsupported {
        /// The operation.
        operation: &'static str,
        /// Why not.
        reason: String,
    },
}

/// `found` as f32, if it is finite and ≥ 0.
pub(crate) fn require_non_negative(
    operation: &'static str,
    argument: &'static str,
    found: f64,
) -> Result<f32, Error> {
    let narrow = found as f32;
    if narrow >= 0.0 && narrow.is_finite() {
        return Ok(narrow);
    }
    Err(Error::Range {
        operation,
        argument,
        found,
        expected: "≥ 0 and finite in f32",
    })
}

/// `found` as f32, if it is finite and > 0.
pub(crate) fn require_positive(
    operation: &'static str,
    argument: &'static str,
    found: f64,
) -> Result<f32, Error> {
    let narrow = found as f32;
    if narrow > 0.0 && narrow.is_finite() {
        return Ok(narrow);
    }
    Err(Error::Range {
        operation,
        argument,
        found,
        expected: "> 0 and finite in f32",
    })
}

/// `found` as f32, if it can be the decay of a moving average: 0 ≤ β < 1.
pub(crate) fn require_decay(
    operation: &'static str,
    argument: &'static str,
    found: f64,
) -> Result<f32, Error> {
    let narrow = found as f32;
    if (0.0..1.0).contains(&narrow) {
        return Ok(narrow);
    }
    Err(Error::Range {
        operation,
        argument,
        found,
        expected: "0 ≤ β < 1 in f32",
    })
}
