//! Which devices this machine has, what they can compute with, and how long work on them takes.
//!
//! * [`survey()`] lists the devices and says, for each kind that is absent, what was looked for and
//!   what to install. It never panics and gives up on a driver that does not answer.
//! * [`open`] opens one of them by its [`Selector`]; [`Device::accept`] runs generic code on it.
//! * [`Format`] and [`Support`] say how each number format is available on a device.
//! * [`time`] measures work with the device's clock where there is one, and says which clock it was.
//! * [`source`] records the text that launches compile to, with no device at all.
//! * [`check`] brings out the errors of earlier launches, which `CubeCL` only keeps on a list.
//!
//! # Opening a device and running on it
//!
//! ```no_run
//! use cubecl::prelude::*;
//! use sonew_runtime::{DeviceVisitor, Opened, Selector, open};
//!
//! struct LargestBuffer;
//!
//! impl DeviceVisitor for LargestBuffer {
//!     type Output = u64;
//!     fn visit<R: Runtime>(self, device: Opened<R>) -> u64 {
//!         device.client.properties().memory.max_page_size
//!     }
//! }
//!
//! # fn main() -> Result<(), sonew_runtime::Error> {
//! let device = open(Selector::Auto)?;
//! let name = device.info().name.clone();
//! println!("{name}: {} bytes", device.accept(LargestBuffer));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `wgpu` | Vulkan (Metal on macOS) through wgpu, kernels as WGSL |
//! | `vulkan` | the same, but every Vulkan adapter gets SPIR-V; decided when the program is built |
//! | `cuda` | NVIDIA GPUs through CUDA; the libraries are loaded when the program runs |
//!
//! # Threads
//!
//! A `CubeCL` stream belongs to the thread that uses it: launch and read from one thread per device.

#[cfg(feature = "wgpu")]
mod adapters;
mod check;
mod clock;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod error;
mod formats;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod guard;
mod missing;
mod selector;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub mod source;
mod survey;
mod table;

pub use check::check;
pub use clock::{Timing, TimingMethod, time};
pub use device::{Device, DeviceVisitor, Opened, open};
pub use error::Error;
pub use formats::{Format, FormatSupport, Support, support};
pub use missing::{LookedFor, Missing, Sought};
pub use selector::{ParseSelectorError, Selector};
pub use survey::{Backend, DeviceInfo, Processor, Survey, survey};
