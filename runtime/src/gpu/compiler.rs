//! The compiler of whichever backend, and a kernel as one backend's server takes it.

use std::fmt;

#[cfg(feature = "wgpu")]
use cubecl::WgpuCompilationOptions;
#[cfg(feature = "cuda")]
use cubecl::cuda::CudaCompiler;
use cubecl::ir::{ElemType, StorageType};
use cubecl::prelude::{CompiledKernel, ExecutionMode, KernelDefinition, KernelId, KernelMetadata};
#[cfg(feature = "wgpu")]
use cubecl::wgpu::{AutoCompiler, AutoRepresentation};
use cubecl::{CompilationError, Compiler, CubeTask};

/// A compiler in the state in which its backend keeps it.
#[derive(Clone, Debug)]
// Made for a compilation and dropped after it.
#[allow(clippy::large_enum_variant)]
pub enum AnyCompiler {
    /// WGSL or SPIR-V.
    #[cfg(feature = "wgpu")]
    Wgpu(AutoCompiler),
    /// CUDA C++.
    #[cfg(feature = "cuda")]
    Cuda(CudaCompiler),
}

/// How each compiler is set; the one in use reads its own.
#[derive(Clone, Debug, Default)]
pub struct Options {
    #[cfg(feature = "wgpu")]
    pub(crate) wgpu: WgpuCompilationOptions,
    #[cfg(feature = "cuda")]
    pub(crate) cuda: CudaOptions,
}

#[cfg(feature = "cuda")]
type CudaOptions = <CudaCompiler as Compiler>::CompilationOptions;

/// A compiled kernel.
pub enum Text {
    /// In WGSL or SPIR-V.
    #[cfg(feature = "wgpu")]
    Wgpu(AutoRepresentation),
    /// In CUDA C++.
    #[cfg(feature = "cuda")]
    Cuda(<CudaCompiler as Compiler>::Representation),
}

impl fmt::Display for Text {
    #[allow(unused_variables)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            #[cfg(feature = "wgpu")]
            Text::Wgpu(ref text) => text.fmt(f),
            #[cfg(feature = "cuda")]
            Text::Cuda(ref text) => text.fmt(f),
        }
    }
}

impl Text {
    /// The shared memory of a cube, in bytes.
    pub(crate) fn shared_bytes(&self) -> usize {
        match *self {
            #[cfg(feature = "wgpu")]
            Text::Wgpu(AutoRepresentation::Wgsl(ref shader)) => shader.shared_memory_bytes(),
            #[cfg(feature = "vulkan")]
            Text::Wgpu(AutoRepresentation::SpirV(ref kernel)) => kernel.shared_size,
            // Metal's, in a build of CubeCL that has it.
            #[cfg(feature = "wgpu")]
            #[allow(unreachable_patterns)]
            Text::Wgpu(_) => 0,
            #[cfg(feature = "cuda")]
            Text::Cuda(ref kernel) => kernel.shared_memory_size(),
        }
    }
}

impl Compiler for AnyCompiler {
    type Representation = Text;
    type CompilationOptions = Options;

    #[allow(unused_variables)]
    fn compile(
        &mut self,
        kernel: KernelDefinition,
        options: &Options,
        mode: ExecutionMode,
        addresses: StorageType,
    ) -> Result<Text, CompilationError> {
        match *self {
            #[cfg(feature = "wgpu")]
            AnyCompiler::Wgpu(ref mut compiler) => {
                Compiler::compile(compiler, kernel, &options.wgpu, mode, addresses).map(Text::Wgpu)
            }
            #[cfg(feature = "cuda")]
            AnyCompiler::Cuda(ref mut compiler) => compiler
                .compile(kernel, &options.cuda, mode, addresses)
                .map(Text::Cuda),
        }
    }

    #[allow(unused_variables)]
    fn elem_size(&self, elem: ElemType) -> usize {
        match *self {
            #[cfg(feature = "wgpu")]
            AnyCompiler::Wgpu(ref compiler) => compiler.elem_size(elem),
            #[cfg(feature = "cuda")]
            AnyCompiler::Cuda(ref compiler) => compiler.elem_size(elem),
        }
    }

