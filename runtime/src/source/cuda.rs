//! CUDA C++ as `CubeCL`'s CUDA runtime gives it to NVRTC.
//!
//! Properties and options follow `cubecl-cuda` 0.10.0, `src/runtime.rs`, line by line; where that asks
//! the driver, the answers are those of the GPUs named here.

use cubecl::cuda::{CUDA_MAX_BINDINGS, CudaCompiler, CudaRuntime};
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
use cubecl_runtime::allocator::PitchedMemoryLayoutPolicy;

use super::language::{Language, RepresentationOf};
use super::{declarations, shared, structs};

/// CUDA C++ for one architecture: 80 as on an A100, 90 as on an H100.
#[derive(Clone, Copy, Debug)]
pub struct Cuda<const SM: u32>;

/// What the driver says about a GPU.
pub trait Gpu {
    /// The language's name.
    const NAME: &'static str;
    /// The most shared memory that a cube may ask for, in bytes.
    const SHARED_BYTES: usize;
    /// Streaming multiprocessors.
    const PROCESSORS: u32;
}

impl Gpu for Cuda<80> {
    const NAME: &'static str = "CUDA C++ for sm_80";
    const SHARED_BYTES: usize = 163 << 10;
    const PROCESSORS: u32 = 108;
}

impl Gpu for Cuda<90> {
    const NAME: &'static str = "CUDA C++ for sm_90";
    const SHARED_BYTES: usize = 227 << 10;
    const PROCESSORS: u32 = 132;
}

const WARP: u32 = 32;
const MEMORY_BYTES: u64 = 80 << 30;

impl<const SM: u32> Language for Cuda<SM>
where
    Self: Gpu,
{
    type Like = CudaRuntime;
    type Layout = PitchedMemoryLayoutPolicy;

    const NAME: &'static str = <Self as Gpu>::NAME;
    const RUNTIME: &'static str = "cuda";
    const BY_VALUE: bool = true;

    fn properties() -> DeviceProperties {
        let arch = CudaArchitecture { version: SM };
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
                max_shared_memory_size: Self::SHARED_BYTES,
                max_cube_count: (i32::MAX as u32, 65535, 65535),
                max_units_per_cube: 1024,
                max_cube_dim: (1024, 1024, 64),
                num_streaming_multiprocessors: Some(Self::PROCESSORS),
                num_tensor_cores: Some(4),
                min_tensor_cores_dim: (!wmma.is_empty()).then_some(8),
                num_cpu_cores: None,
                max_vector_size: VectorSize::MAX,
            },
            TimingMethod::System,
        );
        register_types(&mut properties);
        register_features(&mut properties);
        if SM >= 90 {
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

    fn options() -> CompilationOptions {
        CompilationOptions {
            warp_size: WARP,
            supports_features: CppSupportedFeatures {
                grid_constants: true,
                clusters: SM >= 90,
                fast_math: true,
                // The headers that the program was built for, as in the runtime.
                fast_tanh: cudarc::driver::sys::CUDA_VERSION >= 12080,
                elect_sync: SM >= 90,
            },
        }
    }

    fn compiler() -> CudaCompiler {
        CudaCompiler::default()
    }

    fn layout(alignment: usize) -> Self::Layout {
        PitchedMemoryLayoutPolicy::new(alignment)
    }

    fn shared_bytes(compiled: &RepresentationOf<Self>) -> usize {
        compiled.shared_memory_size()
    }

    fn settled(text: String) -> String {
        shared::settled(&declarations::sorted(&structs::sorted(&text)))
    }
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
