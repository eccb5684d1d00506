//! What a step's learning rate and weight decay are for each tensor: η_t = η · lr_t, and w ← w − (… + η_t λ_t w).
//!
//! The table has two numbers for each block, for a block never holds values of two tensors: a run reads them once, without
//! asking for its tensor first.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::layout::{BLOCK, Layout};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::launch::{Sweep, array};

/// What a tensor has of its own in place of a launch's learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorRate {
    /// The factor lr_t ≥ 0 of the launch's learning rate η: its own is η_t = η · lr_t.
    pub lr: f64,
    /// Its decoupled weight decay λ_t ≥ 0, in place of the launch's.
    pub weight_decay: f64,
}

impl Default for TensorRate {
    /// The learning rate as it is, and no decay.
    fn default() -> Self {
        Self {
            lr: 1.0,
            weight_decay: 0.0,
        }
    }
}

/// The rates of the tensors of a layout, on the device. A launch that is given them takes them in place of its weight decay, and
/// its learning rate times theirs in place of its learning rate. A clone is the same memory.
#[derive(Clone, Debug)]
pub struct TensorRates {
    layout: Layout,
    /// (lr_t, λ_t) of each block; f32.
    table: Handle,
    /// The largest number that η is multiplied by.
    most: f64,
}

impl TensorRates {
    /// One for each tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one for each tensor, [`Error::Range`] for a number that is negative or not finite in f32.
    pub fn new(context: &Context, layout: &Layout, rates: &[TensorRate]) -> Result<Self, Error> {
        let operation = "rates of tensors";
        require_one_each(operation, "rates", layout, rates.len())?;
        let mut most = 0f64;
        let mut pairs = Vec::with_capacity(rates.len());
        for rate in rates {
            let lr = require_non_negative(operation, "lr", rate.lr)?;
            let decay = require_non_negative(operation, "weight-decay", rate.weight_decay)?;
            most = most.max(rate.lr).max(rate.lr * rate.weight_decay);
            pairs.push([lr, decay]);
        }
        let of_block = layout.tensor_of_block().into_iter();
        let table: Vec<f32> = of_block.flat_map(|tensor| pairs[tensor as usize]).collect();
        Ok(Self {
            layout: layout.clone(),
            table: context.upload(&table),
            most,
        })
    }

    /// Requires that they are those of a layout, and that no product with a learning rate overflows.
    pub(crate) fn check(
        &self,
        operation: &'static str,
        layout: &Layout,
        lr: f64,
    ) -> Result<(), Error> {
        require_layout(operation, "rates", &self.layout, layout)?;
        if ((lr * self.most) as f32).is_finite() {
            return Ok(());
        }
        Err(Error::Range {
            operation,
            argument: "lr",
            found: lr,
            expected: "finite in f32 times the rates of every tensor",
        })
    }

    /// The table as a kernel takes it: one array, or none.
    pub(crate) fn argument(rates: Option<&Self>) -> SequenceArg<Gpu, Array<f32>> {
        let mut sequence = SequenceArg::new();
        if let Some(rates) = rates {
            sequence.push(array(&rates.table, 2 * rates.layout.blocks()));
        }
        sequence
    }
}

/// Requires one setting for each tensor.
pub(crate) fn require_one_each(
    operation: &'static str,
    argument: &'static str,
    layout: &Layout,
    found: usize,
) -> Result<(), Error> {
    let tensors = layout.tensors().len();
    if found == tensors {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        argument,
        found: format!("{found}"),
        expected: format!("one for each of {tensors} tensors"),
    })
}

/// Requires that a table was made for tensors in these places.
pub(crate) fn require_layout(
    operation: &'static str,
    argument: &'static str,
    found: &Layout,
    layout: &Layout,
) -> Result<(), Error> {
    if found.agrees(layout) {
        return Ok(());
    }
    let place = |it: &Layout| format!("{} tensors in {} blocks", it.tensors().len(), it.blocks());
    Err(Error::Shape {
        operation,
        argument,
        found: format!("a table of {}", place(found)),
        expected: format!("one of the layout of the arenas: {}", place(layout)),
    })
}

/// η and η λ.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) lr: f32,
    pub(crate) shrink: f32,
}

/// Those of a block: of its tensor, or the launch's where there is no table.
#[cube]
pub(crate) fn rate_of_block(
    table: &Sequence<Array<f32>>,
    block: usize,
    lr: f32,
    shrink: f32,
    #[comptime] per_tensor: bool,
) -> Rate {
    if comptime!(per_tensor) {
        // Computed from numbers alone, so in f32 in every precision.
        let own = lr * table.index(0usize)[2 * block];
        Rate {
            lr: own,
            shrink: own * table.index(0usize)[2 * block + 1],
        }
    } else {
        Rate { lr, shrink }
    }
}

/// Those of a run, which lies in one block.
#[cube]
pub(crate) fn rate_of_run(
    table: &Sequence<Array<f32>>,
    run: usize,
    lr: f32,
    shrink: f32,
    #[comptime] sweep: Sweep,
    #[comptime] per_tensor: bool,
) -> Rate {
    if comptime!(per_tensor) {
        let block = run / comptime!(sweep.runs_per_block()) + 1;
        rate_of_block(table, block, lr, shrink, per_tensor)
    } else {
        Rate { lr, shrink }
    }
}

/// Those of the vector `at`.
#[cube]
pub(crate) fn rate_of_vector(
    table: &Sequence<Array<f32>>,
    at: usize,
    lr: f32,
    shrink: f32,
    #[comptime] width: usize,
    #[comptime] per_tensor: bool,
) -> Rate {
    if comptime!(per_tensor) {
        rate_of_block(table, at / comptime!(BLOCK / width), lr, shrink, per_tensor)
    } else {
        Rate { lr, shrink }
    }
}
