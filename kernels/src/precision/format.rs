//! A number format named at run time.

use std::fmt;

use half::f16;

use super::{HostFormat, Native, Pairs};

/// How a value lies in memory: what [`HostFormat::FORMAT`] says of a type. Forms that read the same bytes in other words have
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => <Native<f32> as HostFormat>::NAME,
            Self::Bf16 => Pairs::NAME,
            Self::F16 => <Native<f16> as HostFormat>::NAME,
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// As [`HostFormat::encode`].
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => Native::<f32>::encode(values),
            Self::Bf16 => Pairs::encode(values),
            Self::F16 => Native::<f16>::encode(values),
        }
    }

    /// As [`HostFormat::decode`].
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => Native::<f32>::decode(bytes),
            Self::Bf16 => Pairs::decode(bytes),
            Self::F16 => Native::<f16>::decode(bytes),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
