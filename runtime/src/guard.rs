//! Calling a driver that may panic or never return.
//!
//! `CubeCL` 0.10 and the loaders under it panic where a library or a device is missing, on their own
//! threads too, and a broken driver can wait for ever. Both become values here.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::check::{message, one_line};

/// How long a driver may take. Opening a CUDA context on a large machine takes seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the thread that calls the driver.
const PROBE_THREAD: &str = "sonew-probe";
/// How the names of the threads begin that own `CubeCL`'s devices.
const DEVICE_THREADS: [&str; 2] = ["DSD-", "DSU-"];

/// Why a guarded call gave no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It panicked with this message, here or on a device's thread.
    Panicked(String),
    /// It did not return within [`PATIENCE`].
    Silent,
}

impl Failure {
    pub(crate) fn reason(&self) -> String {
        match self {
            Failure::Panicked(message) => one_line(message),
            Failure::Silent => format!("the driver did not answer within {PATIENCE:?}"),
        }
    }
}

/// How many guarded calls are running; panics of the threads above stay off stderr meanwhile.
static MUTED: AtomicUsize = AtomicUsize::new(0);
/// The first message that was kept off stderr during the current call.
static HEARD: Mutex<Option<String>> = Mutex::new(None);
/// One guarded call at a time, so that `HEARD` belongs to it.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `work` on a thread of its own and waits at most [`PATIENCE`] for it.
///
/// A call that hangs leaves its thread behind: there is no way to end it.
pub(crate) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    listen();
    heard();
    MUTED.fetch_add(1, Ordering::SeqCst);
    let result = on_own_thread(work);
    MUTED.fetch_sub(1, Ordering::SeqCst);
    result
}

thread_local! {
    /// Whether panics of this thread stay off stderr.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` here; a panic becomes its message and does not show on stderr.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    listen();
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.map_err(|payload| message(payload.as_ref()))
}

fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name(PROBE_THREAD.to_owned())
        .spawn(move || {
            // Nobody listens any more if the time was up.
            let _ = sender.send(panic::catch_unwind(AssertUnwindSafe(work)));
        });
    if let Err(error) = thread {
        return Err(Failure::Panicked(format!("no thread to call it: {error}")));
    }
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(value)) => Ok(value),
        // The first message is the cause; the payload caught here may only say that a channel closed.
        Ok(Err(payload)) => Err(Failure::Panicked(
            heard().unwrap_or_else(|| message(payload.as_ref())),
        )),
        Err(_) => Err(Failure::Silent),
    }
}

fn heard() -> Option<String> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Puts a hook before the current one, once; it passes on everything that is not a guarded call's.
fn listen() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                return;
            }
            let current = thread::current();
            let name = current.name().unwrap_or_default();
            let driver =
                name == PROBE_THREAD || DEVICE_THREADS.iter().any(|it| name.starts_with(it));
            if driver && MUTED.load(Ordering::SeqCst) > 0 {
                let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
                heard.get_or_insert_with(|| message(info.payload()));
            } else {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_a_panic_becomes_its_message() {
        assert_eq!(guarded(|| 7).unwrap(), 7);
        let failure = guarded(|| -> u32 { panic!("no driver {}", 3) }).unwrap_err();
        assert_eq!(failure.reason(), "no driver 3");
    }

    #[test]
    fn a_quiet_panic_becomes_its_message_too() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert_eq!(
            quietly(|| -> u32 { panic!("no word {}", 3) }),
            Err("no word 3".to_owned())
        );
        assert!(!QUIET.get());
    }

    #[test]
    fn the_first_message_of_a_device_thread_is_the_reason() {
        let failure = guarded(|| {
            let device = thread::Builder::new()
                .name(format!("{}0-0", DEVICE_THREADS[0]))
                .spawn(|| panic!("the cause"))
                .unwrap();
            device.join().expect("the consequence");
        })
        .unwrap_err();
        assert_eq!(failure.reason(), "the cause");
    }
}
