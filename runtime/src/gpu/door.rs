//! Which device of which backend, as `CubeCL` numbers them.

use cubecl::device::{Device, DeviceId};
#[cfg(feature = "wgpu")]
use cubecl::wgpu::WgpuDevice;

use crate::recorder::Language;

/// A device of any backend. `CubeCL` keeps one server, on one thread, for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// A wgpu adapter that is given WGSL.
    #[cfg(feature = "wgpu")]
    Wgsl(WgpuDevice),
    /// A Vulkan adapter that is given SPIR-V.
    #[cfg(feature = "vulkan")]
    Spirv(WgpuDevice),
    /// The CUDA device of this index.
    #[cfg(feature = "cuda")]
    Cuda(u16),
    /// No hardware: what is launched is recorded in this language. The number is the recording's.
    Recording(Language, u16),
}

#[cfg(feature = "wgpu")]
const WGSL: u16 = 1 << 8;
#[cfg(feature = "vulkan")]
const SPIRV: u16 = 2 << 8;
#[cfg(feature = "cuda")]
const CUDA: u16 = 3 << 8;
const RECORDING: u16 = 4 << 8;
/// The part of a type's number that tells its kind; the rest is the kind's own.
const KIND: u16 = 0xff00;

// `CubeCL` makes a device of its number, and asks for its default.
impl Default for Door {
    fn default() -> Self {
        Door::Recording(Language::ALL[0], 0)
    }
}

impl Device for Door {
    fn from_id(id: DeviceId) -> Self {
        let own = id.type_id & !KIND;
        #[cfg(feature = "wgpu")]
        let adapter = || WgpuDevice::from_id(DeviceId::new(own, id.index_id));
        match id.type_id & KIND {
            #[cfg(feature = "wgpu")]
            WGSL => Door::Wgsl(adapter()),
            #[cfg(feature = "vulkan")]
            SPIRV => Door::Spirv(adapter()),
            #[cfg(feature = "cuda")]
            CUDA => Door::Cuda(id.index_id),
            // No other number is ever given out.
            _ => Door::Recording(Language::ALL[usize::from(own)], id.index_id),
        }
    }

    fn to_id(&self) -> DeviceId {
        match *self {
            #[cfg(feature = "wgpu")]
            Door::Wgsl(ref device) => within(WGSL, device),
            #[cfg(feature = "vulkan")]
            Door::Spirv(ref device) => within(SPIRV, device),
            #[cfg(feature = "cuda")]
            Door::Cuda(index) => DeviceId::new(CUDA, index),
            Door::Recording(language, number) => {
                DeviceId::new(RECORDING | language.number(), number)
            }
        }
    }
}

#[cfg(feature = "wgpu")]
fn within(kind: u16, device: &WgpuDevice) -> DeviceId {
    let id = device.to_id();
    DeviceId::new(kind | id.type_id, id.index_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_found_by_its_number() {
        let mut doors: Vec<Door> = Language::ALL
            .iter()
            .map(|&it| Door::Recording(it, 7))
            .collect();
        #[cfg(feature = "wgpu")]
        doors.extend([
            Door::Wgsl(WgpuDevice::Cpu),
            Door::Wgsl(WgpuDevice::DiscreteGpu(2)),
        ]);
        #[cfg(feature = "vulkan")]
        doors.extend([
            Door::Spirv(WgpuDevice::Cpu),
            Door::Spirv(WgpuDevice::DiscreteGpu(2)),
        ]);
        #[cfg(feature = "cuda")]
        doors.push(Door::Cuda(2));
        for (i, door) in doors.iter().enumerate() {
            assert_eq!(Door::from_id(door.to_id()), *door);
            assert!(doors[..i].iter().all(|other| other.to_id() != door.to_id()));
        }
    }
}
