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
#[cfg(feature = "contract")]
pub mod reference;
mod room;
mod tables;

pub use dense::{DenseLayers, Layer};
pub use gathering::{ImageOrder, PackedImages};
#[cfg(feature = "host")]
pub use sonew_host::elementwise;
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
