//! NVIDIA GPUs through CUDA.
//!
//! `CubeCL` loads the driver, NVRTC and the CUDA headers when it first needs them and panics where
//! one is absent, the headers only at the first launch. So all three are looked for here first.

use std::ffi::c_int;

use cubecl::Runtime;
use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, result::device};

use crate::gpu::Door;
use crate::guard::{Failure, PATIENCE, guarded};
use crate::kept::with_kernels;
use crate::{
    Backend, Device, DeviceInfo, Error, Gpu, LookedFor, Missing, Processor, Profile, Selector,
    Sought, Survey,
};

/// A CUDA device before it is opened.
struct Card {
    index: usize,
    name: String,
    memory_bytes: Option<u64>,
    /// For what NVRTC compiles, and with which headers.
    architecture: String,
    driver: String,
}

/// Adds the CUDA devices, or why there are none, to `survey`.
pub(crate) fn survey(survey: &mut Survey) {
    match cards() {
        Ok(cards) => {
            for card in cards {
                match open(card) {
                    Ok(opened) => survey.devices.push(opened.info),
                    Err(error) => survey.missing.push(unusable(error.to_string(), Vec::new())),
                }
            }
        }
        Err(missing) => survey.missing.push(missing),
    }
}

/// Opens the CUDA device with this index.
pub(crate) fn open_index(index: usize) -> Result<Device, Error> {
    let selector = Selector::Cuda(index);
    let mut cards = cards().map_err(|missing| Error::NoDevice {
        selector,
        missing: vec![missing],
    })?;
    if index >= cards.len() {
        return Err(Error::OutOfRange {
            selector,
            found: cards.len(),
        });
    }
    open(cards.swap_remove(index))
}

fn open(card: Card) -> Result<Device, Error> {
    let id = Selector::Cuda(card.index);
    // Nobody has more cards than `u16` counts.
    let door = Door::Cuda(card.index as u16);
    let compiler = format!("{}, {}, {}", card.name, card.architecture, card.driver);
    let opened = with_kernels(&door.clone(), &compiler, || {
        guarded(move || Gpu::client(&door))
    });
    let client = match opened {
        Ok(client) => client,
        Err(Failure::Panicked(reason)) => {
            return Err(Error::Refused {
                selector: id,
                name: card.name,
                reason,
            });
        }
        Err(Failure::Silent) => {
            return Err(Error::Silent {
                selector: id,
                name: card.name,
                waited: PATIENCE,
            });
        }
    };
    let properties = client.properties();
    let info = DeviceInfo {
        id,
        name: card.name,
        backend: Backend::Cuda,
        processor: Processor::Gpu,
        profile: Profile::GPU,
        driver: card.driver,
        memory_bytes: card.memory_bytes,
        max_buffer_bytes: properties.memory.max_page_size,
        plane: (
            properties.hardware.plane_size_min,
            properties.hardware.plane_size_max,
        ),
        formats: super::formats::all(properties),
    };
    Ok(Device { client, info })
}

/// The CUDA devices, at least one, or why there is none that kernels could run on.
fn cards() -> Result<Vec<Card>, Missing> {
    match guarded(look) {
        Ok(result) => result,
        Err(failure) => Err(unusable(failure.reason(), Vec::new())),
    }
}

/// Whether NVRTC will find this header. A text that multiplies by matrix units takes in `crt/mma.h`, which comes with the compiler's
/// headers (package `cuda-crt`, or the Python package `nvidia-cuda-nvcc`); without it the device counts as one without such units.
pub(crate) fn has_header(name: &str) -> bool {
    cubecl::cuda::install::cuda_path().is_some_and(|path| path.join("include").join(name).is_file())
}

