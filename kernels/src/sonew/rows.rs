//! Chains by rows: of a tensor [r₁, …, n] each last axis of n values may be a chain of its own. H_{j,j+k} then is 0 wherever j
//! and j+k lie in different rows, and what follows of H, the factor and the update, is that of each row alone.
//!
//! The table has two numbers for each block: the values n of a row, and the place of the block's first value in its row. A
//! tensor that is one chain is a single row.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::arena::{BLOCK, Layout, require_layout, require_one_each};
use crate::context::Context;
use crate::error::Error;
use crate::launch::array;

/// Which tensors of a layout have a chain for each row, on the device. A clone is the same memory.
#[derive(Clone, Debug)]
pub struct RowChains {
    layout: Layout,
    /// (n, place of the first value) of each block; u32.
    table: Handle,
}

impl RowChains {
    /// The values of a row of each tensor, those of its last axis; 0 for a tensor that is one chain.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one for each tensor, or if one does not divide the values of its tensor.
    pub fn new(context: &Context, layout: &Layout, rows: &[usize]) -> Result<Self, Error> {
        let operation = "chains of rows";
        require_one_each(operation, "rows", layout, rows.len())?;
        // Nothing lies in the pads, so their edges may as well be none.
        let mut table = vec![[1u32, 0]; layout.blocks()];
        let tensors = layout.tensors().iter().zip(layout.block_ranges());
        for (&row, (tensor, blocks)) in rows.iter().zip(tensors) {
            let values = tensor.len();
            if row > 0 && !values.is_multiple_of(row) {
                return Err(Error::Shape {
                    operation,
                    argument: "rows",
                    found: format!("rows of {row} values in a tensor of {values}"),
                    expected: "a divisor, or 0 for a tensor that is one chain".into(),
                });
            }
            // A row is no longer than its tensor, unless that is empty.
            let row = if row == 0 { values } else { row.min(values) }.max(1);
            for (i, entry) in table[blocks].iter_mut().enumerate() {
                // Below 2³¹, as every index of the arena.
                *entry = [row as u32, (i * BLOCK % row) as u32];
            }
        }
        Ok(Self {
            layout: layout.clone(),
            table: context.upload(table.as_flattened()),
        })
    }

    /// Requires that they are those of a layout.
    pub(super) fn check(&self, operation: &'static str, layout: &Layout) -> Result<(), Error> {
        require_layout(operation, "rows", &self.layout, layout)
    }

    /// The table as a kernel takes it: one array, or none.
    pub(super) fn argument(rows: Option<&Self>) -> SequenceArg<Gpu, Array<u32>> {
        let mut sequence = SequenceArg::new();
        if let Some(rows) = rows {
            sequence.push(array(&rows.table, 2 * rows.layout.blocks()));
        }
        sequence
    }
}

/// How many columns of its row come after each column of a vector, which is the `step`-th after the vector `first`; nothing
/// where chains do not end with rows.
#[cube]
pub(super) fn columns_after(
    rows: &Sequence<Array<u32>>,
    first: usize,
    step: usize,
    #[comptime] width: usize,
    #[comptime] by_rows: bool,
) -> Sequence<u32> {
    let mut after = Sequence::<u32>::new();
    if comptime!(by_rows) {
        let per_block = comptime!(BLOCK / width);
        let at = first + step;
        let block = at / per_block;
        let row = rows.index(0usize)[2 * block];
        let place = rows.index(0usize)[2 * block + 1];
        let within = (at % per_block * width) as u32;
        after.push(row - 1 - (place + within) % row);
        #[unroll]
        for lane in 1..width {
            let before = *after.index(comptime!(lane - 1));
            after.push(select(before == 0, row, before) - 1);
        }
    }
    after
}

/// H of a column and the (k+1)-th after it: as it was found, or 0 where that one lies in another row.
#[cube]
pub(super) fn within_row(
    after: &Sequence<u32>,
    value: f32,
    #[comptime] lane: usize,
    #[comptime] k: usize,
    #[comptime] by_rows: bool,
) -> f32 {
    if comptime!(by_rows) {
        select(*after.index(lane) > comptime!(k as u32), value, 0.0)
    } else {
        value
    }
}
