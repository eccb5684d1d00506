//! Where the program keeps compiled kernels between runs.

use std::env;
use std::path::PathBuf;

use sonew_runtime::{keep_kernels, save_kernels};

use crate::process::streams::note;

/// Bytes of all files together: some hundred kernels of CUDA for each of several builds.
const BOUND: u64 = 128 << 20;

/// The folder: `sonew/kernels` in that for caches, by the rules of XDG; none where the environment names neither it nor a home.
pub fn folder() -> Option<PathBuf> {
    let named = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            // A path that depends on where one is counts as none.
            .filter(|path| path.is_absolute())
    };
    let caches = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
    Some(caches.join("sonew/kernels"))
}

/// Keeps the kernels of devices that are opened from now on.
pub fn keep() {
    if let Some(folder) = folder() {
        keep_kernels(folder, BOUND);
    }
}

/// Saves what was compiled, and says so, or why it was not to be had; or says nothing.
pub fn save(quiet: bool) {
    let all = save_kernels();
    for kept in all.into_iter().filter(|_| !quiet) {
        if let Some(trouble) = kept.trouble {
            note(&format!(
                "compiled kernels are not kept: {trouble} (--no-cache: nor is it tried)"
            ));
        } else if kept.added > 0
            && let Some(folder) = folder()
        {
            note(&format!(
                "compiled {} kernels, kept for the next run in {}",
                kept.added,
                folder.display()
            ));
        }
    }
}
