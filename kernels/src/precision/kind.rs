//! A precision chosen at run time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Bf16, Bf16Mixed, F16, F16Mixed, F32, Format, HostFormat, Native, Precision, convert};
use crate::arena::Arena;
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep};

/// One of the precisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionKind {
    /// [`F32`].
    #[default]
    F32,
    /// [`Bf16`].
    Bf16,
    /// [`Bf16Mixed`].
    Bf16Mixed,
    /// [`F16`].
    F16,
    /// [`F16Mixed`].
    F16Mixed,
}

/// What is done in a precision.
pub trait PrecisionVisitor {
    /// What comes out.
    type Output;

    /// Does it.
    fn visit<P: Precision>(self) -> Self::Output;
}

impl PrecisionKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::F32,
        Self::Bf16,
        Self::Bf16Mixed,
        Self::F16,
        Self::F16Mixed,
    ];

    /// Does `what` in this precision.
    pub fn accept<V: PrecisionVisitor>(self, what: V) -> V::Output {
        match self {
            Self::F32 => what.visit::<F32>(),
            Self::Bf16 => what.visit::<Bf16>(),
            Self::Bf16Mixed => what.visit::<Bf16Mixed>(),
            Self::F16 => what.visit::<F16>(),
            Self::F16Mixed => what.visit::<F16Mixed>(),
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        struct Name;
        impl PrecisionVisitor for Name {
            type Output = &'static str;
            fn visit<P: Precision>(self) -> &'static str {
                P::NAME
            }
        }
        self.accept(Name)
    }
}

/// What is asked of the parameters' format.
impl PrecisionKind {
    /// The format itself.
    pub fn format(self) -> Format {
        struct Of;
        impl PrecisionVisitor for Of {
            type Output = Format;
            fn visit<P: Precision>(self) -> Format {
                P::Params::FORMAT
            }
        }
        self.accept(Of)
    }

    /// Bytes of a parameter.
    pub fn parameter_bytes(self) -> usize {
        self.format().bytes()
    }

    /// As [`HostFormat::encode`].
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        self.format().encode(values)
    }

    /// As [`HostFormat::decode`].
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        self.format().decode(bytes)
    }

    /// As [`HostFormat::round_all`].
    pub fn round_all(self, values: &mut [f32]) {
        struct Round<'a>(&'a mut [f32]);
        impl PrecisionVisitor for Round<'_> {
            type Output = ();
            fn visit<P: Precision>(self) {
                P::Params::round_all(self.0);
            }
        }
        self.accept(Round(values));
    }

    /// [`convert`] from the parameters' format to f32.
    ///
    /// # Errors
    /// As [`convert`].
    pub fn widen(self, context: &Context, from: &Arena, to: &Arena) -> Result<(), Error> {
        let buffers = [from, to];
        let widens = true;
        self.accept(Transfer {
            context,
            buffers,
            widens,
        })
    }

    /// [`convert`] from f32 to the parameters' format.
    ///
    /// # Errors
    /// As [`convert`].
    pub fn narrow(self, context: &Context, from: &Arena, to: &Arena) -> Result<(), Error> {
        let buffers = [from, to];
        let widens = false;
        self.accept(Transfer {
            context,
            buffers,
            widens,
        })
    }
}

/// A conversion between the parameters' format and f32.
struct Transfer<'a> {
    context: &'a Context,
    buffers: [&'a Arena; 2],
    widens: bool,
}

impl PrecisionVisitor for Transfer<'_> {
    type Output = Result<(), Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        let [from, to] = self.buffers;
        let context = self.context;
        let sweep = Strategy::Forced(Sweep::plain::<P>(context, "convert"));
        if self.widens {
            convert::<P::Params, Native<f32>>(context, from, to, sweep)
        } else {
            convert::<Native<f32>, P::Params>(context, from, to, sweep)
        }
    }
}

impl fmt::Display for PrecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PrecisionKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("no precision is called `{text}`; there are {}", known()))
    }
}
