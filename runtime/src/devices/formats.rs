//! Number formats and how a device offers them.

use std::fmt;

use cubecl::ir::features::TypeUsage;
use cubecl::ir::{DeviceProperties, ElemType, FloatKind, StorageType};
use serde::{Deserialize, Serialize};

/// A number format of buffers and kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// IEEE 754 binary32: 8 bits of exponent, 24 of significand.
    F32,
    /// IEEE 754 binary16: 5 bits of exponent, 11 of significand.
    F16,
    /// The upper half of an [`Format::F32`]: 8 bits of exponent, 8 of significand.
    Bf16,
}

impl Format {
    /// Every format, in the order of the table of devices.
    pub const ALL: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

    /// The format as `CubeCL` names it in a kernel's type.
    pub fn storage_type(self) -> StorageType {
        let kind = match self {
            Format::F32 => FloatKind::F32,
            Format::F16 => FloatKind::F16,
            Format::Bf16 => FloatKind::BF16,
        };
        StorageType::Scalar(ElemType::Float(kind))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
        })
    }
}

/// How a device offers a [`Format`]. Nothing is emulated without saying so here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "support")]
pub enum Support {
    /// The device has buffers and arithmetic of this format.
    Native,
    /// Two values lie in one 32-bit word; kernels unpack them, compute in `f32` and round back.
    Words {
        /// Why.
        reason: String,
    },
    /// Kernels in this format cannot run here.
    Unsupported {
        /// What the device lacks.
        reason: String,
    },
}

impl Support {
    /// A word for a table: `native`, `words` or `unsupported`.
    pub fn word(&self) -> &'static str {
        match self {
            Support::Native => "native",
            Support::Words { .. } => "words",
            Support::Unsupported { .. } => "unsupported",
        }
    }

    /// Why it is not native; `None` where it is.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Support::Native => None,
            Support::Words { reason } | Support::Unsupported { reason } => Some(reason),
        }
    }
}

/// One format of one device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FormatSupport {
    /// The format.
    pub format: Format,
    /// How the device offers it.
    #[serde(flatten)]
    pub support: Support,
}

/// How a device with these properties offers `format`.
///
/// Native means arithmetic and buffers together. `CubeCL`'s `supports_type` is also true for a type
/// that can only be converted, and a kernel that computes with such a type can cost the device: with
/// SPIR-V, every later read in the process panics.
pub fn support(properties: &DeviceProperties, format: Format) -> Support {
    if format == Format::Bf16 {
        // The upper half of an f32: two shifts to unpack, and exact. Done alike everywhere, so that the bits are the same.
        return Support::Words {
            reason: "read and rounded with integer operations, on every device".into(),
        };
    }
    let usage = properties.type_usage(format.storage_type());
    let lacking: Vec<&str> = [
        (TypeUsage::Arithmetic, "arithmetic"),
        (TypeUsage::Buffer, "buffers"),
    ]
    .into_iter()
    .filter(|(needed, _)| !usage.contains(*needed))
    .map(|(_, name)| name)
    .collect();
    if lacking.is_empty() {
        return Support::Native;
    }
    Support::Unsupported {
        reason: format!(
            "the device and its compiler offer no {format} {}",
            lacking.join(&format!(" and no {format} "))
        ),
    }
}

/// [`support`] for every format.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) fn all(properties: &DeviceProperties) -> Vec<FormatSupport> {
    Format::ALL
        .into_iter()
        .map(|format| FormatSupport {
            format,
            support: support(properties, format),
        })
        .collect()
}
