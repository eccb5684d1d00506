//! Writing a file so that a reader, or an interruption, meets the old content or the new one and never a part.

use std::fs;
use std::io;
use std::path::Path;

/// Writes `content` beside `path` and renames it into place.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    // The process id keeps two programs from writing the same temporary file.
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| {
            // Nothing more can be done about a leftover than to try; the first error is the one that counts.
            let _ = fs::remove_file(&temporary);
        })
}
