//! A wgpu adapter that is given WGSL, in a program that can also give it SPIR-V.
//!
//! `CubeCL` gives every Vulkan adapter SPIR-V where the program has that compiler. Here a server is made
//! as `cubecl-wgpu` 0.10.0 makes it without: its `src/runtime.rs` and `src/backend/wgsl.rs`, line by line.

use std::sync::Arc;

use cubecl::WgpuCompilationOptions;
use cubecl::features::{AtomicUsage, Plane, TypeUsage};
use cubecl::future::block_on;
use cubecl::ir::{
    AddressType, DeviceProperties, ElemType, FloatKind, HardwareProperties, IntKind,
    MemoryDeviceProperties, StorageType, Type, UIntKind,
};
use cubecl::profile::TimingMethod;
use cubecl::server::ServerUtilities;
use cubecl::wgpu::{AutoGraphicsApi, GraphicsApi, RuntimeOptions, WgpuDevice, WgpuServer};
use cubecl_runtime::allocator::ContiguousMemoryLayoutPolicy;
use cubecl_runtime::logging::ServerLogger;
use wgpu::{DeviceType, Features};

/// Opens the adapter of `device`. Panics where it cannot, as `CubeCL` does: callers are guarded.
pub(super) fn server(device: &WgpuDevice) -> WgpuServer {
    let backend = AutoGraphicsApi::backend();
    let adapter = adapter(device, backend);
    let (device, queue) = block_on(
        adapter.request_device(&wgpu::DeviceDescriptor {
            label: None,
            required_features: adapter
                .features()
                .difference(Features::MAPPABLE_PRIMARY_BUFFERS),
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
            // SAFETY: only kernels that passed naga's checks are given to the device.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        }),
    )
    .unwrap_or_else(|error| {
        panic!(
            "the adapter {:?} gives no device: {error}",
            adapter.get_info()
        )
    });

    let properties = properties(&adapter, &device);
    let wide = ElemType::UInt(UIntKind::U64);
    let compilation = WgpuCompilationOptions {
        supports_u64: properties.supports_type(wide),
        ..Default::default()
    };
    let options = RuntimeOptions::default();
    let layout = ContiguousMemoryLayoutPolicy::new(properties.memory.alignment as usize);
    WgpuServer::new(
        properties.memory.clone(),
        options.memory_config,
        compilation,
        device,
        queue,
        options.tasks_max,
        backend,
        properties.timing_method,
        ServerUtilities::new(
            properties,
            Arc::new(ServerLogger::default()),
            backend,
            layout,
        ),
    )
}

fn adapter(device: &WgpuDevice, backend: wgpu::Backend) -> wgpu::Adapter {
    let (kind, index) = match *device {
        WgpuDevice::DiscreteGpu(index) => (DeviceType::DiscreteGpu, index),
        WgpuDevice::IntegratedGpu(index) => (DeviceType::IntegratedGpu, index),
        WgpuDevice::VirtualGpu(index) => (DeviceType::VirtualGpu, index),
        WgpuDevice::Cpu => (DeviceType::Cpu, 0),
        ref other => panic!("{other:?} names no adapter of its own"),
    };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    block_on(instance.enumerate_adapters(backend.into()))
        .into_iter()
        .filter(|it| it.get_info().device_type == kind)
        .nth(index)
        .unwrap_or_else(|| panic!("there is no adapter {device:?}"))
}

fn properties(adapter: &wgpu::Adapter, device: &wgpu::Device) -> DeviceProperties {
    let limits = device.limits();
    let most = adapter.limits();
    let info = adapter.get_info();
    let features = adapter.features();
    // Where wgpu tells no size of a plane: from the least that is found to what APIs allow at most.
    let plane = match (info.subgroup_min_size, info.subgroup_max_size) {
        (0, 0) => (8, 128),
        known => known,
    };
    let cubes = most.max_compute_workgroups_per_dimension;
    let mut properties = DeviceProperties::new(
        Default::default(),
        MemoryDeviceProperties {
            max_page_size: limits.max_storage_buffer_binding_size,
            alignment: u64::from(limits.min_uniform_buffer_offset_alignment),
        },
        HardwareProperties {
            load_width: 128,
            plane_size_min: plane.0,
            plane_size_max: plane.1,
            // wgpu needs one for itself.
            max_bindings: limits
                .max_storage_buffers_per_shader_stage
                .saturating_sub(1),
            max_shared_memory_size: limits.max_compute_workgroup_storage_size as usize,
            max_cube_count: (cubes, cubes, cubes),
            max_units_per_cube: most.max_compute_invocations_per_workgroup,
            max_cube_dim: (
                most.max_compute_workgroup_size_x,
                most.max_compute_workgroup_size_y,
                most.max_compute_workgroup_size_z,
            ),
            num_streaming_multiprocessors: None,
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            num_cpu_cores: None,
            max_vector_size: 4,
        },
        if features.contains(Features::TIMESTAMP_QUERY) {
            TimingMethod::Device
        } else {
            TimingMethod::System
        },
    );
    if features.contains(Features::SUBGROUP) && info.device_type != DeviceType::Cpu {
        properties.features.plane.insert(Plane::Ops);
    }
    register_types(&mut properties, features);
    properties
}

fn register_types(properties: &mut DeviceProperties, features: Features) {
    properties.register_address_type(AddressType::U32);
    let always = [
        ElemType::UInt(UIntKind::U32),
        ElemType::Int(IntKind::I32),
        ElemType::Float(FloatKind::F32),
        ElemType::Float(FloatKind::Flex32),
        ElemType::Bool,
    ];
    let optional = [
        (Features::SHADER_INT64, ElemType::Int(IntKind::I64)),
        (Features::SHADER_INT64, ElemType::UInt(UIntKind::U64)),
        (Features::SHADER_F64, ElemType::Float(FloatKind::F64)),
        (Features::SHADER_F16, ElemType::Float(FloatKind::F16)),
    ];
    let offered = optional
        .into_iter()
        .filter(|(feature, _)| features.contains(*feature))
        .map(|(_, ty)| ty);
    for ty in always.into_iter().chain(offered) {
        properties.register_type_usage(ty, TypeUsage::all());
    }

    let mut atomics = vec![ElemType::Int(IntKind::I32), ElemType::UInt(UIntKind::U32)];
    if features.contains(Features::SHADER_FLOAT32_ATOMIC) {
        atomics.push(ElemType::Float(FloatKind::F32));
    }
    for ty in atomics {
        properties.register_atomic_type_usage(
            Type::new(StorageType::Atomic(ty)),
            AtomicUsage::LoadStore | AtomicUsage::Add,
        );
    }
}
