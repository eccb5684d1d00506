//! The server of a device, whatever is behind it.

use std::sync::Arc;

use cubecl::backtrace::BackTrace;
use cubecl::bytes::Bytes;
#[cfg(feature = "cuda")]
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::device::{Device, DeviceId, DeviceService, ServerUtilitiesHandle};
use cubecl::future::DynFut;
use cubecl::ir::DeviceProperties;
use cubecl::prelude::ExecutionMode;
use cubecl::profile::ProfileDuration;
use cubecl::server::{
    Binding, ComputeServer, CopyDescriptor, CubeCount, IoError, KernelArguments, ProfileError,
    ProfilingToken, ServerCommunication, ServerError, ServerUtilities,
};
use cubecl::stream_id::StreamId;
#[cfg(feature = "wgpu")]
use cubecl::wgpu::WgpuServer;
use cubecl::{CubeTask, MemoryAllocationMode, MemoryUsage};
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::ManagedMemoryHandle;
use cubecl_runtime::storage::ManagedResource;

use super::compiler::Task;
use super::{AnyCompiler, Door, Layout};
use crate::recorder::{HostStorage, Ledger, Recorder, Region};

#[cfg(feature = "cuda")]
type CudaServer = <CudaRuntime as cubecl::Runtime>::Server;

/// What is behind a device.
#[derive(Debug)]
pub struct Backing {
    runtime: &'static str,
    ledger: Arc<Ledger>,
}

impl Backing {
    /// `CubeCL`'s name of the backend.
    pub(crate) fn runtime(&self) -> &'static str {
        self.runtime
    }

    /// What a recording has recorded; nothing on other devices.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

#[derive(Debug)]
enum Behind {
    #[cfg(feature = "wgpu")]
    Wgpu(Box<WgpuServer>),
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaServer>),
    Recording(Box<Recorder>),
}

/// The server of one device.
#[derive(Debug)]
pub struct Server {
    behind: Behind,
    utilities: Arc<ServerUtilities<Self>>,
}

/// Does the same with whichever server is there.
macro_rules! with {
    ($behind:expr, $server:ident => $work:expr) => {
        match $behind {
            #[cfg(feature = "wgpu")]
            Behind::Wgpu(ref mut $server) => $work,
            #[cfg(feature = "cuda")]
            Behind::Cuda(ref mut $server) => $work,
            Behind::Recording(ref mut $server) => $work,
        }
    };
}

impl Server {
    fn new(
        behind: Behind,
        (properties, logger): (DeviceProperties, Arc<ServerLogger>),
        backing: Backing,
        layout: Layout,
    ) -> Self {
        Self {
            behind,
            utilities: Arc::new(ServerUtilities::new(properties, logger, backing, layout)),
        }
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(server: WgpuServer, runtime: &'static str) -> Self {
        let described = described(&server);
        let layout = Layout::contiguous(described.0.memory.alignment);
        Self::new(
            Behind::Wgpu(Box::new(server)),
            described,
            Backing::driver(runtime),
            layout,
        )
    }

    #[cfg(feature = "cuda")]
    fn cuda(server: CudaServer) -> Self {
        let mut described = described(&server);
        if !crate::devices::cuda::has_header("crt/mma.h") {
            described.0.features.matmul.mma.clear();
        }
        let layout = Layout::pitched(described.0.memory.alignment);
        Self::new(
            Behind::Cuda(Box::new(server)),
            described,
            Backing::driver("cuda"),
            layout,
        )
    }

    fn recording(recorder: Recorder) -> Self {
        let language = recorder.language();
        let described = (recorder.properties().clone(), recorder.logger());
        let backing = Backing {
            runtime: language.runtime(),
            ledger: recorder.ledger(),
        };
        let layout = language.layout(described.0.memory.alignment);
        Self::new(
            Behind::Recording(Box::new(recorder)),
            described,
            backing,
            layout,
        )
    }
}

impl Backing {
    fn driver(runtime: &'static str) -> Self {
        Self {
            runtime,
            ledger: Arc::default(),
        }
    }
}

fn described<S: ComputeServer>(server: &S) -> (DeviceProperties, Arc<ServerLogger>) {
    let utilities = ComputeServer::utilities(server);
    (utilities.properties.clone(), utilities.logger.clone())
}

impl DeviceService for Server {
    fn init(id: DeviceId) -> Self {
        match Door::from_id(id) {
            #[cfg(feature = "wgpu")]
            Door::Wgsl(device) => Self::wgpu(super::wgsl::server(&device), "wgpu<wgsl>"),
            #[cfg(feature = "vulkan")]
            Door::Spirv(device) => Self::wgpu(
                <WgpuServer as DeviceService>::init(device.to_id()),
                "wgpu<spirv>",
            ),
            #[cfg(feature = "cuda")]
            Door::Cuda(index) => {
                let device = CudaDevice {
                    index: usize::from(index),
                };
                Self::cuda(<CudaServer as DeviceService>::init(device.to_id()))
            }
            Door::Recording(language, _) => Self::recording(Recorder::new(language)),
        }
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}

impl ServerCommunication for Server {
    const SERVER_COMM_ENABLED: bool = false;
}

impl ComputeServer for Server {
    type Kernel = Box<dyn CubeTask<AnyCompiler>>;
    type Storage = HostStorage;
    type MemoryLayoutPolicy = Layout;
    type Info = Backing;

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities<Self>> {
        self.utilities.clone()
    }

