//! The files of kernels in a folder.
//!
//! A file is a mark of eight bytes, the digest of the rest in sixteen, and the entries as `CubeCL` writes them, one after another:
//! CBOR maps of a key and a value.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::hash::Hasher;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cubecl::hash::StableHasher;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a file begins with.
const MARK: &[u8; 8] = b"SONEWK01";
/// The mark and the digest.
const HEAD: usize = MARK.len() + size_of::<u128>();
const EXTENSION: &str = "kernels";
/// How the name of a file begins that is yet to replace another.
const UNFINISHED: &str = ".kernels-";
/// The file whose lock a process holds while it replaces another.
const LOCK: &str = "lock";
/// How long another process may replace files.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old a file is that a process left behind when it was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// What part of the folder's bound one device's file may take: each process on the device reads all of it.
const PART: u64 = 4;

/// One kernel.
pub(super) struct Entry<'a> {
    /// Its key, encoded.
    key: Vec<u8>,
    /// All of it, as it lies in the file.
    pub bytes: &'a [u8],
}

/// The entries at the start of `content`, up to one that is none.
pub(super) fn entries(content: &[u8]) -> Vec<Entry<'_>> {
    #[derive(Deserialize)]
    struct Keyed {
        key: ciborium::Value,
        #[allow(dead_code)]
        value: IgnoredAny,
    }

    let mut rest = content;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let begin = rest;
        let Ok(Keyed { key, .. }) = ciborium::from_reader::<Keyed, _>(&mut rest) else {
            break;
        };
        let mut bytes = Vec::new();
        if ciborium::into_writer(&key, &mut bytes).is_err() {
            break;
        }
        found.push(Entry {
            key: bytes,
            bytes: &begin[..begin.len() - rest.len()],
        });
    }
    found
}

/// The entries of the file of this name, one after another; nothing where there is no file, or a damaged one.
pub(super) fn read(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let path = path(folder, name);
    let mut content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(&path, error)),
    };
    if content.len() < HEAD || content[..HEAD] != head(&content[HEAD..]) {
        return Ok(Vec::new());
    }
    // A folder that nobody may write to is as good to read from.
    let _ = File::open(&path).and_then(|it| it.set_modified(SystemTime::now()));
    content.drain(..HEAD);
    Ok(content)
}

/// Appends entries that the file of this name does not have. Gives how many. The file keeps a part of `bound` bytes, the newest
/// entries; the folder `bound`, the files that were used last.
pub(super) fn append(folder: &Path, name: &str, added: &[u8], bound: u64) -> io::Result<usize> {
    fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    let _lock = lock(folder)?;
    let old = read(folder, name)?;
    let mut all = entries(&old);
    let known: HashSet<Vec<u8>> = all.iter().map(|it| it.key.clone()).collect();
    let before = all.len();
    all.extend(
        entries(added)
            .into_iter()
            .filter(|it| !known.contains(&it.key)),
    );
    let count = all.len() - before;
    if count > 0 {
        let mut bytes = 0;
        let newest = all.iter().rev().take_while(|it| {
            bytes += it.bytes.len() as u64;
            bytes + HEAD as u64 <= bound / PART
        });
        let dropped = all.len() - newest.count();
        let content = all[dropped..].iter().map(|it| it.bytes);
        replace(folder, name, &content.collect::<Vec<_>>().concat())?;
    }
    tidy(folder, bound);
    Ok(count)
}

fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = path(folder, name);
    let new = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder);
    let written = new.and_then(|mut file| {
        file.write_all(&head(content))?;
        file.write_all(content)?;
        file.persist(&path)?;
        Ok(())
    });
    written.map_err(|error| at(&path, error))
}

/// Removes the files that were not used for longest until the others are within the bound, and what killed processes left.
fn tidy(folder: &Path, bound: u64) {
    let Ok(found) = fs::read_dir(folder) else {
        return;
    };
    let mut files = Vec::new();
    for entry in found.flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if path.extension().is_some_and(|it| it == EXTENSION) {
            files.push((used, metadata.len(), path));
        } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && used.elapsed().is_ok_and(|age| age > ABANDONED)
        {
            // Another process may have been quicker, here and below.
            let _ = fs::remove_file(path);
        }
    }
    files.sort_by_key(|&(used, ..)| Reverse(used));
    let mut sum = 0;
    for (_, length, path) in files {
        sum += length;
        if sum > bound {
            let _ = fs::remove_file(path);
        }
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(|error| at(&path, error))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let reason = format!(
                    "another process has held {} for {PATIENCE:?}",
                    path.display()
                );
                return Err(io::Error::other(reason));
            }
            Err(TryLockError::Error(error)) => return Err(at(&path, error)),
        }
    }
}

