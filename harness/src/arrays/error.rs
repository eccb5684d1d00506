//! What can go wrong between a file and its arrays.

use std::fmt;
use std::io;
use std::path::PathBuf;

use safetensors::tensor::SafeTensorError;

use super::header::FormatError;

/// As many names are listed in an error.
const LISTED: usize = 20;

/// Why a file of arrays could not be used. Positions in an array are counted flat from 0.
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
    /// The content is not a safetensors file, or is damaged.
    #[error("reading arrays from {}: expected a whole safetensors file: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: FormatError,
    },
    /// An array that is needed is not there.
    #[error(
        "reading arrays from {}: expected an array {name:?}, found {}{}",
        path.display(), Found(found), CaseHint(found, std::slice::from_ref(name))
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The arrays that are there.
        found: Vec<String>,
    },
    /// There are arrays that nobody takes.
    #[error(
        "reading arrays from {}: expected only what {taker} takes, which is {}, found also {}{}; rename or remove what is not meant",
        path.display(), Listed(known), Quoted(found), CaseHint(found, known)
    )]
    Unasked {
        /// The file.
        path: PathBuf,
        /// Who takes arrays.
        taker: String,
        /// The arrays that nobody takes.
        found: Vec<String>,
        /// The arrays that may be there.
        known: Vec<String>,
    },
    /// An array has values of another kind than needed.
    #[error("reading arrays from {}: expected array {name:?} to be {expected}, found {found}; convert it before saving", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The element types that are taken.
        expected: &'static str,
        /// The element type found.
        found: String,
    },
    /// A value of an array cannot be converted to what is needed.
    #[error("reading arrays from {}: expected array {name:?} to hold {expected}, found {found} at position {position}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The values that are taken.
        expected: &'static str,
        /// The value found.
        found: String,
        /// Where.
        position: usize,
    },
    /// An array has another shape than needed.
    #[error("reading arrays from {}: expected array {name:?} to have shape {expected:?}, found {found:?}", path.display())]
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
    #[error("writing arrays to {}: array {name:?} of shape {shape:?} has {found} values", path.display())]
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

/// Names as they are, the first few of very many.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(LISTED)].join(", "))?;
        and_more(self.0, f)
    }
}

/// Names in quotes, with what a terminal would not show spelled out.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().take(LISTED).enumerate() {
            write!(f, "{}{name:?}", if index == 0 { "" } else { ", " })?;
        }
        and_more(self.0, f)
    }
}

fn and_more(names: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match names.len().checked_sub(LISTED) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, " and {more} more"),
    }
}

struct Found<'a>(&'a [String]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no arrays"),
            names => write!(f, "only {}", Quoted(names)),
        }
    }
}

/// Says which of the names found is one of the names known but for its case.
struct CaseHint<'a>(&'a [String], &'a [String]);

impl fmt::Display for CaseHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(found, known) = self;
        for name in found.iter() {
            let near = |it: &&String| it.eq_ignore_ascii_case(name);
            if let Some(meant) = known.iter().find(near) {
                write!(f, " ({name:?} differs from {meant:?} in case)")?;
            }
        }
        Ok(())
    }
}