    fn initialize_memory(&mut self, memory: ManagedMemoryHandle, size: u64, stream: StreamId) {
        with!(self.behind, server => server.initialize_memory(memory, size, stream));
    }

    fn staging(&mut self, sizes: &[usize], stream: StreamId) -> Result<Vec<Bytes>, ServerError> {
        with!(self.behind, server => server.staging(sizes, stream))
    }

    fn read(
        &mut self,
        descriptors: Vec<CopyDescriptor>,
        stream: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        with!(self.behind, server => server.read(descriptors, stream))
    }

    fn write(&mut self, descriptors: Vec<(CopyDescriptor, Bytes)>, stream: StreamId) {
        with!(self.behind, server => server.write(descriptors, stream));
    }

    fn sync(&mut self, stream: StreamId) -> DynFut<Result<(), ServerError>> {
        with!(self.behind, server => server.sync(stream))
    }

    /// A backend's own buffers have no type in common, and nothing here asks for them.
    fn get_resource(
        &mut self,
        _: Binding,
        _: StreamId,
    ) -> Result<ManagedResource<Region>, ServerError> {
        Err(IoError::UnsupportedIoOperation {
            backtrace: BackTrace::capture(),
        }
        .into())
    }

    unsafe fn launch(
        &mut self,
        kernel: Self::Kernel,
        count: CubeCount,
        arguments: KernelArguments,
        mode: ExecutionMode,
        stream: StreamId,
    ) {
        match self.behind {
            #[cfg(feature = "wgpu")]
            Behind::Wgpu(ref mut server) => {
                let kernel = Box::new(Task(kernel));
                // SAFETY: what the caller promises about the kernel and its buffers is passed on.
                unsafe { server.launch(kernel, count, arguments, mode, stream) }
            }
            #[cfg(feature = "cuda")]
            Behind::Cuda(ref mut server) => {
                let kernel = Box::new(Task(kernel));
                // SAFETY: as above.
                unsafe { server.launch(kernel, count, arguments, mode, stream) }
            }
            Behind::Recording(ref mut server) => {
                server.launch(kernel.as_ref(), count, arguments, mode, stream);
            }
        }
    }

    fn flush(&mut self, stream: StreamId) -> Result<(), ServerError> {
        with!(self.behind, server => server.flush(stream))
    }

    fn memory_usage(&mut self, stream: StreamId) -> Result<MemoryUsage, ServerError> {
        with!(self.behind, server => server.memory_usage(stream))
    }

    fn memory_cleanup(&mut self, stream: StreamId) {
        with!(self.behind, server => server.memory_cleanup(stream));
    }

    fn start_profile(&mut self, stream: StreamId) -> Result<ProfilingToken, ServerError> {
        with!(self.behind, server => server.start_profile(stream))
    }

    fn end_profile(
        &mut self,
        stream: StreamId,
        token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        with!(self.behind, server => server.end_profile(stream, token))
    }

    fn allocation_mode(&mut self, mode: MemoryAllocationMode, stream: StreamId) {
        with!(self.behind, server => server.allocation_mode(mode, stream));
    }
}
