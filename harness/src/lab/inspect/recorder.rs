//! An executor that keeps what every launch does with memory.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sonew_runtime::recorder::host::{Access, HostCuda};
use sonew_runtime::recorder::{Buffer, Executor, Source};

/// A launch, and the accesses of each of its cubes.
pub(super) struct Seen {
    pub source: Source,
    /// Cubes of the launch.
    pub count: u32,
    pub cubes: Vec<Vec<Access>>,
    pub operations: u64,
}

/// The launches since they were last taken.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    /// What runs the first `most` cubes of launches and keeps them here.
    pub fn executor(&self, host: HostCuda, most: u32) -> Tracing {
        Tracing {
            host,
            most,
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
    most: u32,
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
            count: cubes.0 * cubes.1 * cubes.2,
            cubes: Vec::new(),
            operations: 0,
        };
        let mut see = |accesses: &[Access], operations: u64| {
            seen.cubes.push(accesses.to_vec());
            seen.operations += operations;
        };
        self.host
            .trace(kernel, cubes, buffers, info, self.most, &mut see)?;
        self.recorder.lock().push(seen);
        Ok(())
    }
}
