//! What a step saw, fetched from the device on request.

use serde::Serialize;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::segments::Segments;

/// What the last step saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// The step, from 1 on; 0 before the first.
    pub step: u64,
    /// Gradient values that were NaN or infinite.
    pub non_finite_gradients: u64,
    /// The tensor of the first of them, and the index within it.
    pub first_non_finite: Option<(usize, usize)>,
    /// Columns of the SONew factor whose edges were cut; `None` for optimizers without a factor.
    pub pivots_cut: Option<u64>,
    /// The tensor of the first of them, and the index within it.
    pub first_cut: Option<(usize, usize)>,
}

impl StepReport {
    pub(crate) fn new(
        step: u64,
        segments: &Segments,
        non_finite: Evidence,
        cut: Option<Evidence>,
    ) -> Self {
        let locate = |evidence: Evidence| evidence.first.and_then(|at| segments.locate(at));
        Self {
            step,
            non_finite_gradients: non_finite.count,
            first_non_finite: locate(non_finite),
            pivots_cut: cut.map(|cut| cut.count),
            first_cut: cut.and_then(locate),
        }
    }
}
