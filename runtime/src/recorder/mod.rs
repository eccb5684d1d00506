//! The text that kernels compile to, recorded from ordinary launches without a device.
//!
//! [`record`] gives a client whose "device" is no hardware: buffers lie in host memory, and a launch
//! compiles its kernel to the text that `CubeCL` would give to the driver, and keeps it. The kernel,
//! its generics, its comptime values and its geometry are those that the launch function chose for
//! the properties of the device, so what is recorded is the variant that such a device would run.
//!
//! | language | text | as on |
//! |---|---|---|
//! | `CudaSm80`, `CudaSm90` (feature `cuda`) | CUDA C++ | an A100, an H100 |
//! | `Wgsl` (feature `wgpu`) | WGSL | a GPU through wgpu |
//! | `Spirv` (feature `vulkan`) | SPIR-V, disassembled | a GPU through Vulkan |
//!
//! Nothing is computed unless an [`Executor`] is given, so buffers keep what was written to them. [`host::HostCuda`] is one, for
//! CUDA C++; [`nvrtc::Nvrtc`] compiles it as NVIDIA does.
//!
//! CUDA C++ and WGSL are the same in every run. `CubeCL` leaves the order of vector types, variables
//! and shared memories to chance; here they come by name and number, which is all that differs from
//! the driver's text. Not settled are the places of CUDA's shared memories where some of different
//! size are in use at once, and nothing is in SPIR-V.
//!
//! ```
//! # #[cfg(feature = "wgpu")]
//! # mod example {
//! use cubecl::prelude::*;
//! use sonew_runtime::recorder::{Language, record};
//!
//! #[cube(launch)]
//! fn halve(x: &mut Array<f32>) {
//!     x[ABSOLUTE_POS] *= 0.5;
//! }
//!
//! # pub fn run() {
//! let recording = record(Language::Wgsl);
//! let client = recording.client();
//! let x = client.empty(64 * size_of::<f32>());
//! // SAFETY: the buffer was made with this many numbers.
//! let argument = unsafe { ArrayArg::from_raw_parts(x, 64) };
//! halve::launch(&client, CubeCount::new_1d(1), CubeDim::new_1d(64), argument);
//! for launch in recording.take().unwrap() {
//!     println!("{}", launch.source.readable());
//! }
//! # }
//! # }
//! # #[cfg(feature = "wgpu")]
//! # example::run();
//! ```

#[cfg(feature = "cuda")]
mod cuda;
mod declarations;
mod executor;
#[cfg(feature = "cuda")]
pub mod host;
mod indent;
mod language;
mod launch;
mod ledger;
mod memory;
#[cfg(feature = "cuda")]
pub mod nvrtc;
mod recording;
mod server;
#[cfg(feature = "cuda")]
mod shared;
#[cfg(feature = "cuda")]
mod structs;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use executor::{Buffer, Executor};
pub use language::Language;
pub(crate) use ledger::Ledger;
pub(crate) use memory::{HostStorage, Region};
pub use recording::{Launch, Recording, Source, record};
pub(crate) use server::Recorder;
