//! Writing a file so that a reader, or an interruption, meets the old content or the new one and never a part.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A chain of more symbolic links than this is taken for a circle, as the system does.
const MOST_LINKS: usize = 40;

/// Writes `content` to the file at the end of `path`'s symbolic links.
///
/// A regular file is replaced whole: the content is written beside it and renamed into place, with the mode and the owner of
/// what was there. A device, a pipe or an open file (`/dev/stdout`, `/dev/fd/3`) is written to. A file is written in place
/// where the system lets it be written but not replaced: it is mounted, or its folder takes no other file.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = match end_of_links(path)? {
        End::Path(target) => target,
        End::OpenFile(link) => return write_to_open_file(&link, content),
    };
    let old = match OpenOptions::new().write(true).open(&target) {
        Ok(file) => Some((file.metadata()?, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some((metadata, mut file)) = old {
        if !metadata.is_file() {
            return file.write_all(content);
        }
        return replace(&target, Some(&metadata), content).or_else(|error| {
            in_place(error)?;
            file.set_len(0)?;
            file.write_all(content)
        });
    }
    replace(&target, None, content).or_else(|error| {
        in_place(error)?;
        File::create(&target)?.write_all(content)
    })
}

/// Whether [`replace_file`] could make or replace the file at the end of `path`'s symbolic links, which stays as it is. What is no
/// file, as a pipe, is not opened: whoever reads it would take that for its end.
pub(crate) fn can_replace(path: &Path) -> io::Result<()> {
    let End::Path(target) = end_of_links(path)? else {
        return Ok(());
    };
    match fs::metadata(&target) {
        Ok(found) if found.is_file() || found.is_dir() => {
            OpenOptions::new().write(true).open(&target).map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (temporary, _) = beside(&target, None)?;
            fs::remove_file(temporary)
        }
        Err(error) => Err(error),
    }
}

/// What a path stands for.
enum End {
    /// Something that is there under this name, or nothing yet.
    Path(PathBuf),
    /// An entry of a process's table of open files. Its name may lead to another file by now, or to none.
    OpenFile(PathBuf),
}

fn end_of_links(path: &Path) -> io::Result<End> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {}
            Ok(_) => return Ok(End::Path(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(End::Path(path)),
            Err(error) => return Err(error),
        }
        let folder = folder_of(&path);
        if fs::canonicalize(folder)?.starts_with("/proc") {
            return Ok(End::OpenFile(path));
        }
        path = folder.join(fs::read_link(&path)?);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Goes through this program's own streams where it can: opened again, a file that is appended to would be overwritten.
fn write_to_open_file(link: &Path, content: &[u8]) -> io::Result<()> {
    let own = fs::canonicalize(folder_of(link))? == fs::canonicalize("/proc/self/fd")?;
    let stream: &mut dyn Write = match link.file_name().and_then(|name| name.to_str()) {
        Some("1") if own => &mut io::stdout(),
        Some("2") if own => &mut io::stderr(),
        _ => &mut OpenOptions::new().write(true).truncate(true).open(link)?,
    };
    stream.write_all(content)?;
    stream.flush()
}

/// Writes beside `target` and renames. Nothing is left behind on failure.
fn replace(target: &Path, old: Option<&Metadata>, content: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = beside(target, old)?;
    let written = file.write_all(content).and_then(|()| {
        old.map_or(Ok(()), |old| take_after(&temporary, &file, old))?;
        fs::rename(&temporary, target)
    });
    written.inspect_err(|_| {
        // Nothing more can be done about a leftover than to try; the first error is the one that counts.
        let _ = fs::remove_file(&temporary);
    })
}

/// Makes a file in the folder of `target` that nobody may read who may not read `old`. Its name is short, because that of
/// `target` may be as long as the system takes.
fn beside(target: &Path, old: Option<&Metadata>) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if let Some(old) = old {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        options.mode(old.mode() & 0o600);
    }
    loop {
        // The process id keeps two programs from one name, the count two threads.
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".sonew-{}-{count}.tmp", std::process::id());
        let temporary = folder_of(target).join(name);
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // A program of the same id was ended before it could rename.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives a file the owner and the mode of another.
fn take_after(path: &Path, file: &File, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            chown(path, Some(old.uid()), Some(old.gid()))?;
        }
    }
    // After the owner, whose change takes parts of the mode away.
    file.set_permissions(old.permissions())
}

/// Whether a failed replacement is a reason to write in place; if not, its error.
fn in_place(error: io::Error) -> io::Result<()> {
    match error.kind() {
        // The folder, or the owner, does not allow it.
        ErrorKind::PermissionDenied
        // The file is mounted, alone.
        | ErrorKind::ResourceBusy
        | ErrorKind::CrossesDevices
        // The temporary path is longer than the path itself may be.
        | ErrorKind::InvalidFilename => Ok(()),
        _ => Err(error),
    }
}

/// The folder that a path is in, also where the path is a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
