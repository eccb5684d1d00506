//! The device: memory on the host, and kernels that are compiled and kept.

use std::collections::HashMap;
use std::sync::Arc;

use cubecl::backtrace::BackTrace;
use cubecl::bytes::Bytes;
use cubecl::future::DynFut;
use cubecl::ir::DeviceProperties;
use cubecl::prelude::{ExecutionMode, KernelId};
use cubecl::profile::ProfileDuration;
use cubecl::server::{
    Binding, CopyDescriptor, CubeCount, IoError, KernelArguments, ProfileError, ProfilingToken,
    ServerError,
};
use cubecl::stream_id::StreamId;
use cubecl::{CubeTask, MemoryAllocationMode, MemoryConfiguration, MemoryUsage};
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::{
    ManagedMemoryHandle, MemoryManagement, MemoryManagementOptions,
};
use cubecl_runtime::timestamp_profiler::TimestampProfiler;

use super::ledger::Ledger;
use super::memory::{HostStorage, Region, Rows};
use super::{Language, Source};
use crate::check::explain;
use crate::gpu::AnyCompiler;

/// What is behind the device of one recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(super) language: Language,
    pub(super) properties: DeviceProperties,
    memory: MemoryManagement<HostStorage>,
    pub(super) sources: HashMap<KernelId, Arc<Source>>,
    /// What failed on each stream since it was last asked.
    errors: HashMap<StreamId, Vec<ServerError>>,
    clock: TimestampProfiler,
    pub(super) ledger: Arc<Ledger>,
    logger: Arc<ServerLogger>,
}

impl Recorder {
    pub(crate) fn new(language: Language) -> Self {
        let properties = language.properties();
        let logger = Arc::new(ServerLogger::default());
        Self {
            language,
            memory: MemoryManagement::from_configuration(
                HostStorage::default(),
                &properties.memory,
                MemoryConfiguration::ExclusivePages,
                logger.clone(),
                MemoryManagementOptions::new("recorder"),
            ),
            properties,
            sources: HashMap::new(),
            errors: HashMap::new(),
            clock: TimestampProfiler::default(),
            ledger: Arc::default(),
            logger,
        }
    }

    pub(crate) fn language(&self) -> Language {
        self.language
    }

    pub(crate) fn properties(&self) -> &DeviceProperties {
        &self.properties
    }

    pub(crate) fn logger(&self) -> Arc<ServerLogger> {
        self.logger.clone()
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    pub(crate) fn region(&mut self, binding: &Binding) -> Result<Region, IoError> {
        self.memory.get_resource(
            binding.memory.clone(),
            binding.offset_start,
            binding.offset_end,
        )
    }

    fn allocate(&mut self, memory: ManagedMemoryHandle, size: u64) -> Result<(), IoError> {
        let reserved = self.memory.reserve(size)?;
        self.memory.bind(reserved, memory, 0)
    }

    fn gather(&mut self, descriptors: Vec<CopyDescriptor>) -> Result<Vec<Bytes>, ServerError> {
        let mut buffers = Vec::with_capacity(descriptors.len());
        for descriptor in descriptors {
            let rows = Rows::new(&descriptor.shape, &descriptor.strides, descriptor.elem_size)?;
            let bytes = self.region(&descriptor.handle)?.gather(&rows)?;
            buffers.push(Bytes::from_bytes_vec(bytes));
        }
        Ok(buffers)
    }

    fn scatter(&mut self, descriptor: &CopyDescriptor, bytes: &[u8]) -> Result<(), IoError> {
        let rows = Rows::new(&descriptor.shape, &descriptor.strides, descriptor.elem_size)?;
        self.region(&descriptor.handle)?.scatter(&rows, bytes)
    }

    fn note(&mut self, stream: StreamId, error: ServerError) {
        self.errors.entry(stream).or_default().push(error);
    }

    /// The errors of a stream, once.
    fn report(&mut self, stream: StreamId) -> Result<(), ServerError> {
        match self.errors.remove(&stream) {
            None => Ok(()),
            Some(errors) => Err(ServerError::ServerUnhealthy {
                errors,
                backtrace: BackTrace::capture(),
            }),
        }
    }

    pub(crate) fn staging(&self, _: &[usize], _: StreamId) -> Result<Vec<Bytes>, ServerError> {
        Err(IoError::UnsupportedIoOperation {
            backtrace: BackTrace::capture(),
        }
        .into())
    }

    pub(crate) fn initialize_memory(
        &mut self,
        memory: ManagedMemoryHandle,
        size: u64,
        stream: StreamId,
    ) {
        if let Err(error) = self.allocate(memory, size) {
            self.note(stream, error.into());
        }
    }

    pub(crate) fn read(
        &mut self,
        descriptors: Vec<CopyDescriptor>,
        _: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        let buffers = self.gather(descriptors);
        Box::pin(async move { buffers })
    }

    pub(crate) fn write(&mut self, descriptors: Vec<(CopyDescriptor, Bytes)>, stream: StreamId) {
        for (descriptor, bytes) in descriptors {
            if let Err(error) = self.scatter(&descriptor, &bytes) {
                self.note(stream, error.into());
            }
        }
    }

    pub(crate) fn sync(&mut self, stream: StreamId) -> DynFut<Result<(), ServerError>> {
        let result = self.report(stream);
        Box::pin(async move { result })
    }

    pub(crate) fn launch(
        &mut self,
        kernel: &dyn CubeTask<AnyCompiler>,
        count: CubeCount,
        arguments: KernelArguments,
        mode: ExecutionMode,
        stream: StreamId,
    ) {
        if let Err(error) = self.record(kernel, count, arguments, mode) {
            let name = kernel.name();
            let entry = format!("{name}: {}", explain(&error));
            self.ledger.entries().failures.push(entry);
            self.note(stream, error);
        }
    }

    pub(crate) fn flush(&mut self, stream: StreamId) -> Result<(), ServerError> {
        self.report(stream)
    }

    pub(crate) fn memory_usage(&mut self, _: StreamId) -> Result<MemoryUsage, ServerError> {
        Ok(self.memory.memory_usage())
    }

    pub(crate) fn memory_cleanup(&mut self, _: StreamId) {
        self.memory.cleanup(true);
    }

    pub(crate) fn start_profile(
        &mut self,
        stream: StreamId,
    ) -> Result<ProfilingToken, ServerError> {
        self.report(stream)?;
        Ok(self.clock.start())
    }

    pub(crate) fn end_profile(
        &mut self,
        stream: StreamId,
        token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        if let Err(error) = self.report(stream) {
            self.clock.error(ProfileError::Server(Box::new(error)));
        }
        self.clock.stop(token)
    }

    pub(crate) fn allocation_mode(&mut self, mode: MemoryAllocationMode, _: StreamId) {
        self.memory.mode(mode);
    }
}
