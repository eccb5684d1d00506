//! What the autoencoder needs beyond a matrix product: bias and tanh, their derivative, the loss and its derivative,
//! and bias gradients.
//!
//! * activation: a = tanh(z + b), or z + b on linear layers;
//! * backward: δ ← δ (1 − a²);
//! * bias gradient: the column sums of δ;
//! * loss: sigmoid cross-entropy on logits, summed over pixels and averaged over the batch,
//!   ℓ = Σ max(z, 0) − z t + ln(1 + e^{−|z|}), δ = (σ(z) − t) / batch.
//!
//! [`activation`], [`dense`], [`loss`] and [`rounding`] are kernels. [`elementwise`] holds the same for CPU adapters, where activations stay
//! in host memory beside the host product: moving them to the software driver and back costs more than they do.

pub mod activation;
pub mod dense;
pub mod loss;
pub mod reference;
pub mod rounding;

pub use sonew_host::elementwise;

use crate::context::{Context, Grid, Processor};
use crate::error::Error;

/// Values of a `[rows, columns]` matrix, or why a kernel cannot index them.
fn item_count(operation: &'static str, rows: usize, columns: usize) -> Result<usize, Error> {
    rows.checked_mul(columns)
        .filter(|&items| (1..1 << 31).contains(&items))
        .ok_or_else(|| Error::Shape {
            operation,
            argument: "rows × columns",
            found: format!("{rows} × {columns}"),
            expected: "1 to 2³¹ − 1 values".into(),
        })
}

/// A launch with about one unit per item; kernels walk on by the number of units.
fn cover(context: &Context, items: usize, buffers: u32) -> Grid {
    let units = match context.processor() {
        Processor::Cpu => 32,
        Processor::Gpu => 256,
    };
    Grid {
        cubes: items.div_ceil(units as usize).clamp(1, 1 << 15) as u32,
        units,
        // The scalars of a kernel travel in a buffer of their own.
        buffers: buffers + 1,
    }
}
