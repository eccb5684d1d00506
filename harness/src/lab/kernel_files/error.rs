//! Why a kernel could not be run on a file.

use sonew_kernels::error::Error as KernelError;

use crate::arrays::ArraysError;

/// Why a kernel could not be run on a file.
#[derive(Debug, thiserror::Error)]
pub enum KernelFileError {
    /// No kernel has this name.
    #[error("no kernel is called `{found}`; `sonew kernel --list` shows them: {known}")]
    Unknown {
        /// The name found.
        found: String,
        /// The names there are.
        known: String,
    },
    /// An option is not one of the kernel's, cannot be read, or would have no effect.
    #[error("kernel {kernel}: option {found}: {expected}")]
    Option {
        /// The kernel.
        kernel: &'static str,
        /// What was given.
        found: String,
        /// What it expects.
        expected: String,
    },
    /// An array does not have the shape that is declared, or that the others ask for.
    #[error("kernel {kernel}: array `{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The array.
        array: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape expected.
        expected: String,
    },
    /// A value of an array that is to count the rows of another one is no such number.
    #[error(
        "kernel {kernel}: array `{array}` has {found} at {place}, expected whole numbers from 0 to {most}"
    )]
    Index {
        /// The kernel.
        kernel: &'static str,
        /// The array.
        array: &'static str,
        /// Where.
        place: usize,
        /// What stands there.
        found: f32,
        /// The largest that may.
        most: usize,
    },
    /// Arrays of the file would not be read with the options as they are.
    #[error(
        "kernel {kernel}: array {found} has no effect with these options, expected some of {expected}; leave it out, or set the option that reads it"
    )]
    Unread {
        /// The kernel.
        kernel: &'static str,
        /// The arrays.
        found: String,
        /// The arrays that it reads.
        expected: String,
    },
    /// The kernel found no result that may be used.
    #[error(
        "kernel {kernel}: nothing was written, for {reason}; --allow-refused writes what there is"
    )]
    Refused {
        /// The kernel.
        kernel: &'static str,
        /// Why.
        reason: String,
    },
    /// A flag has no meaning for the kernel.
    #[error("kernel {kernel}: {flag} has no effect, {reason}; leave it out")]
    NoEffect {
        /// The kernel.
        kernel: &'static str,
        /// The flag.
        flag: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The file.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
