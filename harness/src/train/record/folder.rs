//! A folder that one run writes to.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::claim::{Claim, Contents};
use super::error::{RecordError, io_error};
use super::run_file::{RUN_FILE, RunFile, read_run};
use super::{LOG_FILE, RunStatus};

/// A folder that one run writes to, and no other program until it is dropped. Dropped before [`RunFolder::finish`], it says
/// that the run failed.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    claim: Claim,
    run: Arc<Mutex<RunFile>>,
    /// Whether `run.json` says by now what this program does: before, that of a run that is to go on stays as it is.
    begun: bool,
}

impl RunFolder {
    /// Takes the folder at `path` for a run, making it if needed. With `overwrite`, the run that is there goes: its log and
    /// loss plots are removed, other files stay.
    ///
    /// # Errors
    /// As [`check_folder`](super::check_folder), and [`RecordError::Io`] if it cannot be made or written to; what was made is
    /// then removed.
    pub fn create(path: impl AsRef<Path>, overwrite: bool) -> Result<Self, RecordError> {
        Self::create_for(path, Contents::Run, overwrite)
    }

    /// As [`RunFolder::create`], for a run or for a comparison, whose tables are replaced too.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn create_for(
        path: impl AsRef<Path>,
        contents: Contents,
        overwrite: bool,
    ) -> Result<Self, RecordError> {
        let path = path.as_ref().to_path_buf();
        let claim = Claim::folder(&path, contents, overwrite)?;
        Self::begin(path, claim)
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
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    number += 1;
                    path = parent.join(format!("{stem}-{number}"));
                }
                Err(error) => return Err(io_error("making the folder", &path)(error)),
            }
        }
        let claim = Claim::new_folder(&path)?;
        Self::begin(path, claim)
    }

    /// Takes the folder of a run that is to go on, and returns what its `run.json` says. Nothing is changed before
    /// [`RunFolder::write_config`]: a run that cannot go on keeps its record.
    ///
    /// # Errors
    /// [`RecordError::Busy`] if the run still goes on, [`RecordError::Io`] and [`RecordError::Unreadable`] if its `run.json` cannot be
    /// read or its log not be written to.
    pub fn resume(path: impl AsRef<Path>) -> Result<(Self, RunFile), RecordError> {
        let path = path.as_ref().to_path_buf();
        let claim = Claim::resumed(&path)?;
        // Another program may have ended the run until the folder was taken.
        let before = read_run(&path)?;
        let run = Arc::new(Mutex::new(before.clone()));
        let folder = Self {
            path,
            claim,
            run,
            begun: false,
        };
        Ok((folder, before))
    }

    /// Has the log be found after the machine has died, and returns its bytes.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn log_is_safe(&self) -> Result<u64, RecordError> {
        let log = &self.claim.log;
        let length = log.sync_data().and_then(|()| Ok(log.metadata()?.len()));
        length.map_err(io_error("syncing", &self.path.join(LOG_FILE)))
    }

    /// Bytes of the log.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn log_length(&self) -> Result<u64, RecordError> {
        let log = self.claim.log.metadata();
        let length = log.map(|it| it.len());
        length.map_err(io_error("looking at", &self.path.join(LOG_FILE)))
    }

    /// Takes back the lines of the log behind so many bytes.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn cut_log(&mut self, bytes: u64) -> Result<(), RecordError> {
        let cut = self.claim.log.set_len(bytes);
        cut.map_err(io_error("cutting", &self.path.join(LOG_FILE)))
    }

    /// Writes a `run.json` at once: by it the folder is known to be a run's.
    fn begin(path: PathBuf, claim: Claim) -> Result<Self, RecordError> {
        let run = RunFile {
            status: RunStatus::Running,
            config: Value::Null,
            summary: Value::Null,
        };
        if let Err(error) = run.write(&path) {
            claim.give_up(&path);
            return Err(error);
        }
        claim.clear(&path)?;
        let run = Arc::new(Mutex::new(run));
        Ok(Self {
            path,
            claim,
            run,
            begun: true,
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
        let config = to_json(&self.path, config)?;
        self.begun = true;
        let mut run = held(&self.run);
        run.status = RunStatus::Running;
        run.config = config;
        run.write(&self.path)
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
        let written = self.claim.log.write_all(line.as_bytes());
        written.map_err(io_error("writing", &path))
    }

    /// Keeps what came out so far, to be written with the status, however the run ends.
    ///
    /// # Errors
    /// [`RecordError::Json`].
    pub fn keep(&mut self, summary: &impl Serialize) -> Result<(), RecordError> {
        held(&self.run).summary = to_json(&self.path, summary)?;
        Ok(())
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
        let summary = to_json(&self.path, summary)?;
        let mut run = held(&self.run);
        *run = RunFile {
            status,
            config: run.config.take(),
            summary,
        };
        run.write(&self.path)
    }

    /// Says that the run was interrupted if it has not ended by then: for a program that is about to exit.
    pub fn last_words(&self) -> impl Fn() + Send + use<> {
        let (path, run) = (self.path.clone(), Arc::downgrade(&self.run));
        move || {
            if let Some(run) = run.upgrade() {
                end(&path, &run, RunStatus::Interrupted);
            }
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        let reason = if std::thread::panicking() {
            "the program panicked"
        } else {
            "the program gave the run up"
        };
        end(&self.path, &self.run, RunStatus::Failed(reason.into()));
    }
}

/// Gives a run that has none yet its last status.
fn end(path: &Path, run: &Mutex<RunFile>, status: RunStatus) {
    let mut run = held(run);
    if run.status == RunStatus::Running {
        run.status = status;
        // Whoever calls is about to end, and has nobody to tell.
        let _ = run.write(path);
    }
}

fn held(run: &Mutex<RunFile>) -> MutexGuard<'_, RunFile> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_json(folder: &Path, value: &impl Serialize) -> Result<Value, RecordError> {
    serde_json::to_value(value).map_err(|source| RecordError::Json {
        path: folder.join(RUN_FILE),
        source,
    })
}
