//! Why a run could not be recorded, or a record not read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a run could not be recorded, or a record not read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder already holds a run.
    #[error("recording a run: {} already holds a run; choose another folder, or pass --overwrite to replace it", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Another program writes a run there.
    #[error("recording a run: another program is writing a run to {}; choose another folder, or wait until it has ended", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a file that a run would replace, and that no run wrote.
    #[error("recording a run: {} holds {file}, expected a folder without one or with a run that wrote it; choose another folder, or move the file away (--overwrite replaces runs only)", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: &'static str,
    },
    /// The path is a file, not a folder.
    #[error("recording a run: expected a folder at {}, found something else; choose another folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done, such as "writing".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The value to record has no JSON form.
    #[error("recording a run in {}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the JSON writer said.
        source: serde_json::Error,
    },
    /// A file does not hold what a run writes.
    #[error("reading {}, line {line}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

/// The error of doing `operation` on `path`.
pub(crate) fn io_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_path_buf();
    move |source| RecordError::Io {
        operation,
        path,
        source,
    }
}
