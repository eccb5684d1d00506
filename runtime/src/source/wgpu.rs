//! WGSL and SPIR-V as `CubeCL`'s wgpu runtime gives them to the driver.
//!
//! An adapter reports what it likes; the properties here are what GPUs of the last ten years have in
//! common, so that a recorded text runs on all of them.

use cubecl::WgpuCompilationOptions;
use cubecl::features::{AtomicUsage, Plane, TypeUsage};
use cubecl::ir::{
    AddressType, DeviceProperties, ElemType, FloatKind, HardwareProperties, IntKind,
    MemoryDeviceProperties, StorageType, Type, UIntKind,
};
use cubecl::profile::TimingMethod;
use cubecl::wgpu::{AutoCompiler, AutoRepresentation, WgpuRuntime};
use cubecl_runtime::allocator::ContiguousMemoryLayoutPolicy;

use super::declarations;
use super::language::Language;

/// WGSL.
#[derive(Clone, Copy, Debug)]
pub struct Wgsl;

impl Language for Wgsl {
    type Like = WgpuRuntime;
    type Layout = ContiguousMemoryLayoutPolicy;

    const NAME: &'static str = "WGSL";
    const RUNTIME: &'static str = "wgpu<wgsl>";
    const BY_VALUE: bool = false;

    fn properties() -> DeviceProperties {
        let mut properties = common();
        let flex = ElemType::Float(FloatKind::Flex32);
        properties.register_type_usage(flex, TypeUsage::all());
        for ty in [ElemType::Int(IntKind::I32), ElemType::UInt(UIntKind::U32)] {
            properties.register_atomic_type_usage(
                Type::new(StorageType::Atomic(ty)),
                AtomicUsage::LoadStore | AtomicUsage::Add,
            );
        }
        properties
    }

    fn options() -> WgpuCompilationOptions {
        WgpuCompilationOptions::default()
    }

    fn compiler() -> AutoCompiler {
        AutoCompiler::Wgsl(Default::default())
    }

    fn layout(alignment: usize) -> Self::Layout {
        ContiguousMemoryLayoutPolicy::new(alignment)
    }

    fn shared_bytes(compiled: &AutoRepresentation) -> usize {
        shared_bytes(compiled)
    }

    fn settled(text: String) -> String {
        declarations::sorted(&text)
    }
}

/// SPIR-V, disassembled. Its numbers differ from run to run.
#[cfg(feature = "vulkan")]
#[derive(Clone, Copy, Debug)]
pub struct Spirv;

#[cfg(feature = "vulkan")]
impl Language for Spirv {
    type Like = WgpuRuntime;
    type Layout = ContiguousMemoryLayoutPolicy;

    const NAME: &'static str = "SPIR-V";
    const RUNTIME: &'static str = "wgpu<spirv>";
    const BY_VALUE: bool = false;

    fn properties() -> DeviceProperties {
        let mut properties = common();
        for ty in [
            ElemType::Int(IntKind::I64),
            ElemType::UInt(UIntKind::U64),
            ElemType::Int(IntKind::I16),
            ElemType::UInt(UIntKind::U16),
        ] {
            properties.register_type_usage(ty, TypeUsage::all());
        }
        for ty in [ElemType::Int(IntKind::I32), ElemType::UInt(UIntKind::U32)] {
            let ty = Type::new(StorageType::Atomic(ty));
            properties.register_atomic_type_usage(ty, AtomicUsage::all());
        }
        properties
            .features
            .plane
            .insert_all(Plane::Sync | Plane::NonUniformControlFlow);
        properties
    }

    fn options() -> WgpuCompilationOptions {
        let mut options = WgpuCompilationOptions {
            supports_u64: true,
            supports_vulkan: true,
            ..Default::default()
        };
        // What Vulkan 1.3 promises.
        options.vulkan.max_spirv_version = (1, 6);
        options.vulkan.supports_uniform_standard_layout = true;
        options
    }

    fn compiler() -> AutoCompiler {
        AutoCompiler::SpirV(Default::default())
    }

    fn layout(alignment: usize) -> Self::Layout {
        ContiguousMemoryLayoutPolicy::new(alignment)
    }

    fn shared_bytes(compiled: &AutoRepresentation) -> usize {
        shared_bytes(compiled)
    }
}

/// What both languages have.
fn common() -> DeviceProperties {
    let mut properties = DeviceProperties::new(
        Default::default(),
        MemoryDeviceProperties {
            max_page_size: 2 << 30,
            alignment: 64,
        },
        HardwareProperties {
            load_width: 128,
            plane_size_min: 32,
            plane_size_max: 32,
            max_bindings: 1024,
            max_shared_memory_size: 32 << 10,
            max_cube_count: (65535, 65535, 65535),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: None,
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            num_cpu_cores: None,
            max_vector_size: 4,
        },
        TimingMethod::System,
    );
    properties.register_address_type(AddressType::U32);
    for ty in [
        ElemType::UInt(UIntKind::U32),
        ElemType::Int(IntKind::I32),
        ElemType::Float(FloatKind::F32),
        ElemType::Float(FloatKind::F16),
        ElemType::Bool,
    ] {
        properties.register_type_usage(ty, TypeUsage::all());
    }
    properties.features.plane.insert(Plane::Ops);
    properties
}

fn shared_bytes(compiled: &AutoRepresentation) -> usize {
    match compiled {
        AutoRepresentation::Wgsl(shader) => shader.shared_memory_bytes(),
        #[cfg(feature = "vulkan")]
        AutoRepresentation::SpirV(kernel) => kernel.shared_size,
        // Metal's, in a build of CubeCL that has it.
        #[allow(unreachable_patterns)]
        _ => 0,
    }
}
