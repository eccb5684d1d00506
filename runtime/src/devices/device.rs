//! Opening a device.

use std::fmt;

#[cfg(not(all(feature = "wgpu", feature = "vulkan", feature = "cuda")))]
use crate::Missing;
use crate::{Client, DeviceInfo, Error, Selector, Sought};

/// An opened device.
#[derive(Clone)]
pub struct Device {
    /// What kernels are launched with and buffers are made by.
    pub client: Client,
    /// What the device is.
    pub info: DeviceInfo,
}

// By hand, as `CubeCL`'s client has no `Debug`.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Opens one device.
///
/// [`Selector::Auto`] takes the first CUDA device, else the first GPU through wgpu, else the software
/// driver, both of them in WGSL. It passes over a kind of device only where there is none: a device
/// that exists and cannot be opened is an error, not a reason to compute a hundred times slower
/// somewhere else.
///
/// Opening the same device again gives another client of the same device.
///
/// # Errors
///
/// [`Error::NoDevice`] (with what to install), [`Error::OutOfRange`], [`Error::Refused`] and
/// [`Error::Silent`]. It does not panic, whatever is missing.
pub fn open(selector: Selector) -> Result<Device, Error> {
    match selector {
        Selector::Auto => open_first(),
        Selector::Cuda(index) => open_cuda(index),
        Selector::Wgpu(_) => open_wgpu(selector, Sought::WgpuGpu),
        Selector::Software => open_wgpu(selector, Sought::SoftwareDriver),
        Selector::Vulkan(_) => open_vulkan(selector, Sought::WgpuGpu),
        Selector::VulkanSoftware => open_vulkan(selector, Sought::SoftwareDriver),
    }
}

fn open_first() -> Result<Device, Error> {
    let mut absent = Vec::new();
    for selector in [Selector::Cuda(0), Selector::Wgpu(0), Selector::Software] {
        match open(selector) {
            Err(Error::NoDevice { missing, .. }) => absent.extend(missing),
            opened_or_broken => return opened_or_broken,
        }
    }
    Err(Error::NoDevice {
        selector: Selector::Auto,
        missing: absent,
    })
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, Error> {
    super::cuda::open_index(index)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device, Error> {
    Err(Error::NoDevice {
        selector: Selector::Cuda(index),
        missing: vec![Missing::not_built(Sought::Cuda, "cuda")],
    })
}

#[cfg(feature = "wgpu")]
fn open_wgpu(selector: Selector, kind: Sought) -> Result<Device, Error> {
    super::adapters::open_selected(selector, kind)
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu(selector: Selector, kind: Sought) -> Result<Device, Error> {
    Err(Error::NoDevice {
        selector,
        missing: vec![Missing::not_built(kind, "wgpu")],
    })
}

#[cfg(feature = "vulkan")]
fn open_vulkan(selector: Selector, kind: Sought) -> Result<Device, Error> {
    super::adapters::open_selected(selector, kind)
}

#[cfg(not(feature = "vulkan"))]
fn open_vulkan(selector: Selector, kind: Sought) -> Result<Device, Error> {
    Err(Error::NoDevice {
        selector,
        missing: vec![Missing::not_built(kind, "vulkan")],
    })
}
