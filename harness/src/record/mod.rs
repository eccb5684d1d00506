//! A run's folder: `run.json` (settings, status, summary), `log.jsonl` (a line for each step or epoch) and its plots.

mod log;
mod timestamp;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use log::{EpochRecord, LogLine, StepRecord, read_log};
pub use timestamp::timestamp;

use crate::replace_file::replace_file;

const RUN_FILE: &str = "run.json";
const LOG_FILE: &str = "log.jsonl";

/// Why a run could not be recorded, or a record not read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder already holds a run.
    #[error("recording a run: {} already holds a run; choose another folder, or pass --overwrite to replace it", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
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

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum RunStatus {
    /// Still going, or ended without being able to say so. Written `running`.
    Running,
    /// Came to its end. Written `finished`.
    Finished,
    /// Stopped by Ctrl-C. Written `interrupted`.
    Interrupted,
    /// Stopped by an error. Written `failed: ` and the reason.
    Failed(String),
}

impl From<RunStatus> for String {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => "running".into(),
            RunStatus::Finished => "finished".into(),
            RunStatus::Interrupted => "interrupted".into(),
            RunStatus::Failed(reason) => format!("failed: {reason}"),
        }
    }
}

impl From<String> for RunStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "running" => Self::Running,
            "finished" => Self::Finished,
            "interrupted" => Self::Interrupted,
            other => Self::Failed(other.strip_prefix("failed: ").unwrap_or(other).into()),
        }
    }
}

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

/// A folder that one run writes to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    log: File,
    run: RunFile,
}

impl RunFolder {
    /// Takes the folder at `path` for a run, making it if needed. With `overwrite`, the run that is there goes: its
    /// `run.json`, log and loss plots are removed, other files stay.
    ///
    /// # Errors
    /// [`RecordError::Taken`] if it holds a run and `overwrite` is false, [`RecordError::NotAFolder`] or
    /// [`RecordError::Io`] if it cannot be made or written to.
    pub fn create(path: impl AsRef<Path>, overwrite: bool) -> Result<Self, RecordError> {
        let path = path.as_ref().to_path_buf();
        if path.exists() && !path.is_dir() {
            return Err(RecordError::NotAFolder { path });
        }
        fs::create_dir_all(&path).map_err(io_error("making the folder", &path))?;
        for name in [RUN_FILE, LOG_FILE, "loss.svg", "loss.png"] {
            let file = path.join(name);
            match (file.exists(), overwrite) {
                (true, false) if name == RUN_FILE || name == LOG_FILE => {
                    return Err(RecordError::Taken { path });
                }
                (true, true) => fs::remove_file(&file).map_err(io_error("removing", &file))?,
                _ => {}
            }
        }
        Self::open_log(path)
    }

    /// Makes a folder `stem` under `parent`, or `stem-2`, `stem-3`, … where that is taken.
    ///
    /// # Errors
    /// [`RecordError::Io`] if it cannot be made or written to.
    pub fn create_named(parent: impl AsRef<Path>, stem: &str) -> Result<Self, RecordError> {
        let parent = parent.as_ref();
        fs::create_dir_all(parent).map_err(io_error("making the folder", parent))?;
        let mut path = parent.join(stem);
        let mut number = 1;
        // Making the folder is the test: two runs started together cannot both succeed.
        loop {
            match fs::create_dir(&path) {
                Ok(()) => return Self::open_log(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1;
                    path = parent.join(format!("{stem}-{number}"));
                }
                Err(error) => return Err(io_error("making the folder", &path)(error)),
            }
        }
    }

    fn open_log(path: PathBuf) -> Result<Self, RecordError> {
        let file = path.join(LOG_FILE);
        let log = File::create(&file).map_err(io_error("making", &file))?;
        Ok(Self {
            path,
            log,
            run: RunFile {
                status: RunStatus::Running,
                config: Value::Null,
                summary: Value::Null,
            },
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json` with the run's settings and status `running`.
    ///
    /// # Errors
    /// [`RecordError::Json`] or [`RecordError::Io`].
    pub fn write_config(&mut self, config: &impl Serialize) -> Result<(), RecordError> {
        self.run.config = self.to_json(RUN_FILE, config)?;
        self.write_run_file()
    }

    /// Appends one line to `log.jsonl`, at once and not through a buffer of this program.
    ///
    /// # Errors
    /// [`RecordError::Json`] or [`RecordError::Io`].
    pub fn log(&mut self, record: &impl Serialize) -> Result<(), RecordError> {
        let path = self.path.join(LOG_FILE);
        let mut line = match serde_json::to_string(record) {
            Ok(line) => line,
            Err(source) => return Err(RecordError::Json { path, source }),
        };
        line.push('\n');
        self.log
            .write_all(line.as_bytes())
            .map_err(io_error("writing", &path))
    }

    /// Writes the last status, and what came out, to `run.json`. May be called again with another status.
    ///
    /// # Errors
    /// [`RecordError::Json`] or [`RecordError::Io`].
    pub fn finish(
        &mut self,
        status: RunStatus,
        summary: &impl Serialize,
    ) -> Result<(), RecordError> {
        self.run.status = status;
        self.run.summary = self.to_json(RUN_FILE, summary)?;
        self.write_run_file()
    }

    fn to_json(&self, file: &str, value: &impl Serialize) -> Result<Value, RecordError> {
        serde_json::to_value(value).map_err(|source| RecordError::Json {
            path: self.path.join(file),
            source,
        })
    }

    fn write_run_file(&self) -> Result<(), RecordError> {
        let path = self.path.join(RUN_FILE);
        let mut text = match serde_json::to_string_pretty(&self.run) {
            Ok(text) => text,
            Err(source) => return Err(RecordError::Json { path, source }),
        };
        text.push('\n');
        replace_file(&path, text.as_bytes()).map_err(io_error("writing", &path))
    }
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

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_path_buf();
    move |source| RecordError::Io {
        operation,
        path,
        source,
    }
}
