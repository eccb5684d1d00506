//! The devices of this machine.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(any(not(feature = "wgpu"), not(feature = "cuda")))]
use crate::Sought;
use crate::{Format, FormatSupport, Missing, Profile, Selector, Support};

/// Through which interface and in which language kernels reach a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// CUDA C++, compiled by NVRTC.
    Cuda,
    /// WGSL, compiled by wgpu.
    WgpuWgsl,
    /// SPIR-V, handed to the Vulkan driver.
    WgpuSpirv,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Backend::Cuda => "CUDA",
            Backend::WgpuWgsl => "wgpu (WGSL)",
            Backend::WgpuSpirv => "wgpu (SPIR-V)",
        })
    }
}

/// What a device computes on, as a user is told; kernels ask for its [`Profile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Processor {
    /// A graphics processor: many units at once, memory of its own.
    Gpu,
    /// The host's processor, through a software driver such as Mesa's lavapipe: few units, host memory.
    Cpu,
}

/// One device, as its driver and `CubeCL` describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// What to give to [`open`](crate::open); never [`Selector::Auto`].
    pub id: Selector,
    /// The device's name.
    pub name: String,
    /// How kernels reach it.
    pub backend: Backend,
    /// What it computes on.
    pub processor: Processor,
    /// What kernels ask of it.
    #[serde(skip)]
    pub profile: Profile,
    /// The driver and its version.
    pub driver: String,
    /// The device's memory in bytes; `None` through wgpu, which does not tell.
    pub memory_bytes: Option<u64>,
    /// The largest buffer in bytes. Asking for a larger one panics inside `CubeCL`.
    pub max_buffer_bytes: u64,
    /// The smallest and the largest plane (warp, subgroup), in units.
    pub plane: (u32, u32),
    /// How each [`Format`] is offered, in the order of [`Format::ALL`].
    pub formats: Vec<FormatSupport>,
}

impl DeviceInfo {
    /// How this device offers `format`.
    pub fn support(&self, format: Format) -> Support {
        self.formats
            .iter()
            .find(|entry| entry.format == format)
            .map(|entry| entry.support.clone())
            .unwrap_or_else(|| Support::Unsupported {
                reason: format!("{format} was not looked up for this device"),
            })
    }
}

/// What this machine has and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The usable devices, in the order in which [`Selector::Auto`] prefers them.
    pub devices: Vec<DeviceInfo>,
    /// The kinds of device of which there is none, or which could not be opened.
    pub missing: Vec<Missing>,
}

/// Looks for every kind of device and opens each one found to read its properties.
///
/// Never panics. A driver that neither answers nor fails is given up after half a minute and
/// reported as missing. The devices stay open until the process ends, as `CubeCL` keeps every client
/// it made: on a GPU that is a few hundred megabytes of its memory, so a program that only wants to
/// compute calls [`open`](crate::open) instead.
pub fn survey() -> Survey {
    let mut survey = Survey::default();

    #[cfg(feature = "cuda")]
    super::cuda::survey(&mut survey);
    #[cfg(not(feature = "cuda"))]
    survey
        .missing
        .push(Missing::not_built(Sought::Cuda, "cuda"));

    #[cfg(feature = "wgpu")]
    super::adapters::survey(&mut survey);
    #[cfg(not(feature = "wgpu"))]
    survey.missing.extend([
        Missing::not_built(Sought::WgpuGpu, "wgpu"),
        Missing::not_built(Sought::SoftwareDriver, "wgpu"),
    ]);

    survey
}
