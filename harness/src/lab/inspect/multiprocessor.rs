//! How many units of a kernel a multiprocessor has at once.
//!
//! The limits are those of NVIDIA's CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sonew_runtime::recorder::Language;

/// Registers of a multiprocessor; a warp is given them 256 at a time.
const REGISTERS: u32 = 65_536;
/// Units at most.
const UNITS: u32 = 2048;
/// Cubes at most.
const CUBES: u32 = 32;
/// Units of a warp.
const WARP: u32 = 32;

/// An architecture of NVIDIA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// An A100.
    #[serde(rename = "sm_80")]
    Sm80,
    /// An H100 or H200.
    #[serde(rename = "sm_90")]
    Sm90,
}

impl Arch {
    /// The number in its name.
    pub fn number(self) -> u32 {
        match self {
            Self::Sm80 => 80,
            Self::Sm90 => 90,
        }
    }

    /// What its texts are written in.
    pub fn language(self) -> Language {
        match self {
            Self::Sm80 => Language::CudaSm80,
            Self::Sm90 => Language::CudaSm90,
        }
    }

    /// Bytes that L1 and shared memory have together.
    fn on_chip(self) -> usize {
        match self {
            Self::Sm80 => 192 << 10,
            Self::Sm90 => 256 << 10,
        }
    }

    /// Bytes of them that shared memory can have.
    fn shared(self) -> usize {
        match self {
            Self::Sm80 => 164 << 10,
            Self::Sm90 => 228 << 10,
        }
    }

    /// Cubes that are there at once, of so many units with so many registers each.
    pub fn resident_cubes(self, units: u32, registers: u32, shared_bytes: usize) -> u32 {
        let warps = units.div_ceil(WARP).max(1);
        let of_warp = (registers.max(1) * WARP).next_multiple_of(256);
        let by_registers = REGISTERS / of_warp / warps;
        // The driver takes a KiB of a cube that has any.
        let by_shared = match shared_bytes {
            0 => CUBES,
            bytes => (self.shared() / (bytes + 1024)) as u32,
        };
        by_registers
            .min(by_shared)
            .min(UNITS / (warps * WARP))
            .min(CUBES)
    }

    /// What is left for the L1 beside the shared memory of those cubes.
    pub fn cache_bytes(self, cubes: u32, shared_bytes: usize) -> usize {
        self.on_chip()
            .saturating_sub(cubes as usize * (shared_bytes + 1024))
            .max(16 << 10)
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sm_80" => Ok(Self::Sm80),
            "sm_90" => Ok(Self::Sm90),
            _ => Err(format!("expected sm_80 or sm_90, found `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_shared_memory_units_and_cubes_each_limit_what_is_resident() {
        let resident =
            |units, registers, shared| Arch::Sm90.resident_cubes(units, registers, shared);
        assert_eq!(resident(256, 32, 0), 8);
        assert_eq!(resident(128, 64, 0), 8);
        assert_eq!(resident(128, 144, 0), 3);
        assert_eq!(resident(128, 32, 31 << 10), 7);
        assert_eq!(resident(32, 16, 0), 32);
        assert_eq!(resident(1024, 128, 0), 0);
    }
}
