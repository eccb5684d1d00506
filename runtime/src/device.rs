//! Opening a device and running generic code on it.

use std::fmt;

use cubecl::Runtime;
use cubecl::client::ComputeClient;

#[cfg(any(not(feature = "wgpu"), not(feature = "cuda")))]
use crate::Missing;
use crate::{DeviceInfo, Error, Selector, Sought};

/// An opened device of a runtime known to the compiler.
#[derive(Clone)]
pub struct Opened<R: Runtime> {
    /// What kernels are launched with and buffers are made by.
    pub client: ComputeClient<R>,
    /// What the device is.
    pub info: DeviceInfo,
}

// By hand, as `CubeCL`'s client has no `Debug`.
impl<R: Runtime> fmt::Debug for Opened<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// An opened device of whichever runtime was asked for.
///
/// Which variants exist depends on this crate's features; [`Device::accept`] covers them all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// Through wgpu.
    #[cfg(feature = "wgpu")]
    Wgpu(Opened<cubecl::wgpu::WgpuRuntime>),
    /// Through CUDA.
    #[cfg(feature = "cuda")]
    Cuda(Opened<cubecl::cuda::CudaRuntime>),
}

/// Something to do with a device, written once for every runtime.
///
/// A trait instead of a closure, as no closure is generic over the runtime.
pub trait DeviceVisitor {
    /// What it returns.
    type Output;

    /// Does it on `device`.
    fn visit<R: Runtime>(self, device: Opened<R>) -> Self::Output;
}

impl Device {
    /// Runs `visitor` with the runtime behind this device.
    pub fn accept<V: DeviceVisitor>(self, visitor: V) -> V::Output {
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        let _ = visitor;
        match self {
            #[cfg(feature = "wgpu")]
            Device::Wgpu(opened) => visitor.visit(opened),
            #[cfg(feature = "cuda")]
            Device::Cuda(opened) => visitor.visit(opened),
        }
    }

    /// What the device is.
    pub fn info(&self) -> &DeviceInfo {
        match *self {
            #[cfg(feature = "wgpu")]
            Device::Wgpu(ref opened) => &opened.info,
            #[cfg(feature = "cuda")]
            Device::Cuda(ref opened) => &opened.info,
        }
    }
}

/// Opens one device.
///
/// [`Selector::Auto`] takes the first CUDA device, else the first GPU through wgpu, else the software
/// driver. It passes over a kind of device only where there is none: a device that exists and cannot
/// be opened is an error, not a reason to compute a hundred times slower somewhere else.
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
    crate::cuda::open_index(index).map(Device::Cuda)
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
    crate::adapters::open_selected(selector, kind).map(Device::Wgpu)
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu(selector: Selector, kind: Sought) -> Result<Device, Error> {
    Err(Error::NoDevice {
        selector,
        missing: vec![Missing::not_built(kind, "wgpu")],
    })
}
