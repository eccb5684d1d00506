//! How long work on a device takes, and by which clock.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use cubecl::future::block_on;
use cubecl::server::ProfileError;
use serde::Serialize;

use crate::check::{check, explain, message, one_line};
use crate::{Client, Error};

/// The clock behind a [`Timing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingMethod {
    /// Timestamps that the device wrote before and after the work.
    Device,
    /// The host's clock, read after the device was idle and again when it had finished: the cost of
    /// launching is included, so time batches, not single small kernels. CUDA is always timed this
    /// way in `CubeCL` 0.10; wgpu is where the adapter has no timestamp queries.
    Host,
}

impl fmt::Display for TimingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TimingMethod::Device => "device clock",
            TimingMethod::Host => "host clock",
        })
    }
}

/// A measured duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// From the first to the last command of the work.
    pub duration: Duration,
    /// By which clock.
    pub method: TimingMethod,
}

/// Runs `work`, which launches on `client`, waits for the device and returns how long it took.
///
/// `work` runs on the device's thread with the caller's stream, so handles made by the caller are
/// usable in it. `name` stands in errors and in `CubeCL`'s own profile. Compile first: the first
/// launch of a kernel includes its compilation.
///
/// # Errors
///
/// [`Error::Launch`] for a failed launch before or inside `work`, as a time of work that did not
/// happen is no time; [`Error::Clock`] where the clock fails, through CUDA also for a failed launch; [`Error::Panicked`] where `work` or
/// `CubeCL` panics, for one because a kernel launched in `work` cannot be compiled.
pub fn time<O: Send + 'static>(
    client: &Client,
    work: impl FnOnce() -> O + Send,
    name: &str,
) -> Result<(O, Timing), Error> {
    // A pending error would make the start of the profile fail with a message about profiling.
    check(client, &format!("timing `{name}`, before the work"))?;

    let profiled = panic::catch_unwind(AssertUnwindSafe(|| {
        // A panic of the work is caught on the device's thread: past it, only a closed channel is left.
        let work = || panic::catch_unwind(AssertUnwindSafe(work)).map_err(|it| message(&*it));
        client.profile(work, name).map(|(output, profile)| {
            let method = match profile.timing_method() {
                cubecl::profile::TimingMethod::Device => TimingMethod::Device,
                cubecl::profile::TimingMethod::System => TimingMethod::Host,
            };
            let duration = block_on(profile.resolve()).duration();
            (output, Timing { duration, method })
        })
    }));
    let panicked = |reason| Error::Panicked {
        operation: format!("timing `{name}`"),
        reason,
    };
    let timed = match profiled {
        Ok(Ok((Ok(output), timing))) => (output, timing),
        Ok(Ok((Err(reason), _))) => return Err(panicked(reason)),
        Ok(Err(error)) => return Err(failed(error, name)),
        Err(payload) => return Err(panicked(message(&*payload))),
    };

    check(client, &format!("timing `{name}`, inside the work"))?;
    Ok(timed)
}

/// The end of a profile takes the stream's errors with it, so this is where a failed launch shows.
fn failed(error: ProfileError, name: &str) -> Error {
    let reason = match error {
        ProfileError::Launch(error) => one_line(&error.to_string()),
        ProfileError::Server(error) => explain(&error),
        ProfileError::Unknown { reason, .. } => {
            return Error::Clock {
                operation: name.to_owned(),
                reason: one_line(&reason),
            };
        }
        ProfileError::NotRegistered { .. } => {
            return Error::Clock {
                operation: name.to_owned(),
                reason: "the profile had no start".into(),
            };
        }
    };
    Error::Launch {
        operation: format!("timing `{name}`, inside the work"),
        reason,
    }
}
