//! The languages that kernels compile to, each with the properties of a device that takes it.

use std::fmt;

use cubecl::ir::DeviceProperties;

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "wgpu")]
use super::wgpu;
use crate::gpu::{AnyCompiler, Layout, Options};

/// A language that kernels compile to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Language {
    /// WGSL, as for a GPU through wgpu.
    #[cfg(feature = "wgpu")]
    Wgsl,
    /// SPIR-V, disassembled, as for a GPU through Vulkan. Its numbers differ from run to run.
    #[cfg(feature = "vulkan")]
    Spirv,
    /// CUDA C++ for sm_80, as on an A100.
    #[cfg(feature = "cuda")]
    CudaSm80,
    /// CUDA C++ for sm_90, as on an H100.
    #[cfg(feature = "cuda")]
    CudaSm90,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => "WGSL",
            #[cfg(feature = "vulkan")]
            Language::Spirv => "SPIR-V",
            #[cfg(feature = "cuda")]
            Language::CudaSm80 => "CUDA C++ for sm_80",
            #[cfg(feature = "cuda")]
            Language::CudaSm90 => "CUDA C++ for sm_90",
        })
    }
}

impl Language {
    /// Every language of this build.
    pub const ALL: &[Language] = &[
        #[cfg(feature = "wgpu")]
        Language::Wgsl,
        #[cfg(feature = "vulkan")]
        Language::Spirv,
        #[cfg(feature = "cuda")]
        Language::CudaSm80,
        #[cfg(feature = "cuda")]
        Language::CudaSm90,
    ];

    /// The place in [`Language::ALL`].
    pub(crate) fn number(self) -> u16 {
        let place = Self::ALL.iter().position(|&it| it == self);
        place.map_or(0, |place| place as u16)
    }

    /// What `CubeCL`'s runtime for it calls itself.
    pub(crate) fn runtime(self) -> &'static str {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => "wgpu<wgsl>",
            #[cfg(feature = "vulkan")]
            Language::Spirv => "wgpu<spirv>",
            #[cfg(feature = "cuda")]
            Language::CudaSm80 | Language::CudaSm90 => "cuda",
        }
    }

    /// Whether scalars and lengths are a kernel's last argument, by value; otherwise they are a
    /// buffer.
    pub(crate) fn by_value(self) -> bool {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => false,
            #[cfg(feature = "vulkan")]
            Language::Spirv => false,
            #[cfg(feature = "cuda")]
            Language::CudaSm80 | Language::CudaSm90 => true,
        }
    }

    /// What a device that takes it reports.
    pub(crate) fn properties(self) -> DeviceProperties {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => wgpu::wgsl_properties(),
            #[cfg(feature = "vulkan")]
            Language::Spirv => wgpu::spirv_properties(),
            #[cfg(feature = "cuda")]
            Language::CudaSm80 => cuda::properties(cuda::A100),
            #[cfg(feature = "cuda")]
            Language::CudaSm90 => cuda::properties(cuda::H100),
        }
    }

    /// The compiler in its initial state, and how the runtime sets it on such a device.
    pub(crate) fn compiler(self) -> (AnyCompiler, Options) {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => wgpu::wgsl_compiler(),
            #[cfg(feature = "vulkan")]
            Language::Spirv => wgpu::spirv_compiler(),
            #[cfg(feature = "cuda")]
            Language::CudaSm80 => cuda::compiler(cuda::A100),
            #[cfg(feature = "cuda")]
            Language::CudaSm90 => cuda::compiler(cuda::H100),
        }
    }

    /// How the runtime lays out tensors in buffers that start at multiples of `alignment` bytes.
    pub(crate) fn layout(self, alignment: u64) -> Layout {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => Layout::contiguous(alignment),
            #[cfg(feature = "vulkan")]
            Language::Spirv => Layout::contiguous(alignment),
            #[cfg(feature = "cuda")]
            Language::CudaSm80 | Language::CudaSm90 => Layout::pitched(alignment),
        }
    }

    /// The text with everything in a fixed order that `CubeCL` leaves to chance.
    pub(crate) fn settled(self, text: String) -> String {
        match self {
            #[cfg(feature = "wgpu")]
            Language::Wgsl => wgpu::settled(&text),
            #[cfg(feature = "vulkan")]
            Language::Spirv => text,
            #[cfg(feature = "cuda")]
            Language::CudaSm80 | Language::CudaSm90 => cuda::settled(&text),
        }
    }
}
