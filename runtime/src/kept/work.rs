//! The copy of a device's kernels in memory, which `CubeCL` reads and adds to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cubecl::config::cache::CacheConfig;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

use super::store;

/// The version in `CubeCL`'s paths, that of `cubecl-common`.
const CUBECL: &str = "0.10.0";

/// Where a folder for links can be made for a moment.
const MEMORY: &str = "/dev/shm";

/// A device's kernels in memory.
pub(super) struct InMemory {
    memory: File,
    name: String,
    /// How many bytes of it the file has.
    saved: u64,
}

impl InMemory {
    /// A copy of the file of this name in `folder`, empty where there is none.
    pub fn of(folder: &Path, name: &str) -> io::Result<Self> {
        let content = store::read(folder, name)?;
        let mut memory = File::from(memfd_create("kernels", MemfdFlags::CLOEXEC)?);
        memory.write_all(&content)?;
        Ok(Self {
            memory,
            name: name.into(),
            saved: content.len() as u64,
        })
    }

    /// Appends what was added to the copy to the file in `folder`. Gives the number of kernels.
    pub fn save(&mut self, folder: &Path, bound: u64) -> io::Result<usize> {
        let length = self.memory.metadata()?.len();
        if length <= self.saved {
            return Ok(0);
        }
        let mut added = vec![0; (length - self.saved) as usize];
        self.memory.read_exact_at(&mut added, self.saved)?;
        // The last one may be being written.
        let whole: usize = store::entries(&added).iter().map(|it| it.bytes.len()).sum();
        let count = store::append(folder, &self.name, &added[..whole], bound)?;
        self.saved += whole as u64;
        Ok(count)
    }
}

/// A folder as `CubeCL` expects it, of which only the copy is real.
pub(super) struct Room {
    folder: TempDir,
    copy: InMemory,
    before: Arc<CubeClRuntimeConfig>,
}

impl Room {
    /// Makes it, and sees that `CubeCL` will be able to read and to write: it panics where it cannot.
    pub fn for_copy(copy: InMemory, language: [&str; 2]) -> io::Result<Self> {
        let before = CubeClRuntimeConfig::get();
        if before.compilation.cache.is_some() {
            let reason = "cubecl.toml names another place for compiled kernels";
            return Err(io::Error::other(reason));
        }
        let folder = tempfile::Builder::new()
            .prefix("sonew-kernels-")
            .tempdir_in(MEMORY)
            .or_else(|_| tempfile::tempdir())?;
        let [backend, language] = language;
        let inner = folder.path().join(backend).join(CUBECL).join(language);
        fs::create_dir_all(&inner)?;
        let memory = PathBuf::from(format!("/proc/self/fd/{}", copy.memory.as_raw_fd()));
        let chunk = inner.join("chunk0.cbor");
        symlink(memory, &chunk)?;
        // A list of where kernels are, for several files of them. A link that leads nowhere can neither be opened nor made, and
        // a list that cannot be made is done without.
        symlink(inner.join("nowhere/at/all"), inner.join("toc.json.log"))?;
        File::open(&chunk)?;
        OpenOptions::new().append(true).create(true).open(&chunk)?;
        Ok(Self {
            folder,
            copy,
            before,
        })
    }

    /// Opens a device whose server takes its kernels from here, and removes the folder: the server holds the copy open.
    pub fn while_open<T>(self, open: impl FnOnce() -> T) -> (InMemory, T) {
        let mut config = CubeClRuntimeConfig::clone(&self.before);
        let root = self.folder.path().to_path_buf();
        config.compilation.cache = Some(CacheConfig::File(root));
        let slot = CubeClRuntimeConfig::storage();
        // `set` refuses a second time. A server reads this where it is made, and nothing else reads this part of it.
        *slot.lock() = Some(Arc::new(config));
        let opened = open();
        *slot.lock() = Some(self.before);
        (self.copy, opened)
    }
}
