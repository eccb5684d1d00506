//! CUDA C++ as `CubeCL`'s CUDA runtime gives it to NVRTC.
//!
//! Properties and options follow `cubecl-cuda` 0.10.0, `src/runtime.rs`, line by line; where that asks
//! the driver, the answers are those of the GPUs named here.

use cubecl::cuda::{CUDA_MAX_BINDINGS, CudaCompiler};
use cubecl::features::{AtomicUsage, Plane, Tma, TypeUsage};
use cubecl::ir::{
    BarrierLevel, DeviceProperties, ElemType, FloatKind, HardwareProperties,
    MemoryDeviceProperties, OpaqueType, SemanticType, StorageType, Type, VectorSize,
};
use cubecl::profile::TimingMethod;
use cubecl_cpp::cuda::arch::CudaArchitecture;
use cubecl_cpp::cuda::mma::CudaWmmaCompiler;
use cubecl_cpp::shared::{
    CompilationOptions, CppSupportedFeatures, DialectWmmaCompiler, register_mma_features,
    register_scaled_mma_features, register_wmma_features,
};

use super::{declarations, shared, structs};
use crate::gpu::{AnyCompiler, Options};

/// What the driver says about a GPU.
#[derive(Clone, Copy)]
pub(super) struct Card {
    /// The compute capability, ten times the major number plus the minor one.
    sm: u32,
    /// The most shared memory that a cube may ask for, in bytes.
    shared_bytes: usize,
    /// Streaming multiprocessors.
    processors: u32,
}

pub(super) const A100: Card = Card {
    sm: 80,
    shared_bytes: 163 << 10,
    processors: 108,
};

pub(super) const H100: Card = Card {
    sm: 90,
    shared_bytes: 227 << 10,
    processors: 132,
};

const WARP: u32 = 32;
const MEMORY_BYTES: u64 = 80 << 30;

pub(super) fn properties(card: Card) -> DeviceProperties {
    let arch = CudaArchitecture { version: card.sm };
    let wmma = CudaWmmaCompiler::supported_wmma_combinations(&arch);
    let mut properties = DeviceProperties::new(
        Default::default(),
        MemoryDeviceProperties {
            max_page_size: MEMORY_BYTES / 4,
            alignment: 512,
        },
        HardwareProperties {
            load_width: 128,
            plane_size_min: WARP,
            plane_size_max: WARP,
            max_bindings: CUDA_MAX_BINDINGS,
            max_shared_memory_size: card.shared_bytes,
            max_cube_count: (i32::MAX as u32, 65535, 65535),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: Some(card.processors),
            num_tensor_cores: Some(4),
            min_tensor_cores_dim: (!wmma.is_empty()).then_some(8),
            num_cpu_cores: None,
            max_vector_size: VectorSize::MAX,
        },
        TimingMethod::System,
    );
    register_types(&mut properties);
    register_features(&mut properties);
    if card.sm >= 90 {
        register_hopper(&mut properties);
    }
    register_wmma_features(wmma, &mut properties);
    register_mma_features(
        CudaWmmaCompiler::supported_mma_combinations(&arch),
        &mut properties,
    );
    register_scaled_mma_features(
        CudaWmmaCompiler::supported_scaled_mma_combinations(&arch),
        &mut properties,
    );
    properties
}

pub(super) fn compiler(card: Card) -> (AnyCompiler, Options) {
    let options = Options {
        cuda: CompilationOptions {
            warp_size: WARP,
            supports_features: CppSupportedFeatures {
                grid_constants: true,
                clusters: card.sm >= 90,
                fast_math: true,
                // The headers that the program was built for, as in the runtime.
                fast_tanh: cudarc::driver::sys::CUDA_VERSION >= 12080,
                elect_sync: card.sm >= 90,
            },
        },
        ..Options::default()
    };
    (AnyCompiler::Cuda(CudaCompiler::default()), options)
}

pub(super) fn settled(text: &str) -> String {
    shared::settled(&declarations::sorted(&structs::sorted(text)))
}

fn float(kind: FloatKind) -> ElemType {
    ElemType::Float(kind)
}

fn atomic(kind: FloatKind) -> Type {
    Type::new(StorageType::Atomic(float(kind)))
}

fn register_types(properties: &mut DeviceProperties) {
    let usage = AtomicUsage::Add | AtomicUsage::LoadStore;
    cubecl_cpp::register_supported_types(properties);
    properties.register_type_usage(float(FloatKind::TF32), TypeUsage::Conversion);
    properties.register_atomic_type_usage(atomic(FloatKind::F64), usage);
    properties.register_atomic_type_usage(atomic(FloatKind::F16), usage);
    properties.register_atomic_type_usage(atomic(FloatKind::F16).with_vector_size(2), usage);
    properties.register_semantic_type(SemanticType::Pipeline);
    for level in [BarrierLevel::Unit, BarrierLevel::Cube] {
        properties.register_type_usage(OpaqueType::Barrier(level), TypeUsage::Buffer);
    }
}

fn register_features(properties: &mut DeviceProperties) {
    let features = &mut properties.features;
    for kind in [FloatKind::F16, FloatKind::BF16] {
        features.matmul.ldmatrix.insert(float(kind).into());
    }
    features.copy_async = true;
    features.memory_reinterpret = true;
    features.alignment = true;
    features
        .plane
        .insert_all(Plane::Sync | Plane::Ops | Plane::NonUniformControlFlow);
}

/// What an H100 adds to an A100.
fn register_hopper(properties: &mut DeviceProperties) {
    for kind in [FloatKind::E4M3, FloatKind::E5M2] {
        let usage = TypeUsage::Conversion | TypeUsage::Buffer;
        properties.register_type_usage(float(kind), usage);
    }
    for width in [2, 4] {
        let usage = AtomicUsage::LoadStore | AtomicUsage::Add;
        let vector = atomic(FloatKind::F32).with_vector_size(width);
        properties.register_atomic_type_usage(vector, usage);
    }
    properties.register_semantic_type(SemanticType::TensorMap);
    properties.features.tma.insert(Tma::Base);
    properties.features.cube_cluster = true;
    for kind in [FloatKind::F16, FloatKind::BF16] {
        properties
            .features
            .matmul
            .stmatrix
            .insert(float(kind).into());
    }
}
