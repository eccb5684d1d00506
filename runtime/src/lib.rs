//! Which devices this machine has, what they can compute with, and how long work on them takes.
//!
//! * [`survey()`] lists the devices and says, for each kind that is absent, what was looked for and
//!   what to install. It never panics and gives up on a driver that does not answer.
//! * [`open`] opens one of them by its [`Selector`]; every backend is the same type to kernels, [`Gpu`].
//! * [`Format`] and [`Support`] say how each number format is available on a device.
//! * [`time`] measures work with the device's clock where there is one, and says which clock it was.
//! * [`recorder`] records the text that launches compile to, with no device at all.
//! * [`keep_kernels`] and [`save_kernels`] keep compiled kernels from process to process.
//! * [`check`] brings out the errors of earlier launches, which `CubeCL` only keeps on a list.
//!
//! # Opening a device and running on it
//!
//! ```no_run
//! use sonew_runtime::{Selector, open};
//!
//! # fn main() -> Result<(), sonew_runtime::Error> {
//! let device = open(Selector::Auto)?;
//! let largest = device.client.properties().memory.max_page_size;
//! println!("{}: buffers of up to {largest} bytes", device.info.name);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `wgpu` | Vulkan (Metal on macOS) through wgpu, kernels as WGSL |
//! | `vulkan` | the same adapters through Vulkan, kernels as SPIR-V |
//! | `cuda` | NVIDIA GPUs through CUDA; the libraries are loaded when the program runs |
//!
//! At least one of `wgpu` and `cuda` is needed.
//!
//! # Rooms
//!
//! | room | job | knows |
//! |---|---|---|
//! | `devices` | names, lists and opens what the machine has | `gpu`, `kept` |
//! | `gpu` | one CubeCL runtime whose servers and compilers are those of all backends, and of recordings | the servers of `recorder` |
//! | `recorder` | a server without hardware, which keeps texts and may execute them on the host | `gpu` for its compilers |
//! | `kept` | compiled kernels from process to process | nothing |
//!
//! # Threads
//!
//! A `CubeCL` stream belongs to the thread that uses it: launch and read from one thread per device.

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
compile_error!("sonew-runtime needs a backend: build it with feature `wgpu`, `vulkan` or `cuda`");

mod check;
mod clock;
mod devices;
mod error;
mod gpu;
mod guard;
mod kept;
pub mod recorder;

pub use check::check;
pub use clock::{Timing, TimingMethod, time};
pub use devices::{
    Backend, Device, DeviceInfo, Format, FormatSupport, LookedFor, Missing, ParseSelectorError,
    Processor, Profile, Selector, Sought, Support, Survey, Units, open, support, survey,
};
pub use error::Error;
pub use gpu::{Client, Gpu};
pub use kept::{KeptKernels, keep_kernels, save_kernels};
