//! The `run.json` of a run's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunStatus;
use super::error::{RecordError, io_error};
use crate::replace_file::replace_file;

pub(super) const RUN_FILE: &str = "run.json";

/// Bytes set aside for what comes out: that of a thousand epochs and more.
const ROOM: i64 = 1 << 16;

/// What `run.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// How the run stands.
    pub status: RunStatus,
    /// Everything needed to repeat it.
    pub config: Value,
    /// What came out; null until the end.
    pub summary: Value,
}

/// Reads the `run.json` of a run's folder.
///
/// # Errors
/// [`RecordError::Io`] or [`RecordError::Unreadable`].
pub fn read_run(folder: impl AsRef<Path>) -> Result<RunFile, RecordError> {
    let path = folder.as_ref().join(RUN_FILE);
    let text = fs::read_to_string(&path).map_err(io_error("reading", &path))?;
    serde_json::from_str(&text).map_err(|source| RecordError::Unreadable {
        line: source.line(),
        path,
        source,
    })
}

impl RunFile {
    /// Writes it to a folder, whole or not at all. While the run goes on, room for what comes out is set aside, so that a disk
    /// that is full by the end does not lose it; where there was no room, at least the status is not lost.
    pub(super) fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let path = folder.join(RUN_FILE);
        let text = self.text(&path)?;
        let full = |error: &io::Error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        };
        match replace_file(&path, text.as_bytes()) {
            Err(error) if full(&error) => {
                if write_into_room(&path, text.as_bytes()).is_err() {
                    let summary = Value::Null;
                    let short = Self {
                        summary,
                        ..self.clone()
                    };
                    // The error that is reported is that nothing more could be written.
                    let _ = write_into_room(&path, short.text(&path)?.as_bytes());
                    return Err(io_error("writing", &path)(error));
                }
            }
            written => written.map_err(io_error("writing", &path))?,
        }
        if self.status == RunStatus::Running
            && let Ok(file) = OpenOptions::new().write(true).open(&path)
        {
            set_room_aside(&file);
        }
        Ok(())
    }

    fn text(&self, path: &Path) -> Result<String, RecordError> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|source| RecordError::Json {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(text + "\n")
    }
}

/// Has the file system keep blocks for the file beyond its end, fewer if it has not as many. One that cannot is no worse than
/// before.
fn set_room_aside(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let set_aside = |bytes: i64| {
            // SAFETY: the descriptor is that of an open file, and no memory is passed.
            unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, bytes) == 0 }
        };
        // Down to a page.
        (0..5).map(|halves| ROOM >> halves).any(set_aside);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Writes over a file if it has the blocks for it already.
fn write_into_room(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if room(&file)? < content.len() as u64 {
        return Err(ErrorKind::StorageFull.into());
    }
    file.write_all(content)?;
    file.set_len(content.len() as u64)
}

/// Bytes that a file's blocks hold.
#[cfg(unix)]
fn room(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(512 * file.metadata()?.blocks())
}

#[cfg(not(unix))]
fn room(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_over_only_where_it_has_the_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUN_FILE);
        fs::write(&path, vec![b' '; 100_000]).unwrap();
        write_into_room(&path, b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
        let error = write_into_room(&path, &vec![b' '; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    }
}
