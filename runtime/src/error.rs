//! What can go wrong between a selector and a measured kernel.

use std::time::Duration;

use thiserror::Error;

use crate::{Missing, Selector};

/// An error of this crate: the operation, what was expected, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing on this machine answers to the selector.
    #[error(
        "opening device `{selector}`: expected a usable device, found none\n  {}",
        lines(missing)
    )]
    NoDevice {
        /// What was asked for.
        selector: Selector,
        /// Every kind of device that was tried, with what to install.
        missing: Vec<Missing>,
    },

    /// There are devices of this kind, but not this many.
    #[error(
        "opening device `{selector}`: expected an index below {found}, the number of devices of \
         this kind found here; choose a smaller index (the survey of devices lists them)"
    )]
    OutOfRange {
        /// What was asked for.
        selector: Selector,
        /// How many devices of this kind there are.
        found: usize,
    },

    /// The device exists, but its driver refused to open it.
    #[error(
        "opening device `{selector}` ({name}): expected its driver to accept, found: {reason}; \
         choose another device, or see whether another program holds this one or its driver needs \
         an update"
    )]
    Refused {
        /// The device, never `auto`.
        selector: Selector,
        /// The name it was listed under.
        name: String,
        /// What the driver or `CubeCL` said.
        reason: String,
    },

    /// The device exists, but its driver did not answer.
    #[error(
        "opening device `{selector}` ({name}): expected an answer of its driver within {waited:?}, \
         found none; restart the program, and the machine if that does not help"
    )]
    Silent {
        /// The device, never `auto`.
        selector: Selector,
        /// The name it was listed under.
        name: String,
        /// How long this crate waited.
        waited: Duration,
    },

    /// A launch on this thread's stream failed; `CubeCL` reports that only when asked.
    #[error(
        "{operation}: expected every launch on this stream to work, found: {reason}; \
         results computed since the last check are not to be trusted"
    )]
    Launch {
        /// What was being done when it came out.
        operation: String,
        /// The errors as `CubeCL` lists them.
        reason: String,
    },

    /// The device's clock could not be started or read.
    #[error(
        "timing `{operation}`: expected a start and an end time of the device, found: {reason}; \
         check that the timed work runs without being timed"
    )]
    Clock {
        /// The name of the timed work.
        operation: String,
        /// What `CubeCL` said.
        reason: String,
    },

    /// `CubeCL`, the driver or the timed work panicked; the device may answer no more in this process.
    #[error(
        "{operation}: expected no panic, found: {reason}; see stderr for an earlier message (a \
         kernel that cannot be compiled panics on the device's thread), treat the device as lost \
         and start the program again"
    )]
    Panicked {
        /// What was being done.
        operation: String,
        /// The panic's message.
        reason: String,
    },
}

fn lines(missing: &[Missing]) -> String {
    let lines: Vec<String> = missing.iter().map(Missing::to_string).collect();
    lines.join("\n  ")
}
