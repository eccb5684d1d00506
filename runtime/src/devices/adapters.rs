//! Adapters through wgpu: GPUs and software drivers.

use cubecl::Runtime;
#[cfg(feature = "vulkan")]
use cubecl::features::Plane;
use cubecl::future::block_on;
use cubecl::wgpu::{AutoGraphicsApi, GraphicsApi, WgpuDevice};
use wgpu::DeviceType;

use crate::gpu::Door;
use crate::guard::{Failure, PATIENCE, guarded};
use crate::kept::with_kernels;
use crate::{
    Backend, Device, DeviceInfo, Error, Gpu, LookedFor, Missing, Processor, Profile, Selector,
    Sought, Survey,
};

/// The library through which every Vulkan driver is found; macOS needs none.
const LOADER: Option<&str> = if cfg!(target_vendor = "apple") {
    None
} else if cfg!(windows) {
    Some("vulkan-1.dll")
} else {
    Some("libvulkan.so.1")
};

/// An adapter before it is opened.
#[derive(Clone)]
struct Adapter {
    selector: Selector,
    door: Door,
    name: String,
    driver: String,
}

impl Adapter {
    /// The same hardware, given SPIR-V; `None` where that is not for this program or this system.
    #[cfg(feature = "vulkan")]
    fn given_spirv(&self) -> Option<Self> {
        let Door::Wgsl(ref device) = self.door else {
            return None;
        };
        let selector = match self.selector {
            Selector::Wgpu(index) => Selector::Vulkan(index),
            _ => Selector::VulkanSoftware,
        };
        (AutoGraphicsApi::backend() == wgpu::Backend::Vulkan).then(|| Self {
            selector,
            door: Door::Spirv(device.clone()),
            ..self.clone()
        })
    }

    #[cfg(not(feature = "vulkan"))]
    fn given_spirv(&self) -> Option<Self> {
        None
    }

    /// This adapter as `selector` names it, if it does.
    fn named(&self, selector: Selector) -> Option<Self> {
        let given = if self.selector == selector {
            Some(self.clone())
        } else {
            self.given_spirv()
        };
        given.filter(|it| it.selector == selector)
    }
}

/// Everything that wgpu lists here.
struct Listing {
    /// The GPUs in the order of [`Selector::Wgpu`], then the software driver if there is one; all of
    /// them to be given WGSL.
    adapters: Vec<Adapter>,
    /// Whether the Vulkan loader is here; `true` where none is needed.
    loader: bool,
}

/// Adds the adapters, and the kinds of which there are none, to `survey`.
pub(crate) fn survey(survey: &mut Survey) {
    let kinds = [Sought::WgpuGpu, Sought::SoftwareDriver];
    let listing = match guarded(list) {
        Ok(listing) => listing,
        Err(failure) => {
            let broken = kinds.map(|kind| unusable(kind, failure.reason()));
            return survey.missing.extend(broken);
        }
    };
    for kind in kinds {
        if listing.of(kind).next().is_none() {
            survey.missing.push(listing.missing(kind));
        }
        let wgsl = listing.of(kind).cloned();
        let spirv = listing.of(kind).filter_map(Adapter::given_spirv);
        for adapter in wgsl.chain(spirv) {
            match open(&adapter) {
                Ok(opened) => survey.devices.push(opened.info),
                Err(error) => survey.missing.push(unusable(kind, error.to_string())),
            }
        }
    }
}

/// Opens the adapter that `selector` names among those of `kind`.
pub(crate) fn open_selected(selector: Selector, kind: Sought) -> Result<Device, Error> {
    let absent = |missing| Error::NoDevice {
        selector,
        missing: vec![missing],
    };
    let listing = guarded(list).map_err(|failure| absent(unusable(kind, failure.reason())))?;
    let found = listing.of(kind).count();
    if found == 0 {
        return Err(absent(listing.missing(kind)));
    }
    match listing.of(kind).find_map(|it| it.named(selector)) {
        Some(adapter) => open(&adapter),
        None => Err(Error::OutOfRange { selector, found }),
    }
}

fn open(adapter: &Adapter) -> Result<Device, Error> {
    let selector = adapter.selector;
    let name = adapter.name.clone();
    let door = adapter.door.clone();
    let compiler = format!("{name}, {}", adapter.driver);
    let opened = with_kernels(&adapter.door, &compiler, || {
        guarded(move || Gpu::client(&door))
    });
    let client = match opened {
        Ok(client) => client,
        Err(Failure::Panicked(reason)) => {
            return Err(Error::Refused {
                selector,
                name,
                reason,
            });
        }
        Err(Failure::Silent) => {
            return Err(Error::Silent {
                selector,
                name,
                waited: PATIENCE,
            });
        }
    };
    let properties = client.properties();
    #[cfg(feature = "vulkan")]
    if matches!(adapter.door, Door::Spirv(_)) && !takes_spirv(properties) {
        return Err(Error::Refused {
            selector,
            name,
            reason: "the driver lacks a feature of Vulkan that SPIR-V needs".into(),
        });
    }
    let info = DeviceInfo {
        id: selector,
        name,
        backend: match adapter.door {
            #[cfg(feature = "vulkan")]
            Door::Spirv(_) => Backend::WgpuSpirv,
            _ => Backend::WgpuWgsl,
        },
        processor: if selector.is_software() {
            Processor::Cpu
        } else {
            Processor::Gpu
        },
        profile: if selector.is_software() {
            Profile::of_software(&adapter.driver)
        } else {
            Profile::GPU
        },
        driver: adapter.driver.clone(),
        memory_bytes: None,
        max_buffer_bytes: properties.memory.max_page_size,
        plane: (
            properties.hardware.plane_size_min,
            properties.hardware.plane_size_max,
        ),
        formats: super::formats::all(properties),
    };
    Ok(Device { client, info })
}

