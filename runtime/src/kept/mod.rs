//! Compiled kernels that outlive the process that compiled them.
//!
//! Between a kernel and its first launch lies a compiler: NVRTC takes a second for a large kernel, `CubeCL`'s own translation to
//! SPIR-V a tenth of one. `CubeCL` 0.10 can keep what they make (PTX, SPIR-V; never WGSL, of which a Vulkan driver keeps its own
//! translation). But it finds a kernel again by its name and arguments alone, shares one file between processes, trusts what it
//! reads there, and panics where the file cannot be read or written. So it is never given that file:
//!
//! * Each device has a file of its own in the folder, named by a digest of the program, the device and its compilers. Another build,
//!   another GPU or another NVRTC finds another file: what is found cannot be stale.
//! * A device that is opened gets a copy in memory ([`work`]). `CubeCL` reads it and adds to it, and meets no disk that is full
//!   and no other process.
//! * [`save_kernels`] appends what was added to the file, under a lock, replaces it whole, and removes the files that were not used
//!   for longest where the folder has grown beyond its bound ([`store`]). A digest in front of the content tells damage; a damaged
//!   file counts as empty.
//!
//! Nothing that goes wrong here is an error of anything else: kernels are compiled then, and [`KeptKernels::trouble`] tells why.
//! Only Linux has the copy in memory; elsewhere nothing is kept.

#[cfg(target_os = "linux")]
mod identity;
#[cfg(target_os = "linux")]
mod store;
#[cfg(target_os = "linux")]
mod work;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::gpu::Door;

/// What is kept for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeptKernels {
    /// The device, as it was told from others.
    pub device: String,
    /// How many this process has added to it so far.
    pub added: usize,
    /// Why nothing is kept, or was not saved.
    pub trouble: Option<String>,
}

/// Where kernels are kept, and for which devices.
struct Keeping {
    folder: PathBuf,
    bound: u64,
    devices: Vec<(Door, Kept)>,
}

struct Kept {
    told: KeptKernels,
    #[cfg(target_os = "linux")]
    copy: Option<work::InMemory>,
}

/// One for the process, as `CubeCL` has one server for each device of a process.
static KEEPING: Mutex<Option<Keeping>> = Mutex::new(None);

/// Keeps the kernels of devices that are opened from now on in `folder`, whose files have at most `bound` bytes together.
///
/// A device that this process has opened before is left as it is. The folder is made when there is something to save. Where the
/// program's `cubecl.toml` names a cache, that one is used.
pub fn keep_kernels(folder: impl Into<PathBuf>, bound: u64) {
    let folder = folder.into();
    let mut keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    match keeping.as_mut() {
        Some(known) => (known.folder, known.bound) = (folder, bound),
        None => {
            *keeping = Some(Keeping {
                folder,
                bound,
                devices: Vec::new(),
            });
        }
    }
}

/// Saves what was compiled since the last call, and tells what is kept of each device. A call that finds nothing new costs a look
/// at each device's copy.
pub fn save_kernels() -> Vec<KeptKernels> {
    let mut keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(keeping) = keeping.as_mut() else {
        return Vec::new();
    };
    let told = keeping.devices.iter_mut().map(|(_, kept)| {
        #[cfg(target_os = "linux")]
        if let Some(copy) = &mut kept.copy {
            match copy.save(&keeping.folder, keeping.bound) {
                Ok(added) => {
                    kept.told.added += added;
                    kept.told.trouble = None;
                }
                Err(error) => kept.told.trouble = Some(error.to_string()),
            }
        }
        kept.told.clone()
    });
    told.collect()
}

/// In which language a device's compiled kernels are kept: the first two folders of their path, as `CubeCL` has them.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn language(door: &Door) -> Option<[&'static str; 2]> {
    match *door {
        #[cfg(feature = "vulkan")]
        Door::Spirv(_) => Some(["vulkan", "spirv"]),
        #[cfg(feature = "cuda")]
        Door::Cuda(_) => Some(["cuda", "ptx"]),
        _ => None,
    }
}

/// Opens a device, with its kernels if they are kept. `device` names its hardware and everything that compiles for it, with
/// versions.
pub(crate) fn with_kernels<T>(door: &Door, device: &str, open: impl FnOnce() -> T) -> T {
    let mut keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(keeping) = keeping.as_mut() else {
        return open();
    };
    let known = keeping.devices.iter().any(|(it, _)| it == door);
    let Some(language) = language(door).filter(|_| !known) else {
        return open();
    };
    let (kept, opened) = opened(language, device, keeping, open);
    keeping.devices.push((door.clone(), kept));
    opened
}

#[cfg(target_os = "linux")]
fn opened<T>(
    language: [&'static str; 2],
    device: &str,
    keeping: &Keeping,
    open: impl FnOnce() -> T,
) -> (Kept, T) {
    let copy = identity::of(device)
        .map(|identity| work::InMemory::of(&keeping.folder, &identity))
        .and_then(|copy| work::Room::for_copy(copy?, language));
    let mut told = KeptKernels {
        device: device.into(),
        ..KeptKernels::default()
    };
    match copy {
        Ok(room) => {
            let (copy, opened) = room.while_open(open);
            let copy = Some(copy);
            (Kept { told, copy }, opened)
        }
        Err(error) => {
            told.trouble = Some(error.to_string());
            (Kept { told, copy: None }, open())
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn opened<T>(
    _: [&'static str; 2],
    device: &str,
    _: &Keeping,
    open: impl FnOnce() -> T,
) -> (Kept, T) {
    let told = KeptKernels {
        device: device.into(),
        trouble: Some("only on Linux are compiled kernels kept".into()),
        ..KeptKernels::default()
    };
    (Kept { told }, open())
}
