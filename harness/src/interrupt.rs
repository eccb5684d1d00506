//! Ctrl-C: the first asks the run to stop after its step and save, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::streams::note;

/// The exit status of a program ended by Ctrl-C (128 + SIGINT).
pub const EXIT_STATUS: i32 = 130;

/// Why Ctrl-C cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watching for Ctrl-C: {0}")]
pub struct InterruptError(#[from] ctrlc::Error);

/// Whether Ctrl-C was pressed. Clones watch the same key.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to watch. Once per program.
    ///
    /// # Errors
    /// [`InterruptError`] if the program watches already, or the system refuses.
    pub fn install() -> Result<Self, InterruptError> {
        let interrupt = Self::default();
        let handled = interrupt.clone();
        ctrlc::set_handler(move || {
            if handled.requested.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_STATUS);
            }
            note("\nstopping after this step; press Ctrl-C again to stop at once");
        })?;
        Ok(interrupt)
    }

    /// One that watches nothing, for callers without a terminal; [`Interrupt::request`] still works.
    pub fn never() -> Self {
        Self::default()
    }

    /// Asks the run to stop, as the first Ctrl-C does.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether the run should stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_every_clone_and_watching_twice_is_refused() {
        let first = Interrupt::install().unwrap();
        let clone = first.clone();
        assert!(!clone.requested());
        first.request();
        assert!(clone.requested());
        assert!(Interrupt::install().is_err());
        assert!(!Interrupt::never().requested());
    }
}
