//! How a device is named on a command line and in a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names one device of this machine.
///
/// Written and parsed as `auto`, `cuda:N`, `wgpu:N`, `wgpu:cpu`, `vulkan:N` or `vulkan:cpu`, also in
/// serialised form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// The first CUDA device, else the first GPU through wgpu, else the software driver.
    #[default]
    Auto,
    /// The CUDA device with this index, as CUDA counts them.
    Cuda(usize),
    /// The wgpu GPU with this index, given WGSL: discrete GPUs first, then integrated, then virtual
    /// ones.
    Wgpu(usize),
    /// The driver that computes on the CPU, such as Mesa's lavapipe, given WGSL.
    Software,
    /// The GPU that [`Selector::Wgpu`] of this index names, given SPIR-V through Vulkan.
    Vulkan(usize),
    /// The driver that computes on the CPU, given SPIR-V through Vulkan.
    VulkanSoftware,
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "parsing a device selector: found `{found}`, expected one of `auto`, `cuda:N`, `wgpu:N`, \
     `vulkan:N` (N counts from 0), `wgpu:cpu` or `vulkan:cpu`; the survey of devices lists the ones that exist here"
)]
pub struct ParseSelectorError {
    /// The text that was given.
    pub found: String,
}

impl Selector {
    /// Whether it names a driver that computes on the CPU.
    #[cfg(feature = "wgpu")]
    pub(crate) fn is_software(self) -> bool {
        matches!(self, Selector::Software | Selector::VulkanSoftware)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // `pad` instead of `write_str`, so that a column width works.
            Selector::Auto => f.pad("auto"),
            Selector::Cuda(index) => f.pad(&format!("cuda:{index}")),
            Selector::Wgpu(index) => f.pad(&format!("wgpu:{index}")),
            Selector::Software => f.pad("wgpu:cpu"),
            Selector::Vulkan(index) => f.pad(&format!("vulkan:{index}")),
            Selector::VulkanSoftware => f.pad("vulkan:cpu"),
        }
    }
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseSelectorError {
            found: text.to_owned(),
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Selector::Auto),
            Some(("wgpu", "cpu")) => Ok(Selector::Software),
            Some(("vulkan", "cpu")) => Ok(Selector::VulkanSoftware),
            Some(("cuda", digits)) => index(digits).map(Selector::Cuda).ok_or_else(error),
            Some(("wgpu", digits)) => index(digits).map(Selector::Wgpu).ok_or_else(error),
            Some(("vulkan", digits)) => index(digits).map(Selector::Vulkan).ok_or_else(error),
            _ => Err(error()),
        }
    }
}

/// Only digits: `usize::from_str` would also take `+1`, which does not print back the same.
fn index(digits: &str) -> Option<usize> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl TryFrom<String> for Selector {
    type Error = ParseSelectorError;

    fn try_from(text: String) -> Result<Self, ParseSelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}
