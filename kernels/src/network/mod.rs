//! The autoencoder's layers beyond their products: bias and tanh, their derivative, the loss and its derivative.
//!
//! * activation: a = tanh(z + b), or z + b on linear layers;
//! * backward: δ ← δ (1 − a²);
//! * bias gradient: the column sums of δ;
//! * loss: sigmoid cross-entropy on logits, summed over pixels and averaged over the batch,
//!   ℓ = Σ max(z, 0) − z t + ln(1 + e^{−|z|}), δ = (σ(z) − t) / batch.
//!
//! On a device all of it happens in the tails of products, [`DenseLayers`]. [`elementwise`] holds the same for CPU adapters, where
//! activations stay in host memory beside the host product: moving them to the software driver and back costs more than they do.

pub(crate) mod activation;
mod dense;
mod gathering;
pub(crate) mod loss;
mod placing;
pub mod reference;
mod room;

pub use dense::{DenseLayers, Layer, Step};
pub use gathering::{ImageOrder, PackedImages};
pub use sonew_host::elementwise;
