//! A table of vectors, one for each code, and rows of codes that stand for them.
//!
//! * look-up: row r of the batch is t_{c₁} t_{c₂} … t_{c_C}, for the codes c of its C places and the table's rows t, `[V, E]`;
//! * gradient: ∂t_v = Σ δ of all places of all rows where the code v stands.
//!
//! A cube finds the gradient of a few columns of one row of the table: its units walk all codes of the batch and add where theirs
//! stands, then they add what each found, in a fixed order and without atomics. So the bits do not depend on how the device is busy.
//! Neighbouring units take neighbouring columns of one place, a sector of a GPU's memory.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::codes::CodedRows;
use super::{cover, require_rows};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Grid, array};

const LOOKING_UP: &str = "looking up codes";
const GRADIENT: &str = "gradient of a table";

/// Columns of the table that a cube takes: a sector of a GPU's memory.
const COLUMNS: usize = 8;
/// Parts of the batch that the units of a cube walk side by side, a power of two; the order of the sums depends on it.
const PARTS: usize = 32;
/// Cubes at most; every device allows as many along x.
const CUBES: usize = 1 << 15;

/// A table in the parameters' arena, `[codes, width]` row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Codes V, each of which has a row.
    pub codes: usize,
    /// Values E of a row.
    pub width: usize,
    /// Where it begins.
    pub start: usize,
}

