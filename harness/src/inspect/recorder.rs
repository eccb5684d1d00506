//! An executor that keeps what every launch does with memory.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sonew_runtime::source::host::{Access, HostCuda};
use sonew_runtime::source::{Buffer, Executor, Source};

/// A launch, and the accesses of each of its cubes.
pub(super) struct Seen {
    pub source: Source,
    pub cubes: Vec<Vec<Access>>,
    pub operations: u64,
}

/// The launches since they were last taken.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    /// What runs launches and keeps them here.
    pub fn executor(&self, host: HostCuda) -> Tracing {
        Tracing {
            host,
            recorder: self.clone(),
        }
    }

    pub fn take(&self) -> Vec<Seen> {
        mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Tracing {
    host: HostCuda,
    recorder: Recorder,
}

impl Executor for Tracing {
    fn execute(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
    ) -> Result<(), String> {
        let mut seen = Seen {
            source: kernel.clone(),
            cubes: Vec::new(),
            operations: 0,
        };
        let mut see = |accesses: &[Access], operations: u64| {
            seen.cubes.push(accesses.to_vec());
            seen.operations += operations;
        };
        self.host.trace(kernel, cubes, buffers, info, &mut see)?;
        self.recorder.lock().push(seen);
        Ok(())
    }
}