fn head(content: &[u8]) -> [u8; HEAD] {
    let mut hasher = StableHasher::new();
    hasher.write(content);
    let mut head = [0; HEAD];
    head[..MARK.len()].copy_from_slice(MARK);
    head[MARK.len()..].copy_from_slice(&hasher.finalize().to_le_bytes());
    head
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension(EXTENSION)
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    const MUCH: u64 = 1 << 20;

    /// An entry as `CubeCL` writes it.
    fn entry(key: u128, length: usize) -> Vec<u8> {
        #[derive(Serialize)]
        struct Written {
            key: u128,
            value: Vec<i8>,
        }
        let value = vec![key as i8; length];
        let mut bytes = Vec::new();
        ciborium::into_writer(&Written { key, value }, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_appended_is_read_again_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/when/needed");
        assert_eq!(read(&folder, "a").unwrap(), b"");
        let both = [entry(1, 10), entry(u128::MAX, 2000)].concat();
        assert_eq!(append(&folder, "a", &both, MUCH).unwrap(), 2);
        assert_eq!(append(&folder, "a", &entry(1, 11), MUCH).unwrap(), 0);
        assert_eq!(append(&folder, "a", &entry(3, 0), MUCH).unwrap(), 1);
        let all = [both, entry(3, 0)].concat();
        assert_eq!(read(&folder, "a").unwrap(), all);
        assert_eq!(read(&folder, "b").unwrap(), b"");
        assert_eq!(entries(&all).len(), 3);
        // A process may be killed, or read, in the middle of one.
        assert_eq!(entries(&all[..all.len() - 1]).len(), 2);
    }

    #[test]
    fn a_damaged_file_counts_as_empty_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        append(folder, "a", &entry(1, 40), MUCH).unwrap();
        let file = path(folder, "a");
        let sound = fs::read(&file).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged).unwrap();
            assert_eq!(read(folder, "a").unwrap(), b"", "byte {at}");
            fs::write(&file, &sound[..at]).unwrap();
            assert_eq!(read(folder, "a").unwrap(), b"", "{at} bytes");
        }
        assert_eq!(append(folder, "a", &entry(2, 4), MUCH).unwrap(), 1);
        assert_eq!(read(folder, "a").unwrap(), entry(2, 4));
    }

    #[test]
    fn a_file_keeps_the_newest_kernels_and_a_folder_the_files_that_were_used_last() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let bound = 8000;
        for key in 0..9 {
            append(folder, "a", &entry(key, 400), bound).unwrap();
        }
        let kept = read(folder, "a").unwrap();
        let newest: Vec<u8> = (5..9).flat_map(|key| entry(key, 400)).collect();
        assert_eq!(kept, newest);
        for (age, name) in ["b", "c", "d", "e", "f"].into_iter().enumerate() {
            append(folder, name, &newest, bound).unwrap();
            let used = SystemTime::now() - Duration::from_secs(100 - age as u64);
            File::open(path(folder, name))
                .unwrap()
                .set_modified(used)
                .unwrap();
        }
        tidy(folder, bound);
        let there = ["a", "b", "c", "d", "e", "f"].map(|name| path(folder, name).exists());
        assert_eq!(there, [true, false, false, true, true, true]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        let names = [".kernels-half", "notes.txt", LOCK];
        for name in names {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        append(folder.path(), "a", &entry(1, 1), MUCH).unwrap();
        let there = names.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true]);
    }

    #[test]
    fn a_place_that_takes_no_folder_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("kernels");
        let error = append(&folder, "a", &entry(1, 1), MUCH).unwrap_err();
        assert!(error.to_string().contains("kernels"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(path(folder.path(), "a")).unwrap();
        let error = read(folder.path(), "a").unwrap_err();
        assert!(error.to_string().contains("a.kernels"), "{error}");
    }

    #[test]
    fn a_lock_that_another_holds_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let other = thread::spawn({
            let folder = folder.path().to_owned();
            move || append(&folder, "a", &entry(1, 1), MUCH).unwrap()
        });
        thread::sleep(Duration::from_millis(60));
        assert_eq!(read(folder.path(), "a").unwrap(), b"");
        drop(held);
        assert_eq!(other.join().unwrap(), 1);
    }
}
