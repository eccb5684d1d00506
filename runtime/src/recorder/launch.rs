//! What the device does with a launch: compile it once, keep it, hand it to the executor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cubecl::backtrace::BackTrace;
use cubecl::prelude::ExecutionMode;
use cubecl::server::{CubeCount, KernelArguments, LaunchError, ResourceLimitError, ServerError};
use cubecl::{CompilationError, CubeTask};
use cubecl_runtime::validation::{validate_cube_dim, validate_units};

use super::Language;
use super::memory::Rows;
use super::server::Recorder;
use super::{Buffer, Launch, Source};
use crate::check::message;
use crate::gpu::{AnyCompiler, Text};
use crate::guard::quietly;

impl Recorder {
    /// Keeps a launch, and runs it if there is something to run it.
    pub(crate) fn record(
        &mut self,
        kernel: &dyn CubeTask<AnyCompiler>,
        count: CubeCount,
        arguments: KernelArguments,
        mode: ExecutionMode,
    ) -> Result<(), ServerError> {
        let source = self.source(kernel, mode)?;
        let cubes = self.cubes(count)?;
        self.ledger.entries().launches.push(Launch {
            source: source.clone(),
            cubes,
        });
        self.execute(&source, cubes, arguments)
    }

    /// The kernel's text, compiled if this is the first launch of the variant.
    fn source(
        &mut self,
        kernel: &dyn CubeTask<AnyCompiler>,
        mode: ExecutionMode,
    ) -> Result<Arc<Source>, LaunchError> {
        let mut id = kernel.id();
        id.mode(mode);
        if let Some(source) = self.sources.get(&id) {
            return Ok(source.clone());
        }
        let properties = &self.properties;
        validate_cube_dim(properties, &id)?;
        validate_units(properties, &id)?;
        let source = Arc::new(compile(self.language, kernel, mode)?);
        let max = properties.hardware.max_shared_memory_size;
        if source.shared_bytes > max {
            return Err(LaunchError::TooManyResources(
                ResourceLimitError::SharedMemory {
                    requested: source.shared_bytes,
                    max,
                    backtrace: BackTrace::capture(),
                },
            ));
        }
        self.sources.insert(id, source.clone());
        Ok(source)
    }

    fn cubes(&mut self, count: CubeCount) -> Result<(u32, u32, u32), ServerError> {
        let cubes = match count {
            CubeCount::Static(x, y, z) => (x, y, z),
            CubeCount::Dynamic(binding) => {
                let rows = Rows::new(&[3].into(), &[1].into(), size_of::<u32>())?;
                let bytes = self.region(&binding)?.gather(&rows)?;
                let axis = |i: usize| {
                    let at = i * size_of::<u32>();
                    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                };
                (axis(0), axis(1), axis(2))
            }
        };
        let max = self.properties.hardware.max_cube_count;
        if cubes.0 <= max.0 && cubes.1 <= max.1 && cubes.2 <= max.2 {
            return Ok(cubes);
        }
        Err(failure(format!(
            "{cubes:?} cubes are more than the {max:?} of this device"
        )))
    }

    /// Hands the launch to the executor, if there is one, as the runtime hands it to the driver.
    fn execute(
        &mut self,
        source: &Source,
        cubes: (u32, u32, u32),
        arguments: KernelArguments,
    ) -> Result<(), ServerError> {
        let ledger = self.ledger.clone();
        let mut executor = ledger.executor();
        let Some(executor) = executor.as_mut() else {
            return Ok(());
        };
        if !arguments.tensor_maps.is_empty() {
            return Err(failure(
                "only a driver can make the tensor maps that this kernel takes".to_owned(),
            ));
        }
        let mut buffers = Vec::with_capacity(arguments.buffers.len() + 1);
        for binding in &arguments.buffers {
            let region = self.region(binding)?;
            // SAFETY: `arguments` keeps the binding, and so the zeroed allocation, until the end of
            // this function; the server hands out no references to it.
            buffers.push(unsafe { Buffer::new(region.as_ptr(), region.len()) });
        }
        let mut info = arguments.info.data;
        let mut dynamic =
            if self.language.by_value() && arguments.info.dynamic_metadata_offset < info.len() {
                info.split_off(arguments.info.dynamic_metadata_offset)
            } else {
                Vec::new()
            };
        if !dynamic.is_empty() {
            let start = dynamic.as_mut_ptr().cast();
            // SAFETY: `dynamic` lives to the end of this function and is not used before.
            buffers.push(unsafe { Buffer::new(start, size_of_val(dynamic.as_slice())) });
        }
        // A panic here is the executor's own, so it may show on stderr.
        let run = || executor.execute(source, cubes, &mut buffers, &info);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(failure(reason)),
            Err(panic) => Err(failure(message(panic.as_ref()))),
        }
    }
}

/// Compiles a kernel; `CubeCL` panics on some of what a language cannot say.
fn compile(
    language: Language,
    kernel: &dyn CubeTask<AnyCompiler>,
    mode: ExecutionMode,
) -> Result<Source, CompilationError> {
    let (mut compiler, options) = language.compiler();
    let compile = || kernel.compile(&mut compiler, &options, mode, kernel.address_type());
    let compiled = quietly(compile).unwrap_or_else(|reason| {
        Err(CompilationError::Generic {
            reason,
            backtrace: BackTrace::capture(),
        })
    })?;
    Ok(Source {
        shared_bytes: compiled.repr.as_ref().map_or(0, Text::shared_bytes),
        kernel: compiled.debug_name.unwrap_or_else(|| kernel.name()),
        entry: compiled.entrypoint_name,
        text: language.settled(compiled.source),
        units: compiled.cube_dim.into(),
    })
}

fn failure(reason: String) -> ServerError {
    ServerError::Launch(LaunchError::Unknown {
        reason,
        backtrace: BackTrace::capture(),
    })
}
