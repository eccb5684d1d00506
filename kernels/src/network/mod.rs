//! What the autoencoder needs beyond a matrix product: bias and tanh, their derivative, the loss and its derivative,
//! and bias gradients.
//!
//! * activation: a = tanh(z + b), or z + b on linear layers;
//! * backward: δ ← δ (1 − a²);
//! * bias gradient: the column sums of δ;
//! * loss: sigmoid cross-entropy on logits, summed over pixels and averaged over the batch,
//!   ℓ = Σ max(z, 0) − z t + ln(1 + e^{−|z|}), δ = (σ(z) − t) / batch.
//!
//! [`host`] holds them for CPU adapters, where activations stay in host memory beside the host product: moving them
//! to the software driver and back costs more than they do.

pub mod host;
pub mod reference;
