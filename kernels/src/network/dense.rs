//! The bias gradient of a dense layer: column sums, out_j = Σ_i δ_ij with δ of shape `[rows, columns]`.
//!
//! One unit adds [`CHUNK`] rows of one column; neighbouring units take neighbouring columns, so their reads lie side by
//! side. A second launch adds the chunks of a column in order: the result does not depend on the launch geometry.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, item_count};
use crate::buffers::{array, require_bytes};
use crate::context::Context;
use crate::error::Error;

/// Rows that one unit adds.
pub const CHUNK: usize = 32;

#[cube(launch_unchecked)]
fn column_sums_kernel(
    from: &Array<f32>,
    out: &mut Array<f32>,
    rows: u32,
    columns: u32,
    items: u32,
    chunk: u32,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let column = item % columns;
        let first = item / columns * chunk;
        let mut end = first + chunk;
        if end > rows {
            end = rows;
        }
        let mut sum = 0.0f32;
        for row in first..end {
            sum += from[(row * columns + column) as usize];
        }
        out[item as usize] = sum;
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// Values that [`column_sums`] needs for the sums of its chunks.
pub fn column_sums_scratch(rows: usize, columns: usize) -> usize {
    rows.div_ceil(CHUNK) * columns
}

/// out ← the column sums of `delta`, `[rows, columns]`; `scratch` holds at least [`column_sums_scratch`] values.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length; [`Error::Shape`] for more values than kernels can index; launch
/// errors as [`Context::launch`].
pub fn column_sums(
    context: &Context,
    delta: &Handle,
    scratch: &Handle,
    out: &Handle,
    rows: usize,
    columns: usize,
) -> Result<(), Error> {
    let operation = "bias gradient";
    item_count(operation, rows, columns)?;
    require_bytes(operation, "delta", delta, 4 * (rows * columns) as u64)?;
    require_bytes(operation, "out", out, 4 * columns as u64)?;
    let partials = column_sums_scratch(rows, columns);
    let chunks = rows.div_ceil(CHUNK);
    let room = scratch.size_in_used();
    if room < 4 * partials as u64 {
        return Err(Error::Length {
            operation,
            argument: "scratch",
            found: room,
            expected: 4 * partials as u64,
        });
    }
    let stages = [
        (delta, rows, scratch, partials, CHUNK),
        (scratch, chunks, out, columns, chunks),
    ];
    for (from, rows, to, items, chunk) in stages {
        let grid = cover(context, items, 2);
        context.launch(operation, (), grid, move |client, cubes, units| {
            // SAFETY: `from` holds rows · columns values and `to` at least `items`, checked above.
            unsafe {
                column_sums_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    array(from, rows * columns),
                    array(to, items),
                    rows as u32,
                    columns as u32,
                    items as u32,
                    chunk as u32,
                );
            }
        })?;
    }
    Ok(())
}
