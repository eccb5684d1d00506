//! The checkpoints of one run: the last two, each whole or not there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::train::record::{RecordError, io_error};

/// The folder in that of the run.
const FOLDER: &str = "checkpoints";
const ENDING: &str = ".safetensors";
/// A file that is being written.
const UNFINISHED: &str = ".unfinished";
/// How many are kept: should the newest be damaged, the one before is there.
const KEPT: usize = 2;

/// Where the checkpoints of a run are.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// That of the run in a folder. Nothing is made yet.
    pub fn of_run(run: &Path) -> Self {
        Self {
            folder: run.join(FOLDER),
        }
    }

    /// Whether something that is no folder has its name.
    pub fn is_in_the_way(&self) -> bool {
        fs::metadata(&self.folder).is_ok_and(|it| !it.is_dir())
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// As [`Shelf::all`].
    pub fn is_empty(&self) -> Result<bool, RecordError> {
        Ok(!self.is_in_the_way() && self.all()?.is_empty())
    }

    /// The steps after which there are checkpoints, the newest first, and their files.
    ///
    /// # Errors
    /// [`RecordError::Io`] if the folder cannot be read.
    pub fn all(&self) -> Result<Vec<(usize, PathBuf)>, RecordError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("reading", &self.folder))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(io_error("reading", &self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| {
                let digits = name.strip_prefix("step-")?.strip_suffix(ENDING)?;
                digits.parse().ok()
            });
            all.extend(step.map(|step| (step, path)));
        }
        all.sort_by(|a, b| b.cmp(a));
        Ok(all)
    }

    /// Puts the one after `step` there: written beside, synced and renamed, so that it is whole or not there however the program or
    /// the machine ends. All but the last two go, and on a full disk all but the last at first.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the last that was there stays.
    pub fn put(&self, step: usize, bytes: &[u8]) -> Result<(), RecordError> {
        match self.put_beside(step, bytes) {
            Err(RecordError::Io { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) && self.all()?.len() >= KEPT =>
            {
                self.keep(KEPT - 1)?;
                self.put_beside(step, bytes)?;
            }
            written => written?,
        }
        self.keep(KEPT)
    }

    /// Removes all but the newest.
    fn keep(&self, count: usize) -> Result<(), RecordError> {
        for (_, old) in self.all()?.into_iter().skip(count) {
            fs::remove_file(&old).map_err(io_error("removing", &old))?;
        }
        Ok(())
    }

    fn put_beside(&self, step: usize, bytes: &[u8]) -> Result<(), RecordError> {
        fs::create_dir_all(&self.folder).map_err(io_error("making the folder", &self.folder))?;
        let path = self.folder.join(format!("step-{step:08}{ENDING}"));
        let unfinished = path.with_extension(&UNFINISHED[1..]);
        let written = write_synced(&unfinished, bytes)
            .and_then(|()| fs::rename(&unfinished, &path))
            .and_then(|()| sync_folder(&self.folder));
        if let Err(error) = written {
            // On a full disk its room is wanted; the error that led here is the one that counts.
            let _ = fs::remove_file(&unfinished);
            return Err(io_error("writing", &path)(error));
        }
        Ok(())
    }

    /// Removes what a program that was killed left half written, and the checkpoints after `step`: a run that goes on from there
    /// writes them again.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn clear_after(&self, step: usize) -> Result<(), RecordError> {
        for (_, later) in self.all()?.into_iter().filter(|(it, _)| *it > step) {
            fs::remove_file(&later).map_err(io_error("removing", &later))?;
        }
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let unfinished = path.extension().is_some_and(|it| *it == UNFINISHED[1..]);
            if unfinished {
                fs::remove_file(&path).map_err(io_error("removing", &path))?;
            }
        }
        Ok(())
    }

    /// Removes all of them, with their folder if nothing else is in it.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn clear(&self) -> Result<(), RecordError> {
        self.clear_after(0)?;
        for (_, path) in self.all()? {
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
        }
        // A folder with other things in it stays.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Has a renamed file be found under its new name after the machine has died.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems have no such thing.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_stay_and_what_was_left_half_written_goes() {
        let run = tempfile::tempdir().unwrap();
        let shelf = Shelf::of_run(run.path());
        assert!(shelf.all().unwrap().is_empty());
        for step in [5, 10, 100] {
            shelf.put(step, &[step as u8]).unwrap();
        }
        let steps = || {
            shelf
                .all()
                .unwrap()
                .into_iter()
                .map(|it| it.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(), [100, 10]);
        let (_, newest) = &shelf.all().unwrap()[0];
        assert_eq!(fs::read(newest).unwrap(), [100]);
        let half = newest.with_file_name("step-00000105.unfinished");
        fs::write(&half, "half").unwrap();
        shelf.clear_after(10).unwrap();
        assert_eq!(steps(), [10]);
        assert!(!half.exists());
        fs::write(run.path().join("checkpoints/mine"), "").unwrap();
        shelf.clear().unwrap();
        assert!(steps().is_empty() && run.path().join("checkpoints/mine").exists());
    }
}
