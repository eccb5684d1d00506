//! One runtime for every backend.
//!
//! `CubeCL` makes each backend a type, and whatever launches a kernel is compiled once for each of them.
//! Here the backend is a value behind one type, [`Gpu`]: a kernel, an optimizer or a test is compiled
//! once, and runs on whichever device was opened. A kernel that is compiled, a launch or a read passes
//! one match more on its way; what the backend is given is the same.

mod compiler;
mod door;
mod layout;
mod server;
#[cfg(feature = "wgpu")]
mod wgsl;

use cubecl::Runtime;
use cubecl::client::ComputeClient;
use cubecl::device::DeviceId;
use cubecl::ir::TargetProperties;
use cubecl::zspace::{Shape, Strides};

pub(crate) use compiler::{AnyCompiler, Options, Text};
pub(crate) use door::Door;
pub(crate) use layout::Layout;
pub use server::{Backing, Server};

/// The runtime of `CubeCL` whose devices are those of all backends, and [recordings](crate::recorder).
#[derive(Clone, Debug)]
pub struct Gpu;

/// What kernels are launched with and buffers are made by.
pub type Client = ComputeClient<Gpu>;

impl Runtime for Gpu {
    type Compiler = AnyCompiler;
    type Server = Server;
    type Device = Door;

    fn client(device: &Door) -> Client {
        ComputeClient::load(device)
    }

    fn name(client: &Client) -> &'static str {
        client.info().runtime()
    }

    /// The least of all backends; a device's own limit is in its properties.
    fn max_cube_count() -> (u32, u32, u32) {
        let most = u32::from(u16::MAX);
        (most, most, most)
    }

    fn can_read_tensor(shape: &Shape, strides: &Strides) -> bool {
        let mut contiguous = 1;
        shape
            .iter()
            .zip(strides.iter())
            .rev()
            .all(|(&length, &stride)| {
                let follows = stride == contiguous;
                contiguous *= length;
                follows
            })
    }

    /// Only the layout of a warp's matrix instructions: CUDA's for 16-bit factors, and no other device is given any.
    fn target_properties() -> TargetProperties {
        TargetProperties {
            mma: Default::default(),
        }
    }

    fn enumerate_devices(_: u16, _: &Backing) -> Vec<DeviceId> {
        // Devices are found by `survey` and opened by `open`.
        Vec::new()
    }
}
