//! A batch on its way to the network: [rows, columns] without gaps, to rows `stride` values apart, each value rounded to the format
//! of the network's.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::buffers::{array, require_bytes};
use crate::context::{Context, Grid, Processor};
use crate::error::Error;
use crate::precision::{Precision, PrecisionKind, PrecisionVisitor, Storage};

const OPERATION: &str = "placing a batch";

#[cube(launch_unchecked)]
fn place_kernel<S: Storage>(
    from: &Array<f32>,
    to: &mut Array<f32>,
    columns: u32,
    stride: u32,
    items: u32,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let at = item / columns * stride + item % columns;
        to[at as usize] = S::nearest(from[item as usize]);
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// Places `from`, `rows` × `columns` values of f32, at the start of `to`.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length, or `to` is too short; [`Error::Shape`] for more values than kernels can index;
/// launch errors as [`Context::launch`].
pub(super) fn place(
    context: &Context,
    precision: PrecisionKind,
    from: &Handle,
    to: &Handle,
    [rows, columns]: [usize; 2],
    stride: usize,
) -> Result<(), Error> {
    let values = rows.checked_mul(stride);
    let Some(needed) = values.filter(|&it| (1..1 << 31).contains(&it) && stride >= columns) else {
        return Err(Error::Shape {
            operation: OPERATION,
            argument: "rows × stride",
            found: format!("{rows} × {stride}, of {columns} columns"),
            expected: "1 to 2³¹ − 1 values".into(),
        });
    };
    let items = rows * columns;
    require_bytes(OPERATION, "from", from, 4 * items as u64)?;
    if to.size_in_used() < 4 * needed as u64 {
        return Err(Error::Length {
            operation: OPERATION,
            argument: "to",
            found: to.size_in_used(),
            expected: 4 * needed as u64,
        });
    }
    precision.accept(Placing {
        context,
        from,
        to,
        columns,
        stride,
        items,
    })
}

struct Placing<'a> {
    context: &'a Context,
    from: &'a Handle,
    to: &'a Handle,
    columns: usize,
    stride: usize,
    items: usize,
}

impl PrecisionVisitor for Placing<'_> {
    type Output = Result<(), Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        let Self {
            context,
            from,
            to,
            columns,
            stride,
            items,
        } = self;
        let units = match context.processor() {
            Processor::Cpu => 32,
            Processor::Gpu => 256,
        };
        let grid = Grid {
            cubes: items.div_ceil(units as usize).clamp(1, 1 << 15) as u32,
            units,
            // The scalars of a kernel travel in a buffer of their own.
            buffers: 3,
        };
        let variant = type_name::<P::Params>();
        context.launch(OPERATION, variant, grid, move |client, cubes, units| {
            let room = (to.size_in_used() / 4) as usize;
            // SAFETY: `from` holds `items` values, and `to` the last of them in its place, checked by `place`.
            unsafe {
                place_kernel::launch_unchecked::<P::Params, Gpu>(
                    client,
                    cubes,
                    units,
                    array(from, items),
                    array(to, room),
                    columns as u32,
                    stride as u32,
                    items as u32,
                );
            }
        })
    }
}
