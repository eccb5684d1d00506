//! Bringing out the errors of earlier launches.

use std::panic::{self, AssertUnwindSafe};

use cubecl::server::ServerError;

use crate::{Client, Error};

/// Submits what is queued on the calling thread's stream and reports the errors of earlier launches.
///
/// `operation` says in the error what was about to be done. Through wgpu a failed launch is only put
/// on a list, and a read after it succeeds with the buffer's old bytes: call this before trusting a
/// read. Each error is reported once. This does not wait for the device.
///
/// # Errors
///
/// [`Error::Launch`] with the listed errors; [`Error::Panicked`] where `CubeCL` panicked instead.
/// A kernel whose *compilation* panics inside `CubeCL` shows in neither: validate formats and limits
/// before launching.
pub fn check(client: &Client, operation: &str) -> Result<(), Error> {
    match panic::catch_unwind(AssertUnwindSafe(|| client.flush())) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::Launch {
            operation: operation.to_owned(),
            reason: explain(&error),
        }),
        Err(payload) => Err(Error::Panicked {
            operation: operation.to_owned(),
            reason: message(payload.as_ref()),
        }),
    }
}

/// The causes in one line, without the wrapping of `CubeCL`'s error types and their backtraces.
pub(crate) fn explain(error: &ServerError) -> String {
    match error {
        ServerError::ServerUnhealthy { errors, .. } => {
            let causes: Vec<String> = errors.iter().map(explain).collect();
            causes.join("; ")
        }
        ServerError::Generic { reason, .. } => one_line(reason),
        ServerError::Launch(error) => one_line(&error.to_string()),
        ServerError::Profile(error) => one_line(&error.to_string()),
        ServerError::Io(error) => one_line(&error.to_string()),
    }
}

/// Everything before the backtrace, without line ends.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.split("\nBacktrace").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ").trim_end_matches('.').to_owned()
}

/// The text of a caught panic.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
