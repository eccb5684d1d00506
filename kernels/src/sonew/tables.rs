//! What tensors have of their own, as the kernel of a step sees it.

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::rows::RowChains;
use crate::arena::TensorRates;

/// Tables that are found by the block; those that a form has no use for are empty.
#[derive(CubeType, CubeLaunch)]
pub struct Tables {
    /// Of [`TensorRates`].
    pub(super) rates: Sequence<Array<f32>>,
    /// Of [`RowChains`].
    pub(super) rows: Sequence<Array<u32>>,
}

/// The tables of a launch.
pub(super) fn tables(rates: Option<&TensorRates>, rows: Option<&RowChains>) -> TablesLaunch<Gpu> {
    TablesLaunch::new(TensorRates::argument(rates), RowChains::argument(rows))
}
