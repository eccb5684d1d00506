//! Dense layers that workloads share: their tensors, and what runs them in host memory and in that of a device.
//!
//! Parameters, gradients, inputs, activations and their gradients are held in the format of the precision's parameters: each result
//! of a product, of a layer's elementwise part and of a sum is rounded to it once. Products and sums are in f32.

mod device;
mod error;
mod host;
mod tensors;

pub(super) use device::DeviceLayers;
pub use error::NetworkError;
pub(super) use host::HostLayers;
pub(super) use tensors::{Layer, tensors_of_layer};
pub use tensors::{shapes, tensors};
