//! Layers of networks beyond their products: bias and tanh, their derivative, losses and their derivatives.
//!
//! * activation: a = tanh(z + b), or z + b on linear layers;
//! * backward: δ ← δ (1 − a²);
//! * bias gradient: the column sums of δ;
//! * loss: sigmoid cross-entropy on logits, summed over pixels and averaged over the batch,
//!   ℓ = Σ max(z, 0) − z t + ln(1 + e^{−|z|}), δ = (σ(z) − t) / batch;
//! * between codes: rows of a table for what goes in, [`Embedding`], and softmax cross-entropy for what comes out, [`Logits`].
//!
//! On a device all but the last happens in the tails of products, [`DenseLayers`]. [`elementwise`] and [`coded_rows`] hold the same
//! for CPU adapters, where activations stay in host memory beside the host product: moving them to the software driver and back
//! costs more than they do.

pub(crate) mod activation;
mod coded;
mod codes;
mod dense;
mod embedding;
mod gathering;
pub(crate) mod loss;
mod placing;
#[cfg(feature = "contract")]
pub mod reference;
mod room;
mod softmax;
mod tables;

pub use codes::CodedRows;
pub use dense::{DenseLayers, Layer};
pub use embedding::Embedding;
pub use gathering::{ImageOrder, PackedImages};
pub use softmax::Logits;
#[cfg(feature = "host")]
pub use sonew_host::{coded_rows, elementwise};
pub use tables::{Step, steps};

use cubecl::server::Handle;

use crate::context::{Context, Units};
use crate::error::Error;
use crate::launch::Grid;

/// A launch with about one unit per item; kernels walk on by the number of units.
fn cover(context: &Context, items: usize, buffers: u32) -> Grid {
    let units = match context.profile().units {
        Units::Few => 32,
        Units::Many => 256,
    };
    Grid {
        cubes: items.div_ceil(units as usize).clamp(1, 1 << 15) as u32,
        units,
        // The scalars of a kernel travel in a buffer of their own.
        buffers: buffers + 1,
    }
}

/// Requires that kernels can index rows that are `stride` values apart, and that `to`, of f32, holds them.
fn require_rows(
    operation: &'static str,
    to: &Handle,
    [rows, columns]: [usize; 2],
    stride: usize,
) -> Result<(), Error> {
    let values = rows.checked_mul(stride);
    let fits = |&values: &usize| (1..1 << 31).contains(&values) && stride >= columns;
    let Some(values) = values.filter(fits) else {
        return Err(Error::Shape {
            operation,
            argument: "rows × stride",
            found: format!("{rows} × {stride}, of {columns} columns"),
            expected: "1 to 2³¹ − 1 values".into(),
        });
    };
    let (found, expected) = (to.size_in_used(), 4 * values as u64);
    if found >= expected {
        return Ok(());
    }
    Err(Error::Length {
        operation,
        argument: "to",
        found,
        expected,
    })
}