#[cube(launch_unchecked)]
fn look_up_kernel(
    codes: &Array<u32>,
    params: &Array<f32>,
    to: &mut Array<f32>,
    first_code: u32,
    start: u32,
    width: u32,
    columns: u32,
    stride: u32,
    items: u32,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        // Rows of codes have no gaps, so the place in the batch is that of the item.
        let code = codes[(first_code + item / width) as usize];
        let at = item / columns * stride + item % columns;
        to[at as usize] = params[(start + code * width + item % width) as usize];
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

#[cube(launch_unchecked)]
fn table_gradient_kernel(
    codes: &Array<u32>,
    deltas: &Array<f32>,
    gradient: &mut Array<f32>,
    first_code: u32,
    items: u32,
    places: u32,
    start: u32,
    width: u32,
    stride: u32,
    blocks: u32,
    cells: u32,
) {
    let mut shared = SharedMemory::<f32>::new(comptime!(COLUMNS * PARTS));
    let unit = UNIT_POS as usize;
    let part = UNIT_POS / comptime!(COLUMNS as u32);
    let mut cell = CUBE_POS as u32;
    while cell < cells {
        let code = cell / blocks;
        let column =
            cell % blocks * comptime!(COLUMNS as u32) + UNIT_POS % comptime!(COLUMNS as u32);
        let mut sum = 0.0f32;
        if column < width {
            let mut item = part;
            while item < items {
                if codes[(first_code + item) as usize] == code {
                    let at = item / places * stride + item % places * width + column;
                    sum += deltas[at as usize];
                }
                item += comptime!(PARTS as u32);
            }
        }
        shared[unit] = sum;
        sync_cube();
        let mut half = comptime!(COLUMNS * PARTS / 2).runtime();
        while half >= COLUMNS {
            if unit < half {
                let other = shared[unit + half];
                shared[unit] += other;
            }
            sync_cube();
            half /= 2;
        }
        if unit < COLUMNS && column < width {
            gradient[(start + code * width + column) as usize] = shared[unit];
        }
        // The next sums are written once all have been read.
        sync_cube();
        cell += CUBE_COUNT as u32;
    }
}

impl Embedding {
    /// Values of a row of `places` codes.
    pub fn columns(&self, places: usize) -> usize {
        places.saturating_mul(self.width)
    }

    /// Values that an arena needs to hold it, if they can be indexed.
    pub(super) fn end(&self) -> Option<usize> {
        let values = self.codes.checked_mul(self.width)?;
        let end = self.start.checked_add(values)?;
        (values > 0 && end < 1 << 32).then_some(end)
    }

    /// Requires that `arena` holds it, and the rows `first` to `first + rows` of codes below [`Embedding::codes`].
    fn require(
        &self,
        operation: &'static str,
        arena: &Handle,
        codes: &CodedRows,
        [first, rows]: [usize; 2],
    ) -> Result<(), Error> {
        codes.require(operation, first, rows)?;
        codes.require_codes(operation, self.codes)?;
        let found = arena.size_in_used();
        let needs = self.end().map(|end| 4 * end as u64);
        if needs.is_some_and(|needs| needs <= found) {
            return Ok(());
        }
        Err(Error::Shape {
            operation,
            argument: "embedding",
            found: format!("{self:?}"),
            expected: format!("a table within the {} values of the arena", found / 4),
        })
    }

    /// Writes what the rows `first` to `first + rows` of codes stand for to `to`, `[rows, places · width]` in f32, `stride` values
    /// from one row to the next. `params` is an arena of f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows that are not there, codes that the table does not have, a table that the arena does not hold, and
    /// more values than kernels can index; [`Error::Length`] if `to` is too short; launch errors as [`Context::launch`].
    pub fn look_up(
        &self,
        context: &Context,
        params: &Handle,
        codes: &CodedRows,
        batch @ [first, rows]: [usize; 2],
        to: &Handle,
        stride: usize,
    ) -> Result<(), Error> {
        self.require(LOOKING_UP, params, codes, batch)?;
        let columns = self.columns(codes.places());
        require_rows(LOOKING_UP, to, [rows, columns], stride)?;
        let items = rows * columns;
        let grid = cover(context, items, 3);
        context.launch(LOOKING_UP, (), grid, move |client, cubes, units| {
            let values = |buffer: &Handle| (buffer.size_in_used() / 4) as usize;
            // SAFETY: the rows of codes, the table's rows for all of them, and room for the batch were checked above.
            unsafe {
                look_up_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    array(&codes.codes, values(&codes.codes)),
                    array(params, values(params)),
                    array(to, values(to)),
                    (first * codes.places()) as u32,
                    self.start as u32,
                    self.width as u32,
                    columns as u32,
                    stride as u32,
                    items as u32,
                );
            }
        })
    }

    /// Writes the gradient of the table to its place in `gradient`, an arena of f32. `deltas`, `[rows, places · width]` in f32 with
    /// `stride` values from one row to the next, is the gradient of what [`Embedding::look_up`] wrote for the same rows of codes.
    ///
    /// # Errors
    /// As [`Embedding::look_up`], with `deltas` in the place of `to`.
    pub fn gradient(
        &self,
        context: &Context,
        codes: &CodedRows,
        batch @ [first, rows]: [usize; 2],
        deltas: &Handle,
        stride: usize,
        gradient: &Handle,
    ) -> Result<(), Error> {
        self.require(GRADIENT, gradient, codes, batch)?;
        let places = codes.places();
        require_rows(GRADIENT, deltas, [rows, self.columns(places)], stride)?;
        let blocks = self.width.div_ceil(COLUMNS);
        let cells = self.codes * blocks;
        let grid = Grid {
            cubes: cells.min(CUBES) as u32,
            units: (COLUMNS * PARTS) as u32,
            // The scalars travel in a buffer of their own.
            buffers: 4,
        };
        context.launch(GRADIENT, (), grid, move |client, cubes, units| {
            let values = |buffer: &Handle| (buffer.size_in_used() / 4) as usize;
            // SAFETY: the rows of codes, δ of all of them, and the table in the arena were checked above; a cube writes the columns
            // that the table has, and stops at its last cell.
            unsafe {
                table_gradient_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    array(&codes.codes, values(&codes.codes)),
                    array(deltas, values(deltas)),
                    array(gradient, values(gradient)),
                    (first * places) as u32,
                    (rows * places) as u32,
                    places as u32,
                    self.start as u32,
                    self.width as u32,
                    stride as u32,
                    blocks as u32,
                    cells as u32,
                );
            }
        })
    }
}