    fn extension(&self) -> &'static str {
        match *self {
            #[cfg(feature = "wgpu")]
            AnyCompiler::Wgpu(ref compiler) => compiler.extension(),
            #[cfg(feature = "cuda")]
            AnyCompiler::Cuda(ref compiler) => compiler.extension(),
        }
    }
}

/// A backend's own compiler, as one of [`AnyCompiler`].
pub(crate) trait Own: Compiler {
    /// Takes the compiler out, with its options, for a kernel that takes any. It is moved, as a SPIR-V compiler that has not
    /// begun cannot be cloned.
    fn lent(&mut self, options: &Self::CompilationOptions) -> (AnyCompiler, Options);
    /// It as the kernel left it.
    fn returned(compiler: AnyCompiler) -> Option<Self>;
    /// What it made.
    fn own(text: Text) -> Option<Self::Representation>;
}

#[cfg(feature = "wgpu")]
impl Own for AutoCompiler {
    fn lent(&mut self, options: &WgpuCompilationOptions) -> (AnyCompiler, Options) {
        let options = Options {
            wgpu: *options,
            ..Options::default()
        };
        let compiler = std::mem::replace(self, AutoCompiler::Wgsl(Default::default()));
        (AnyCompiler::Wgpu(compiler), options)
    }

    fn returned(compiler: AnyCompiler) -> Option<Self> {
        match compiler {
            AnyCompiler::Wgpu(compiler) => Some(compiler),
            #[cfg(feature = "cuda")]
            AnyCompiler::Cuda(_) => None,
        }
    }

    fn own(text: Text) -> Option<AutoRepresentation> {
        match text {
            Text::Wgpu(text) => Some(text),
            #[cfg(feature = "cuda")]
            Text::Cuda(_) => None,
        }
    }
}

#[cfg(feature = "cuda")]
impl Own for CudaCompiler {
    fn lent(&mut self, options: &CudaOptions) -> (AnyCompiler, Options) {
        let options = Options {
            cuda: options.clone(),
            ..Options::default()
        };
        (AnyCompiler::Cuda(std::mem::take(self)), options)
    }

    fn returned(compiler: AnyCompiler) -> Option<Self> {
        match compiler {
            AnyCompiler::Cuda(compiler) => Some(compiler),
            #[cfg(feature = "wgpu")]
            AnyCompiler::Wgpu(_) => None,
        }
    }

    fn own(text: Text) -> Option<Self::Representation> {
        match text {
            Text::Cuda(text) => Some(text),
            #[cfg(feature = "wgpu")]
            Text::Wgpu(_) => None,
        }
    }
}

/// A kernel for any compiler, as the server of one backend takes it.
pub(crate) struct Task(pub(crate) Box<dyn CubeTask<AnyCompiler>>);

impl KernelMetadata for Task {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn id(&self) -> KernelId {
        self.0.id()
    }

    fn address_type(&self) -> StorageType {
        self.0.address_type()
    }
}

impl<C: Own> CubeTask<C> for Task {
    fn compile(
        &self,
        compiler: &mut C,
        options: &C::CompilationOptions,
        mode: ExecutionMode,
        addresses: StorageType,
    ) -> Result<CompiledKernel<C>, CompilationError> {
        let (mut lent, options) = compiler.lent(options);
        let compiled = self.0.compile(&mut lent, &options, mode, addresses);
        if let Some(returned) = C::returned(lent) {
            *compiler = returned;
        }
        let compiled = compiled?;
        Ok(CompiledKernel {
            entrypoint_name: compiled.entrypoint_name,
            debug_name: compiled.debug_name,
            source: compiled.source,
            repr: compiled.repr.and_then(C::own),
            cube_dim: compiled.cube_dim,
            debug_info: compiled.debug_info,
        })
    }
}