/// `CubeCL` falls back on WGSL without a word where the driver lacks something. Only with SPIR-V it
/// offers to synchronise a plane.
#[cfg(feature = "vulkan")]
fn takes_spirv(properties: &cubecl::ir::DeviceProperties) -> bool {
    properties.features.plane.contains(Plane::Sync)
}

/// Asks wgpu exactly as `CubeCL` does, so that its n-th adapter of a type is ours.
fn list() -> Listing {
    let loader = LOADER.is_none_or(loads);
    if !loader {
        return Listing {
            adapters: Vec::new(),
            loader,
        };
    }
    let backend = AutoGraphicsApi::backend();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let infos: Vec<wgpu::AdapterInfo> = block_on(instance.enumerate_adapters(backend.into()))
        .iter()
        .map(wgpu::Adapter::get_info)
        .collect();

    let mut adapters = Vec::new();
    let mut take = |kind: DeviceType, device: fn(usize) -> WgpuDevice| {
        for (i, info) in infos.iter().filter(|it| it.device_type == kind).enumerate() {
            adapters.push(Adapter {
                selector: Selector::Wgpu(adapters.len()),
                door: Door::Wgsl(device(i)),
                name: info.name.clone(),
                driver: driver(info),
            });
        }
    };
    // CubeCL has no name of its own for `DeviceType::Other`, so such adapters are left out.
    take(DeviceType::DiscreteGpu, WgpuDevice::DiscreteGpu);
    take(DeviceType::IntegratedGpu, WgpuDevice::IntegratedGpu);
    take(DeviceType::VirtualGpu, WgpuDevice::VirtualGpu);
    // `WgpuDevice::Cpu` has no index and means the first one.
    if let Some(info) = infos.iter().find(|it| it.device_type == DeviceType::Cpu) {
        adapters.push(Adapter {
            selector: Selector::Software,
            door: Door::Wgsl(WgpuDevice::Cpu),
            name: info.name.clone(),
            driver: driver(info),
        });
    }
    Listing { adapters, loader }
}

fn loads(library: &str) -> bool {
    // SAFETY: loads the Vulkan loader by its name, which runs its initialisers; wgpu does the same
    // right after, and no function of it is called here.
    unsafe { libloading::Library::new(library) }.is_ok()
}

fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info)
        .trim()
        .to_owned()
}

impl Listing {
    fn of(&self, kind: Sought) -> impl Iterator<Item = &Adapter> {
        let software = kind == Sought::SoftwareDriver;
        self.adapters
            .iter()
            .filter(move |adapter| adapter.selector.is_software() == software)
    }

    fn missing(&self, kind: Sought) -> Missing {
        let software = kind == Sought::SoftwareDriver;
        let types = if software {
            "an adapter of type CPU"
        } else {
            "an adapter of type discrete, integrated or virtual GPU"
        };
        let listed = match self.adapters.len() {
            0 => "there is no adapter".to_owned(),
            1 => format!("the only adapter is {}", self.adapters[0].name),
            n => format!("none of the {n} adapters is one"),
        };
        let mut looked_for: Vec<LookedFor> = LOADER
            .map(|library| LookedFor::new(format!("{library} (the Vulkan loader)"), self.loader))
            .into_iter()
            .collect();
        looked_for.push(LookedFor::new(types, false));

        let reason = match LOADER {
            Some(library) if !self.loader => {
                format!("this machine lacks the Vulkan loader {library}")
            }
            Some(_) => format!("the Vulkan loader lists none: {listed}"),
            None => format!("the system lists none: {listed}"),
        };
        let install = if !self.loader {
            "install the Vulkan loader (package `libvulkan1`, `vulkan-loader` on Fedora, \
             `vulkan-icd-loader` on Arch) and "
        } else {
            "install "
        };
        let what = if software {
            "Mesa's lavapipe (package `mesa-vulkan-drivers`, `vulkan-swrast` on Arch)"
        } else {
            "the GPU's Vulkan driver (AMD and Intel: package `mesa-vulkan-drivers`; NVIDIA: its \
             driver with the Vulkan part)"
        };
        Missing {
            kind,
            reason,
            looked_for,
            advice: format!(
                "{install}{what}; if VK_DRIVER_FILES or VK_ICD_FILENAMES is set, it must name an \
                 existing driver file"
            ),
        }
    }
}

fn unusable(kind: Sought, reason: String) -> Missing {
    Missing {
        kind,
        reason,
        looked_for: Vec::new(),
        advice: "update the Vulkan driver and see whether `vulkaninfo --summary` works".into(),
    }
}
