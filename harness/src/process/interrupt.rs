//! Signals that ask a run to stop, alike whichever it is: Ctrl-C, a terminal that closes, a system that shuts down. The first
//! lets the run end after its step and save, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::process::streams::note;

/// The exit status of a program that was asked to stop (128 + SIGINT, whichever the signal).
pub const EXIT_STATUS: u8 = 130;

/// Why signals cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watching for Ctrl-C: {0}")]
pub struct InterruptError(#[from] ctrlc::Error);

/// Whether somebody asked to stop. Clones watch the same signals.
#[derive(Clone, Default)]
pub struct Interrupt {
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    requested: AtomicBool,
    last_words: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

impl Interrupt {
    /// Starts to watch SIGINT, SIGTERM and SIGHUP. Once per program.
    ///
    /// # Errors
    /// [`InterruptError`] if the program watches already, or the system refuses.
    pub fn install() -> Result<Self, InterruptError> {
        let interrupt = Self::default();
        let watch = interrupt.watch.clone();
        let outlives_terminal = hang_up::is_ignored();
        ctrlc::set_handler(move || {
            if watch.requested.swap(true, Ordering::Relaxed) {
                watch.say_last_words();
                std::process::exit(EXIT_STATUS.into());
            }
            note("\nstopping after this step; press Ctrl-C again to stop at once");
        })?;
        if outlives_terminal {
            hang_up::ignore();
        }
        Ok(interrupt)
    }

    /// One that watches nothing, for callers without a terminal; [`Interrupt::request`] still works.
    pub fn never() -> Self {
        Self::default()
    }

    /// Asks the run to stop, as the first signal does.
    pub fn request(&self) {
        self.watch.requested.store(true, Ordering::Relaxed);
    }

    /// Whether the run should stop.
    pub fn requested(&self) -> bool {
        self.watch.requested.load(Ordering::Relaxed)
    }

    /// Has `words` said before the second signal ends the program.
    pub fn before_exit(&self, words: impl Fn() + Send + 'static) {
        let all = self.watch.last_words.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(words));
    }
}

impl Watch {
    fn say_last_words(&self) {
        let all = self.last_words.lock();
        for words in all.unwrap_or_else(PoisonError::into_inner).iter() {
            words();
        }
    }
}

/// SIGHUP, which `nohup` has a program ignore.
#[cfg(unix)]
mod hang_up {
    /// Whether whoever started the program had it ignored.
    pub fn is_ignored() -> bool {
        // SAFETY: with no new action `sigaction` only writes the present one to a struct of which all zeros is a value.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
        }
    }

    /// Has it ignored.
    pub fn ignore() {
        // SAFETY: no code of this program runs on the signal from here on.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
mod hang_up {
    pub fn is_ignored() -> bool {
        false
    }

    pub fn ignore() {}
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
