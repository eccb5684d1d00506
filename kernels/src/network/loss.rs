//! Sigmoid cross-entropy on logits, ℓ = Σ max(z, 0) − z t + ln(1 + e^{−|z|}), and its gradient δ = (σ(z) − t) / rows in
//! place of the logits; z and t are `[rows, columns]`.
//!
//! [`LANES`] units share a row: unit k takes the columns k, k + LANES, …, so that neighbouring units read side by side,
//! and leaves its sum in `partials[row, k]`. The partial sums are added on the host in f64, in order.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, item_count};
use crate::buffers::{array, require_bytes};
use crate::context::Context;
use crate::error::Error;

/// Units that share a row.
pub const LANES: usize = 32;

#[cube(launch_unchecked)]
fn loss_kernel(
    z: &mut Array<f32>,
    targets: &Array<f32>,
    partials: &mut Array<f32>,
    columns: u32,
    items: u32,
    scale: f32,
    #[comptime] lanes: u32,
    #[comptime] gradient: bool,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let start = item / lanes * columns;
        let mut column = item % lanes;
        let mut sum = 0.0f32;
        while column < columns {
            let at = (start + column) as usize;
            let logit = z[at];
            let target = targets[at];
            let mut size = logit;
            let mut positive = logit;
            if logit < 0.0f32 {
                size = -logit;
                positive = 0.0f32;
            }
            let e = (-size).exp();
            sum += positive - logit * target + (1.0f32 + e).ln();
            if comptime!(gradient) {
                // e^{−|z|} ≤ 1: neither form overflows.
                let mut sigmoid = 1.0f32 / (1.0f32 + e);
                if logit < 0.0f32 {
                    sigmoid *= e;
                }
                z[at] = (sigmoid - target) * scale;
            }
            column += lanes;
        }
        partials[item as usize] = sum;
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// Leaves the partial losses of each row in `partials`, `[rows, LANES]`; with `gradient`, a scale of the
/// loss, z becomes scale · (σ(z) − t) / rows.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length; [`Error::Shape`] for more values than kernels can index; launch
/// errors as [`Context::launch`].
pub fn loss(
    context: &Context,
    z: &Handle,
    targets: &Handle,
    partials: &Handle,
    rows: usize,
    columns: usize,
    gradient: Option<f64>,
) -> Result<(), Error> {
    let operation = "loss";
    let values = item_count(operation, rows, columns)?;
    let items = item_count(operation, rows, LANES)?;
    require_bytes(operation, "z", z, 4 * values as u64)?;
    require_bytes(operation, "targets", targets, 4 * values as u64)?;
    require_bytes(operation, "partials", partials, 4 * items as u64)?;
    let grid = cover(context, items, 3);
    let scale = gradient.unwrap_or(1.0) / rows as f64;
    let gradient = gradient.is_some();
    context.launch(operation, gradient, grid, move |client, cubes, units| {
        // SAFETY: z and targets hold `values` values and partials `items`, checked above.
        unsafe {
            loss_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                units,
                array(z, values),
                array(targets, values),
                array(partials, items),
                columns as u32,
                items as u32,
                scale as f32,
                LANES as u32,
                gradient,
            );
        }
    })
}

/// The mean loss of the rows whose partial losses [`loss`] left; waits for them.
///
/// # Errors
/// As [`Context::download`].
pub fn mean_loss(context: &Context, partials: &Handle, rows: usize) -> Result<f64, Error> {
    let partials: Vec<f32> = context.download("loss", partials)?;
    let total: f64 = partials.iter().map(|&part| f64::from(part)).sum();
    Ok(total / rows as f64)
}
