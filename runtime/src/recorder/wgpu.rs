//! WGSL and SPIR-V as `CubeCL`'s wgpu runtime gives them to the driver.
//!
//! An adapter reports what it likes; the properties here are what GPUs of the last ten years have in
//! common, so that a recorded text runs on all of them.

use cubecl::features::{AtomicUsage, Plane, TypeUsage};
use cubecl::ir::{
    AddressType, DeviceProperties, ElemType, FloatKind, HardwareProperties, IntKind,
    MemoryDeviceProperties, StorageType, Type, UIntKind,
};
use cubecl::profile::TimingMethod;
use cubecl::wgpu::AutoCompiler;

use super::declarations;
use crate::gpu::{AnyCompiler, Options};

pub(super) fn wgsl_properties() -> DeviceProperties {
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

pub(super) fn wgsl_compiler() -> (AnyCompiler, Options) {
    let compiler = AutoCompiler::Wgsl(Default::default());
    (AnyCompiler::Wgpu(compiler), Options::default())
}

pub(super) fn settled(text: &str) -> String {
    declarations::sorted(text)
}

#[cfg(feature = "vulkan")]
pub(super) fn spirv_properties() -> DeviceProperties {
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

#[cfg(feature = "vulkan")]
pub(super) fn spirv_compiler() -> (AnyCompiler, Options) {
    let mut options = Options::default();
    options.wgpu.supports_u64 = true;
    options.wgpu.supports_vulkan = true;
    // What Vulkan 1.3 promises.
    options.wgpu.vulkan.max_spirv_version = (1, 6);
    options.wgpu.vulkan.supports_uniform_standard_layout = true;
    let compiler = AutoCompiler::SpirV(Default::default());
    (AnyCompiler::Wgpu(compiler), options)
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
