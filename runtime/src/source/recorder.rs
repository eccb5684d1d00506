//! The runtime that records.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use cubecl::Runtime;
use cubecl::client::ComputeClient;
use cubecl::device::{Device, DeviceId};
use cubecl::ir::TargetProperties;
use cubecl::zspace::{Shape, Strides};

use super::language::{CompilerOf, Language};
use super::server::Server;

/// A runtime of `CubeCL` that keeps the text of kernels in the language `L` and runs none.
#[derive(Clone, Debug)]
pub struct Recorder<L>(PhantomData<L>);

/// A device that no other recording uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blank(u32);

impl Blank {
    pub(crate) fn unused() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Types of device below this one are other runtimes'; devices of the same id share a thread.
const FIRST_TYPE: u16 = 1 << 15;

impl Device for Blank {
    fn from_id(id: DeviceId) -> Self {
        let high = u32::from(id.type_id - FIRST_TYPE);
        Self(high << 16 | u32::from(id.index_id))
    }

    fn to_id(&self) -> DeviceId {
        let [a, b, c, d] = self.0.to_be_bytes();
        DeviceId {
            type_id: FIRST_TYPE | u16::from_be_bytes([a, b]),
            index_id: u16::from_be_bytes([c, d]),
        }
    }
}

impl<L: Language> Runtime for Recorder<L> {
    type Compiler = CompilerOf<L>;
    type Server = Server<L>;
    type Device = Blank;

    fn client(device: &Blank) -> ComputeClient<Self> {
        ComputeClient::load(device)
    }

    fn name(_client: &ComputeClient<Self>) -> &'static str {
        L::RUNTIME
    }

    fn require_array_lengths() -> bool {
        L::Like::require_array_lengths()
    }

    fn max_cube_count() -> (u32, u32, u32) {
        L::Like::max_cube_count()
    }

    fn can_read_tensor(shape: &Shape, strides: &Strides) -> bool {
        L::Like::can_read_tensor(shape, strides)
    }

    fn target_properties() -> TargetProperties {
        L::Like::target_properties()
    }

    fn enumerate_devices(
        _: u16,
        _: &<Self::Server as cubecl::server::ComputeServer>::Info,
    ) -> Vec<DeviceId> {
        // As many as anybody asks for: none is there before it is used.
        Vec::new()
    }
}
