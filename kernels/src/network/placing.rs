//! A batch on its way to the network: [rows, columns] without gaps, to rows `stride` values apart, each value rounded to the format
//! of the network's.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, require_rows};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{array, require_bytes};
use crate::product::{Rounding, rounded};

const OPERATION: &str = "placing a batch";

#[cube(launch_unchecked)]
fn place_kernel(
    from: &Array<f32>,
    to: &mut Array<f32>,
    columns: u32,
    stride: u32,
    items: u32,
    #[comptime] rounding: Rounding,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let at = item / columns * stride + item % columns;
        to[at as usize] = rounded(from[item as usize], rounding);
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// Places `from`, `rows` × `columns` values of f32, at the start of `to`.
///
/// # Errors
/// [`Error::Length`] if `from` has another length, or `to` is too short; [`Error::Shape`] for more values than kernels can index;
/// launch errors as [`Context::launch`].
pub(super) fn place(
    context: &Context,
    rounding: Rounding,
    from: &Handle,
    to: &Handle,
    shape @ [rows, columns]: [usize; 2],
    stride: usize,
) -> Result<(), Error> {
    require_rows(OPERATION, to, shape, stride)?;
    let items = rows * columns;
    require_bytes(OPERATION, "from", from, 4 * items as u64)?;
    let grid = cover(context, items, 2);
    context.launch(OPERATION, rounding, grid, move |client, cubes, units| {
        let room = (to.size_in_used() / 4) as usize;
        // SAFETY: `from` holds `items` values, and `to` the last of them in its place, checked above.
        unsafe {
            place_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                units,
                array(from, items),
                array(to, room),
                columns as u32,
                stride as u32,
                items as u32,
                rounding,
            );
        }
    })
}
