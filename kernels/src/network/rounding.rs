//! Activations and their gradients rounded to the format of the parameters, which is how they would be stored. The
//! buffers hold f32; rounded values multiply and add up as those of the format itself would with sums in f32.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, item_count};
use crate::buffers::{array, require_bytes};
use crate::context::Context;
use crate::error::Error;
use crate::precision::{Precision, PrecisionKind, PrecisionVisitor, Storage};

#[cube(launch_unchecked)]
fn round_kernel<S: Storage>(values: &mut Array<f32>, items: u32) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        values[item as usize] = S::nearest(values[item as usize]);
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// Rounds the f32 of `values`, `[rows, columns]`, to the format of the parameters.
///
/// # Errors
/// [`Error::Length`] if the buffer has another length; [`Error::Shape`] for more values than kernels can index; launch
/// errors as [`Context::launch`].
pub fn round(
    context: &Context,
    precision: PrecisionKind,
    values: &Handle,
    rows: usize,
    columns: usize,
) -> Result<(), Error> {
    if precision.parameter_bytes() == 4 {
        return Ok(());
    }
    let operation = "rounding";
    let items = item_count(operation, rows, columns)?;
    require_bytes(operation, "values", values, 4 * items as u64)?;
    precision.accept(Round {
        context,
        values,
        items,
    })
}

struct Round<'a> {
    context: &'a Context,
    values: &'a Handle,
    items: usize,
}

impl PrecisionVisitor for Round<'_> {
    type Output = Result<(), Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        let Self {
            context,
            values,
            items,
        } = self;
        let grid = cover(context, items, 1);
        let variant = type_name::<P::Params>();
        context.launch("rounding", variant, grid, move |client, cubes, units| {
            // SAFETY: the buffer was checked to hold the items.
            unsafe {
                round_kernel::launch_unchecked::<P::Params, Gpu>(
                    client,
                    cubes,
                    units,
                    array(values, items),
                    items as u32,
                );
            }
        })
    }
}
