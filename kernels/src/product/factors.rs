//! What is multiplied: entries as they are, or parts of them that matrix units take.

use core::fmt;
use core::str::FromStr;

use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind, StorageType};
use cubecl::prelude::*;
use half::f16;
use serde::{Deserialize, Serialize};

use super::OPERATION;
use crate::context::{Context, Units};
use crate::error::Error;
use crate::precision::{F16, require};

/// Rows and columns of the product that a plane's matrix units compute at once, and words of terms that they take for it.
pub(super) const FRAGMENT: [usize; 3] = [16, 8, 8];

/// What units multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factors {
    /// Entries of f32.
    #[default]
    Whole,
    /// Parts of entries, as products and sums of f32: what [`Factors::Matrix`] computes but for the order of sums, on any device.
    Parts(Parts),
    /// Parts of entries, by matrix units, where [`Parts::have_units`].
    Matrix(Parts),
}

/// How an entry of f32 is cut into factors that matrix units take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parts {
    /// The upper 16 bits of an f32: all of a bf16. Digits beyond them are cut off.
    Bf16,
    /// The nearest f16, which an f16 is itself.
    F16,
    /// The nearest TF32, an f32 with 11 of its 24 digits.
    Tf32,
    /// x = x₁ + x₂ + x₃, three bf16 of 8 digits each, which are all 24 that x has; so x y ≈ x₁y₁ + (x₁y₂ + x₂y₁) +
    /// (x₁y₃ + x₂y₂ + x₃y₁), where what is left out is at most 2⁻²³ of |x y|: as much as two roundings of f32. It spares the other
    /// three of the nine products (Henry, Tang, Heinecke, Leveraging the bfloat16 Artificial Intelligence Datatype For
    /// Higher-Precision Computations, ARITH 2019). x₁ of a number beyond the largest bf16, or of one that is not finite, is not a
    /// number.
    Three,
}

impl Parts {
    /// How many there are of an entry.
    pub(super) const fn count(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::Tf32 => 1,
            Self::Three => 3,
        }
    }

    /// Terms of a line that lie in a word of 32 bits.
    pub(super) const fn word_terms(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::Three => 2,
            Self::Tf32 => 1,
        }
    }

    /// Terms of the product that a plane's matrix units compute at once.
    pub(super) const fn fragment_terms(self) -> usize {
        FRAGMENT[2] * self.word_terms()
    }

    /// Which part of an entry of A is multiplied with which of one of B, smallest products first.
    pub(super) const fn products(self) -> &'static [[usize; 2]] {
        match self {
            Self::Bf16 | Self::F16 | Self::Tf32 => &[[0, 0]],
            Self::Three => &[[0, 2], [1, 1], [2, 0], [0, 1], [1, 0], [0, 0]],
        }
    }

    const fn kind(self) -> FloatKind {
        match self {
            Self::Bf16 | Self::Three => FloatKind::BF16,
            Self::F16 => FloatKind::F16,
            Self::Tf32 => FloatKind::TF32,
        }
    }

    /// Whether the device has matrix units for these, whose sums are f32.
    pub fn have_units(self, context: &Context) -> bool {
        let [m, n, _] = FRAGMENT.map(|it| it as u32);
        let of = |kind| StorageType::Scalar(ElemType::Float(kind));
        let wanted = MmaConfig {
            a_type: of(self.kind()),
            b_type: of(self.kind()),
            cd_type: of(FloatKind::F32),
            m,
            n,
            k: self.fragment_terms() as u32,
        };
        let properties = context.client().properties();
        context.profile().units == Units::Many
            && properties.hardware.plane_size_min == 32
            && properties.features.matmul.mma.contains(&wanted)
    }
}

/// How the products of a network are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multiplication {
    /// By matrix units where that loses no digit, as of 16-bit values, and the device has them; else by units, in f32.
    #[default]
    Auto,
    /// By units, in f32.
    Plain,
    /// By matrix units: f32 in three parts ([`Parts::Three`]), whose products are within the tolerance of f32.
    Split,
    /// By matrix units: f32 with 11 of its 24 digits.
    Tf32,
}

impl Multiplication {
    /// What matrix units multiply of values that are exactly `exact`, or that no parts are; none if units multiply.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device lacks the matrix units that were asked for.
    pub fn parts(self, context: &Context, exact: Option<Parts>) -> Result<Option<Parts>, Error> {
        let asked = match self {
            Self::Plain => None,
            Self::Auto => exact.filter(|parts| parts.have_units(context)),
            Self::Split => Some(exact.unwrap_or(Parts::Three)),
            Self::Tf32 => Some(exact.unwrap_or(Parts::Tf32)),
        };
        if let Some(parts) = asked {
            Factors::Matrix(parts).require(context)?;
        }
        Ok(asked)
    }
}

impl fmt::Display for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |parts: &Parts| match parts {
            Parts::Bf16 => "bf16",
            Parts::F16 => "f16",
            Parts::Tf32 => "tf32",
            Parts::Three => "3 × bf16",
        };
        match self {
            Self::Whole => f.pad("f32"),
            Self::Parts(parts) => f.pad(&format!("{} by units", of(parts))),
            Self::Matrix(parts) => f.pad(of(parts)),
        }
    }
}

impl fmt::Display for Multiplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Split => "split",
            Self::Tf32 => "tf32",
        })
    }
}

impl FromStr for Multiplication {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::Plain, Self::Split, Self::Tf32];
        let named = all.into_iter().find(|it| it.to_string() == text);
        named.ok_or_else(|| format!("found {text}, expected auto, plain, split or tf32"))
    }
}

impl Factors {
    /// Requires what the device needs to multiply these.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what it lacks.
    pub(super) fn require(self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Whole => Ok(()),
            Self::Parts(Parts::F16) => require::<F16>(context),
            Self::Parts(_) => Ok(()),
            Self::Matrix(parts) if parts.have_units(context) => Ok(()),
            Self::Matrix(parts) => Err(Error::Unsupported {
                operation: OPERATION,
                reason: format!(
                    "the device offers no matrix units for {} with sums of f32",
                    StorageType::Scalar(ElemType::Float(parts.kind()))
                ),
            }),
        }
    }
}

/// The parts of x, largest first. Not a number has a part that is not one.
#[cube]
pub(super) fn parts_of(x: f32, #[comptime] parts: Parts) -> Sequence<f32> {
    let mut found = Sequence::<f32>::new();
    if comptime!(matches!(parts, Parts::F16)) {
        found.push(f32::cast_from(f16::cast_from(x)));
    } else if comptime!(matches!(parts, Parts::Tf32)) {
        let bits = u32::reinterpret(x);
        let nearest = (bits + 0x1000u32) & 0xffff_e000u32;
        let is_finite = bits & 0x7f80_0000u32 != 0x7f80_0000u32;
        found.push(f32::reinterpret(select(is_finite, nearest, bits)));
    } else {
        let mut rest = x;
        #[unroll]
        for _ in 1..comptime!(parts.count()) {
            // The nearest of 8 digits, and then the rest has no more than 16.
            let part = upper_half(f32::reinterpret(u32::reinterpret(rest) + 0x8000u32));
            found.push(part);
            rest -= part;
        }
        found.push(upper_half(rest));
    }
    found
}

/// x without its lower 16 bits.
#[cube]
fn upper_half(x: f32) -> f32 {
    f32::reinterpret(u32::reinterpret(x) & 0xffff_0000u32)
}
