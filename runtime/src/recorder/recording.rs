//! Recording launches and reading what was recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use cubecl::Runtime;

use super::indent::indented;
use super::{Executor, Language, Ledger};
use crate::gpu::Door;
use crate::{Client, Error, Gpu};

/// A kernel as the driver would be given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name of the kernel in the text.
    pub entry: String,
    /// The Rust type of the kernel, with its generics.
    pub kernel: &'static str,
    /// The kernel in its language.
    pub text: String,
    /// The units of a cube along each axis.
    pub units: (u32, u32, u32),
    /// The shared memory of a cube in bytes.
    pub shared_bytes: usize,
}

impl Source {
    /// The text indented for reading.
    pub fn readable(&self) -> String {
        indented(&self.text)
    }
}

/// A recorded launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel, compiled once for all its launches.
    pub source: Arc<Source>,
    /// The cubes along each axis.
    pub cubes: (u32, u32, u32),
}

/// A device of its own on which launches are recorded.
///
/// `CubeCL` keeps a thread and the memory of every device until the process ends, so use one
/// recording for many kernels where there is no reason for another.
pub struct Recording {
    language: Language,
    client: Client,
}

/// Opens a device that records launches as text in `language`.
pub fn record(language: Language) -> Recording {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let unused = Door::Recording(language, NEXT.fetch_add(1, Ordering::Relaxed));
    Recording {
        language,
        client: Gpu::client(&unused),
    }
}

impl Recording {
    /// What launches are recorded in.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The device, for anything that launches kernels.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs every later launch with `executor`.
    pub fn execute_with(&self, executor: Box<dyn Executor>) {
        // Launches that are still queued belong to the time before.
        self.settle();
        *self.ledger().executor() = Some(executor);
    }

    /// The launches since the last call, in their order. Reports what `flush` and `sync` report.
    ///
    /// # Errors
    ///
    /// [`Error::Launch`] with every kernel among them that cannot be written in the language, exceeds
    /// a limit of the device or failed in the executor; the launches are dropped then.
    pub fn take(&self) -> Result<Vec<Launch>, Error> {
        self.settle();
        let entries = std::mem::take(&mut *self.ledger().entries());
        if entries.failures.is_empty() {
            return Ok(entries.launches);
        }
        Err(Error::Launch {
            operation: format!("recording kernels as {}", self.language),
            reason: entries.failures.join("; "),
        })
    }

    /// Waits for queued launches. Their errors are in the ledger too, so nothing is lost.
    fn settle(&self) {
        let _ = self.client.flush();
    }

    fn ledger(&self) -> &Ledger {
        self.client.info().ledger()
    }
}
