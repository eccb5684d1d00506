//! What the device and the one who records share.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Executor, Launch};

/// Launches and failures since the last look, and what runs the kernels.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
    executor: Mutex<Option<Box<dyn Executor>>>,
}

/// Launches and failures, each in the order of the launches.
#[derive(Default)]
pub(crate) struct Entries {
    pub launches: Vec<Launch>,
    pub failures: Vec<String>,
}

impl Ledger {
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn executor(&self) -> MutexGuard<'_, Option<Box<dyn Executor>>> {
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}
