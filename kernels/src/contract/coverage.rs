//! How a device runs a precision, or a check: in formats that it knows, in formats that are emulated, or not at all.

use std::fmt;

use crate::context::Context;
use crate::error::Error;
use crate::precision::{Precision, Storage, require};

/// How a device runs kernels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Every number lies in memory in a format that the device reads and writes.
    Native,
    /// Two bf16 lie in a word, which the kernel takes apart and puts together with integer operations.
    Emulated,
    /// Not at all.
    Unsupported {
        /// What the device lacks.
        reason: String,
    },
}

impl Coverage {
    /// That of a precision, by its formats.
    pub(super) fn of<P: Precision>(context: &Context) -> Self {
        let words = [
            <P::Params as Storage>::PER_WORD,
            <P::State as Storage>::PER_WORD,
        ];
        let here = if words.contains(&2) {
            Self::Emulated
        } else {
            Self::Native
        };
        let refused = require::<P>(context).err();
        refused.as_ref().and_then(Self::refused).unwrap_or(here)
    }

    /// `native`, `emulated` or `unsupported`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Emulated => "emulated",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// That of a kernel which refused the device with this error; `None` if it failed otherwise.
    pub fn refused(error: &Error) -> Option<Self> {
        match error {
            Error::Unsupported { reason, .. } => Some(Self::Unsupported {
                reason: reason.clone(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Native | Self::Emulated => Ok(()),
            Self::Unsupported { reason } => write!(f, ": {reason}"),
        }
    }
}
