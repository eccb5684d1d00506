//! What can go wrong between a file and its arrays.

use std::fmt;
use std::io;
use std::path::PathBuf;

use safetensors::tensor::SafeTensorError;

/// Why a file of arrays could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ArraysError {
    /// The file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// "reading arrays from" or "writing arrays to".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The content is not a safetensors file, or is cut off.
    #[error("reading arrays from {}: expected a whole safetensors file, found one that does not parse ({source})", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: SafeTensorError,
    },
    /// An array has an element type that is not read here.
    #[error("reading arrays from {}: array \"{name}\" has element type {found}; expected F32 or U32, convert it before saving", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// Its element type.
        found: String,
    },
    /// An array that is needed is not there.
    #[error("reading arrays from {}: expected an array \"{name}\", found {}", path.display(), Listed(found))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The arrays that are there.
        found: Vec<String>,
    },
    /// An array has another element type than needed.
    #[error("reading arrays from {}: expected array \"{name}\" to be {expected}, found {found}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The element type needed.
        expected: &'static str,
        /// The element type found.
        found: &'static str,
    },
    /// An array has another shape than needed.
    #[error("reading arrays from {}: expected array \"{name}\" to have shape {expected:?}, found {found:?}", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// An array that is to be written has more or fewer values than its shape says.
    #[error("writing arrays to {}: array \"{name}\" of shape {shape:?} has {found} values", path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its number of values.
        found: usize,
    },
    /// The format's writer refused.
    #[error("writing arrays to {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        source: SafeTensorError,
    },
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no arrays")
        } else {
            write!(f, "only {}", self.0.join(", "))
        }
    }
}
