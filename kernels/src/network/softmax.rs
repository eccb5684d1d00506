//! Softmax cross-entropy of a row of logits z and its class t, and its gradient:
//!
//! ℓ = ln Σ e^{z − m} + m − z_t with m = max z, and δ = ν(weight · (e^{z − m} / Σ e^{z − m} − [t])),
//!
//! where ν rounds to the format of the network's values. A cube takes a row; its units add in a fixed order.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::codes::CodedRows;
use super::require_rows;
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Grid, array};
use crate::precision::{PrecisionKind, held};
use crate::product::{Rounding, rounded};

const OPERATION: &str = "softmax cross-entropy";

/// Units of a cube, a power of two; the order of the sums depends on it.
const UNITS: usize = 32;
/// Cubes at most; every device allows as many along x.
const CUBES: usize = 1 << 15;

/// The largest of a value of each unit, or their sum.
#[cube]
fn of_units(value: f32, shared: &mut SharedMemory<f32>, #[comptime] largest: bool) -> f32 {
    let unit = UNIT_POS as usize;
    // What was found before has been read by all.
    sync_cube();
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            let (own, other) = (shared[unit], shared[unit + half]);
            shared[unit] = if comptime!(largest) {
                select(other > own, other, own)
            } else {
                own + other
            };
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}

#[cube(launch_unchecked)]
fn softmax_kernel(
    classes: &Array<u32>,
    logits: &mut Array<f32>,
    losses: &mut Array<f32>,
    weight: f32,
    first: u32,
    rows: u32,
    columns: u32,
    stride: u32,
    #[comptime] gradient: bool,
    #[comptime] rounding: Rounding,
) {
    let weight = held(weight);
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let units = comptime!(UNITS as u32);
    let mut row = CUBE_POS as u32;
    while row < rows {
        let base = row * stride;
        let class = classes[(first + row) as usize];
        let of_class = logits[(base + class) as usize];
        let mut largest = logits[base as usize];
        let mut column = UNIT_POS;
        while column < columns {
            let z = logits[(base + column) as usize];
            largest = select(z > largest, z, largest);
            column += units;
        }
        let largest = of_units(largest, &mut shared, true);
        let mut sum = 0.0f32;
        let mut column = UNIT_POS;
        while column < columns {
            sum += (logits[(base + column) as usize] - largest).exp();
            column += units;
        }
        let sum = of_units(sum, &mut shared, false);
        if UNIT_POS == 0 {
            losses[row as usize] = sum.ln() + (largest - of_class);
        }
        if comptime!(gradient) {
            let mut column = UNIT_POS;
            while column < columns {
                let at = (base + column) as usize;
                let share = (logits[at] - largest).exp() / sum;
                let error = select(column == class, share - 1.0f32, share);
                logits[at] = rounded(weight * error, rounding);
                column += units;
            }
        }
        row += CUBE_COUNT as u32;
    }
}

/// Rows of logits, `[rows, columns]` in f32 with `stride` values from one to the next, that become δ.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    /// Where they lie.
    pub buffer: &'a Handle,
    /// Rows.
    pub rows: usize,
    /// Columns, one for each class.
    pub columns: usize,
    /// Values from one row to the next.
    pub stride: usize,
}

impl Logits<'_> {
    /// Writes the loss of each row to `losses`, and, with a weight, `weight` times its gradient over the logits, rounded to the
    /// format of the precision's parameters. The classes are those of the rows from `first` on.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows that have no class, classes that have no column, and more values than kernels can index;
    /// [`Error::Length`] for a buffer that is too short; launch errors as [`Context::launch`].
    pub fn softmax(
        self,
        context: &Context,
        precision: PrecisionKind,
        (classes, first): (&CodedRows, usize),
        weight: Option<f64>,
        losses: &Handle,
    ) -> Result<(), Error> {
        let rounding = Rounding::of(precision);
        let Self {
            buffer,
            rows,
            columns,
            stride,
        } = self;
        classes.require(OPERATION, first, rows)?;
        classes.require_classes(OPERATION, columns)?;
        require_rows(OPERATION, buffer, [rows, columns], stride)?;
        require_rows(OPERATION, losses, [rows, 1], 1)?;
        let gradient = weight.is_some();
        let grid = Grid {
            cubes: rows.min(CUBES) as u32,
            units: UNITS as u32,
            // The scalars travel in a buffer of their own.
            buffers: 4,
        };
        let variant = (gradient, rounding);
        context.launch(OPERATION, variant, grid, move |client, cubes, units| {
            let values = |buffer: &Handle| (buffer.size_in_used() / 4) as usize;
            // SAFETY: a class for each row, a column for each class, and room for rows and losses were checked above.
            unsafe {
                softmax_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    array(&classes.classes, classes.count()),
                    array(buffer, values(buffer)),
                    array(losses, values(losses)),
                    weight.unwrap_or(1.0) as f32,
                    first as u32,
                    rows as u32,
                    columns as u32,
                    stride as u32,
                    gradient,
                    rounding,
                );
            }
        })
    }
}
