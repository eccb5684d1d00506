//! What was looked for on this machine and not found, and what to install to have it.

use std::fmt;

use serde::Serialize;

/// A kind of device that [`survey`](crate::survey()) and [`open`](crate::open) look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sought {
    /// An NVIDIA GPU through CUDA.
    Cuda,
    /// A GPU through wgpu (Vulkan, or Metal on macOS).
    WgpuGpu,
    /// A driver that computes on the CPU, through wgpu.
    SoftwareDriver,
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sought::Cuda => "CUDA device",
            Sought::WgpuGpu => "GPU through wgpu",
            Sought::SoftwareDriver => "software driver",
        })
    }
}

/// One library, file or adapter that a device needs, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LookedFor {
    /// What was looked for, by its exact name.
    pub what: String,
    /// Whether it was found.
    pub found: bool,
}

impl LookedFor {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(crate) fn new(what: impl Into<String>, found: bool) -> Self {
        LookedFor {
            what: what.into(),
            found,
        }
    }
}

impl fmt::Display for LookedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.found { "found" } else { "not found" };
        write!(f, "{}: {found}", self.what)
    }
}

/// A kind of device that cannot be used here, with the evidence and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The kind of device.
    pub kind: Sought,
    /// Why there is none, in one sentence.
    pub reason: String,
    /// Everything that was looked for, found or not; empty where the search itself failed.
    pub looked_for: Vec<LookedFor>,
    /// What to install or change.
    pub advice: String,
}

impl Missing {
    /// This build was made without the feature that the kind of device needs.
    #[cfg(any(not(feature = "wgpu"), not(feature = "cuda")))]
    pub(crate) fn not_built(kind: Sought, feature: &str) -> Self {
        Missing {
            kind,
            reason: format!("this program was built without the feature `{feature}`"),
            looked_for: Vec::new(),
            advice: format!("build it with the feature `{feature}` of sonew-runtime"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)?;
        for (i, item) in self.looked_for.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { " (" } else { "; " })?;
        }
        if !self.looked_for.is_empty() {
            f.write_str(")")?;
        }
        write!(f, ". What to do: {}", self.advice)
    }
}