fn look() -> Result<Vec<Card>, Missing> {
    // SAFETY: loads the NVIDIA driver's library by its name, which runs its initialisers; that is
    // what any program does that uses CUDA, and no function of it is called here.
    let driver = unsafe { cudarc::driver::sys::is_culib_present() };
    // SAFETY: as above, for NVIDIA's run-time compiler.
    let nvrtc = unsafe { cudarc::nvrtc::sys::is_culib_present() };
    let headers = has_header("cuda_runtime.h");
    let looked_for = vec![
        LookedFor::new("libcuda.so.1 (the NVIDIA driver)", driver),
        LookedFor::new("libnvrtc.so (the CUDA run-time compiler)", nvrtc),
        LookedFor::new(
            "include/cuda_runtime.h under CUDA_PATH, else /usr/local/cuda, /opt/cuda or /usr",
            headers,
        ),
    ];
    if !(driver && nvrtc && headers) {
        return Err(absent(driver, nvrtc, headers, looked_for));
    }

    let count = CudaContext::device_count()
        .map_err(|error| unusable(format!("the driver says {error}"), looked_for.clone()))?;
    if count <= 0 {
        return Err(unusable("the driver lists no device".into(), looked_for));
    }
    let driver = versions();
    Ok((0..count)
        .map(|index| card(index, driver.clone()))
        .collect())
}

fn card(index: c_int, driver: String) -> Card {
    let handle = device::get(index).ok();
    Card {
        index: usize::try_from(index).unwrap_or_default(),
        name: handle
            .and_then(|handle| device::get_name(handle).ok())
            .unwrap_or_else(|| format!("CUDA device {index}")),
        // SAFETY: the handle comes from `cuDeviceGet` after a successful `cuInit`.
        memory_bytes: handle
            .and_then(|handle| unsafe { device::total_mem(handle) }.ok())
            .map(|bytes| bytes as u64),
        architecture: architecture(handle),
        driver,
    }
}

/// The compute capability, and where the headers are that NVRTC reads.
fn architecture(handle: Option<c_int>) -> String {
    let part = |attribute| {
        // SAFETY: the handle comes from `cuDeviceGet` after a successful `cuInit`.
        let read = handle.map(|handle| unsafe { device::get_attribute(handle, attribute) });
        read.and_then(Result::ok).unwrap_or_default()
    };
    let headers = cubecl::cuda::install::cuda_path().unwrap_or_default();
    format!(
        "sm_{}{}, headers in {}",
        part(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        part(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        headers.display()
    )
}

/// Both versions, as an NVRTC newer than the driver makes code that the driver cannot load.
fn versions() -> String {
    let mut api: c_int = 0;
    let mut major: c_int = 0;
    let mut minor: c_int = 0;
    // SAFETY: writes one integer through a pointer to a live one; the driver was found and loaded.
    let _ = unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut api) };
    // SAFETY: writes two integers through pointers to live ones; NVRTC was found and loaded.
    let _ = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    format!(
        "CUDA {}.{}, NVRTC {major}.{minor}",
        api / 1000,
        api % 1000 / 10
    )
}

fn absent(driver: bool, nvrtc: bool, headers: bool, looked_for: Vec<LookedFor>) -> Missing {
    let parts = [
        (
            driver,
            "the NVIDIA driver",
            "install the NVIDIA driver for the GPU",
        ),
        (
            nvrtc,
            "the CUDA run-time compiler",
            "install NVRTC (part of the CUDA toolkit, package `cuda-nvrtc`; or the Python package \
             `nvidia-cuda-nvrtc` with its `lib` folder on LD_LIBRARY_PATH)",
        ),
        (
            headers,
            "the CUDA headers",
            "install the CUDA headers (part of the CUDA toolkit, package `cuda-cudart-dev`; or the \
             Python package `nvidia-cuda-runtime`) and set CUDA_PATH to the folder that holds \
             `include`",
        ),
    ];
    let lacking = parts.iter().filter(|(found, ..)| !found);
    let names: Vec<&str> = lacking.clone().map(|(_, name, _)| *name).collect();
    let advice: Vec<&str> = lacking.map(|(.., advice)| *advice).collect();
    Missing {
        kind: Sought::Cuda,
        reason: format!("this machine lacks {}", names.join(", ")),
        looked_for,
        advice: advice.join("; "),
    }
}

fn unusable(reason: String, looked_for: Vec<LookedFor>) -> Missing {
    Missing {
        kind: Sought::Cuda,
        reason,
        looked_for,
        advice:
            "see whether `nvidia-smi` lists the GPU; if it does, update the driver to one that \
                 supports this CUDA version, else load the driver or make the GPU visible (to a \
                 container, or in CUDA_VISIBLE_DEVICES)"
                .into(),
    }
}
