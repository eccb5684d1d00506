//! The device: memory on the host, and kernels that are compiled and kept.

use std::collections::HashMap;
use std::sync::Arc;

use cubecl::backtrace::BackTrace;
use cubecl::bytes::Bytes;
use cubecl::device::{DeviceId, DeviceService, ServerUtilitiesHandle};
use cubecl::future::DynFut;
use cubecl::prelude::{ExecutionMode, KernelId, KernelMetadata};
use cubecl::profile::ProfileDuration;
use cubecl::server::{
    Binding, ComputeServer, CopyDescriptor, CubeCount, IoError, KernelArguments, ProfileError,
    ProfilingToken, ServerCommunication, ServerError, ServerUtilities,
};
use cubecl::stream_id::StreamId;
use cubecl::{CubeTask, MemoryAllocationMode, MemoryConfiguration, MemoryUsage};
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::{
    ManagedMemoryHandle, MemoryManagement, MemoryManagementOptions,
};
use cubecl_runtime::storage::ManagedResource;
use cubecl_runtime::timestamp_profiler::TimestampProfiler;

use super::Source;
use super::language::{CompilerOf, Language};
use super::ledger::Ledger;
use super::memory::{HostStorage, Region, Rows};
use crate::check::explain;

/// The server of one recording.
#[derive(Debug)]
pub struct Server<L: Language> {
    memory: MemoryManagement<HostStorage>,
    pub(crate) sources: HashMap<KernelId, Arc<Source>>,
    /// What failed on each stream since it was last asked.
    errors: HashMap<StreamId, Vec<ServerError>>,
    clock: TimestampProfiler,
    pub(crate) utilities: Arc<ServerUtilities<Self>>,
}

impl<L: Language> DeviceService for Server<L> {
    fn init(_: DeviceId) -> Self {
        let properties = L::properties();
        let logger = Arc::new(ServerLogger::default());
        let layout = L::layout(properties.memory.alignment as usize);
        Self {
            memory: MemoryManagement::from_configuration(
                HostStorage::default(),
                &properties.memory,
                MemoryConfiguration::ExclusivePages,
                logger.clone(),
                MemoryManagementOptions::new("recorder"),
            ),
            sources: HashMap::new(),
            errors: HashMap::new(),
            clock: TimestampProfiler::default(),
            utilities: Arc::new(ServerUtilities::new(
                properties,
                logger,
                Arc::default(),
                layout,
            )),
        }
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}

impl<L: Language> Server<L> {
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
}

impl<L: Language> ServerCommunication for Server<L> {
    const SERVER_COMM_ENABLED: bool = false;
}

impl<L: Language> ComputeServer for Server<L> {
    type Kernel = Box<dyn CubeTask<CompilerOf<L>>>;
    type Storage = HostStorage;
    type MemoryLayoutPolicy = L::Layout;
    type Info = Arc<Ledger>;

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities<Self>> {
        self.utilities.clone()
    }

    fn initialize_memory(&mut self, memory: ManagedMemoryHandle, size: u64, stream: StreamId) {
        if let Err(error) = self.allocate(memory, size) {
            self.note(stream, error.into());
        }
    }

    fn read(
        &mut self,
        descriptors: Vec<CopyDescriptor>,
        _: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        let buffers = self.gather(descriptors);
        Box::pin(async move { buffers })
    }

    fn write(&mut self, descriptors: Vec<(CopyDescriptor, Bytes)>, stream: StreamId) {
        for (descriptor, bytes) in descriptors {
            if let Err(error) = self.scatter(&descriptor, &bytes) {
                self.note(stream, error.into());
            }
        }
    }

    fn sync(&mut self, stream: StreamId) -> DynFut<Result<(), ServerError>> {
        let result = self.report(stream);
        Box::pin(async move { result })
    }

    fn get_resource(
        &mut self,
        binding: Binding,
        _: StreamId,
    ) -> Result<ManagedResource<Region>, ServerError> {
        let region = self.region(&binding)?;
        Ok(ManagedResource::new(binding.memory, region))
    }

    unsafe fn launch(
        &mut self,
        kernel: Self::Kernel,
        count: CubeCount,
        arguments: KernelArguments,
        mode: ExecutionMode,
        stream: StreamId,
    ) {
        if let Err(error) = self.record(kernel.as_ref(), count, arguments, mode) {
            let name = kernel.name();
            let entry = format!("{name}: {}", explain(&error));
            self.utilities.info.entries().failures.push(entry);
            self.note(stream, error);
        }
    }

    fn flush(&mut self, stream: StreamId) -> Result<(), ServerError> {
        self.report(stream)
    }

    fn memory_usage(&mut self, _: StreamId) -> Result<MemoryUsage, ServerError> {
        Ok(self.memory.memory_usage())
    }

    fn memory_cleanup(&mut self, _: StreamId) {
        self.memory.cleanup(true);
    }

    fn start_profile(&mut self, stream: StreamId) -> Result<ProfilingToken, ServerError> {
        self.report(stream)?;
        Ok(self.clock.start())
    }

    fn end_profile(
        &mut self,
        stream: StreamId,
        token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        if let Err(error) = self.report(stream) {
            self.clock.error(ProfileError::Server(Box::new(error)));
        }
        self.clock.stop(token)
    }

    fn allocation_mode(&mut self, mode: MemoryAllocationMode, _: StreamId) {
        self.memory.mode(mode);
    }
}
