//! Taking a folder for a run: never that of a run that still writes, and never a file that no run wrote.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::LOG_FILE;
use super::error::{RecordError, io_error};
use super::run_file::{RUN_FILE, RunFile, read_run};
use crate::train::checkpoint::Shelf;

/// What is recorded in a folder, which decides what files in it are the record's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// A run.
    Run,
    /// A comparison of runs, each in a folder of its own below.
    Comparison,
}

impl Contents {
    /// Of an earlier record: a comparison has a list of settings.
    fn of(run: &RunFile) -> Self {
        if run.config.is_array() {
            Self::Comparison
        } else {
            Self::Run
        }
    }

    /// Whether the record itself writes a file of this name.
    pub fn owns(self, name: &OsStr) -> bool {
        let files = [RUN_FILE, LOG_FILE].into_iter();
        files
            .chain(self.products().iter().copied())
            .any(|it| name == it)
    }

    /// What comes out, besides `run.json` and the log.
    fn products(self) -> &'static [&'static str] {
        match self {
            Self::Run => &["loss.svg", "loss.png"],
            Self::Comparison => &["loss.svg", "loss.png", "table.md", "table.csv"],
        }
    }
}

/// Checks that the folder at `path` could be taken, and changes nothing.
///
/// A plot or table that cannot be written because a folder is in its way is no reason: everything else can be.
///
/// # Errors
/// [`RecordError::Taken`] if it holds a run and `overwrite` is false, [`RecordError::Busy`] if that run still goes on,
/// [`RecordError::Foreign`] if it holds a file that no run wrote, [`RecordError::NotAFolder`].
pub fn check_folder(
    path: impl AsRef<Path>,
    contents: Contents,
    overwrite: bool,
) -> Result<(), RecordError> {
    earlier(path.as_ref(), contents, overwrite).map(drop)
}

/// What an earlier run left in the folder, if there was one and it may be replaced.
fn earlier(
    path: &Path,
    contents: Contents,
    overwrite: bool,
) -> Result<Option<Contents>, RecordError> {
    let own = || path.to_path_buf();
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("looking at", path)(error)),
        Ok(found) if !found.is_dir() => return Err(RecordError::NotAFolder { path: own() }),
        Ok(_) => {}
    }
    let foreign = |file| RecordError::Foreign { path: own(), file };
    let earlier = match read_run(path) {
        Ok(run) => Some(Contents::of(&run)),
        Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(_) => return Err(foreign(RUN_FILE)),
    };
    if earlier.is_some() && !overwrite {
        return Err(RecordError::Taken { path: own() });
    }
    let log = path.join(LOG_FILE);
    match (earlier, fs::symlink_metadata(&log)) {
        (_, Err(_)) => {}
        (None, Ok(_)) => return Err(foreign(LOG_FILE)),
        (Some(_), Ok(_)) => {
            let file = OpenOptions::new().append(true).open(&log);
            lock(&file.map_err(io_error("opening", &log))?, path)?;
        }
    }
    let shelf = Shelf::of_run(path);
    let others = earlier != Some(Contents::Run) && !shelf.is_empty()?;
    if others || shelf.is_in_the_way() {
        return Err(foreign("checkpoints"));
    }
    let written: &[&str] = earlier.map_or(&[], Contents::products);
    let in_the_way = |name: &&&str| {
        !written.contains(*name) && fs::metadata(path.join(name)).is_ok_and(|it| it.is_file())
    };
    match contents.products().iter().find(in_the_way) {
        Some(name) => Err(foreign(name)),
        None => Ok(earlier),
    }
}

/// A folder that is this program's until the log is closed.
#[derive(Debug)]
pub(super) struct Claim {
    /// The log, locked.
    pub log: File,
    /// What an earlier run left.
    earlier: Option<Contents>,
    /// Folders that were made for it, innermost first.
    made: Vec<PathBuf>,
}

impl Claim {
    /// Takes the folder at `path`, making it if needed. What an earlier run left stays for now.
    pub fn folder(path: &Path, contents: Contents, overwrite: bool) -> Result<Self, RecordError> {
        let earlier = earlier(path, contents, overwrite)?;
        let missing = path.ancestors().take_while(|folder| {
            !folder.as_os_str().is_empty() && fs::symlink_metadata(folder).is_err()
        });
        let made: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        let log = fs::create_dir_all(path)
            .map_err(io_error("making the folder", path))
            .and_then(|()| open_log(path, earlier.is_none()))
            .inspect_err(|_| remove(&made))?;
        Ok(Self { log, earlier, made })
    }

    /// Takes the folder of a run that is to go on. What it has written stays, and a log that is not there is not made.
    pub fn resumed(path: &Path) -> Result<Self, RecordError> {
        let file = path.join(LOG_FILE);
        let log = OpenOptions::new().append(true).open(&file);
        let log = log.map_err(io_error("opening", &file))?;
        lock(&log, path)?;
        Ok(Self {
            log,
            earlier: Some(Contents::Run),
            made: Vec::new(),
        })
    }

    /// Takes a folder that was just made.
    pub fn new_folder(path: &Path) -> Result<Self, RecordError> {
        let made = vec![path.to_path_buf()];
        let log = open_log(path, true).inspect_err(|_| remove(&made))?;
        Ok(Self {
            log,
            earlier: None,
            made,
        })
    }

    /// Removes what an earlier run left, but for `run.json`.
    pub fn clear(&self, path: &Path) -> Result<(), RecordError> {
        for name in self.earlier.map_or(&[][..], Contents::products) {
            let file = path.join(name);
            if fs::symlink_metadata(&file).is_ok_and(|it| it.is_file()) {
                fs::remove_file(&file).map_err(io_error("removing", &file))?;
            }
        }
        if self.earlier.is_some() {
            Shelf::of_run(path).clear()?;
        }
        let emptied = self.log.set_len(0);
        emptied.map_err(io_error("emptying", &path.join(LOG_FILE)))
    }

    /// Takes back what was made; of an earlier run nothing is lost yet.
    pub fn give_up(self, path: &Path) {
        if self.earlier.is_none() {
            // Nothing more can be done than to try; the error that led here is the one that counts.
            let _ = fs::remove_file(path.join(LOG_FILE));
        }
        remove(&self.made);
    }
}

fn remove(folders: &[PathBuf]) {
    for folder in folders {
        // One that holds anything by now stays.
        let _ = fs::remove_dir(folder);
    }
}

/// Opens the log and locks it. Two runs that start together in a new folder cannot both make its log.
fn open_log(path: &Path, new: bool) -> Result<File, RecordError> {
    let file = path.join(LOG_FILE);
    let mut options = OpenOptions::new();
    let log = options
        .append(true)
        .create(true)
        .create_new(new)
        .open(&file);
    let log = log.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => RecordError::Taken {
            path: path.to_path_buf(),
        },
        _ => io_error("making", &file)(error),
    })?;
    lock(&log, path)?;
    Ok(log)
}

/// Holds the lock for as long as the file is open: the system releases it however the program ends.
fn lock(log: &File, path: &Path) -> Result<(), RecordError> {
    match log.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy {
            path: path.to_path_buf(),
        }),
        // Some network file systems have no locks, and runs are recorded there all the same.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}
