//! What a step saw, fetched from the device on request.

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::Layout;
use sonew_kernels::evidence::{Evidence, PivotEvidence};

/// What the last step saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step, from 1 on; 0 before the first.
    pub step: u64,
    /// Steps that were not taken because a gradient was not finite.
    pub skipped_steps: u64,
    /// Gradient values that were NaN or infinite.
    pub non_finite_gradients: u64,
    /// The tensor of the first of them, and the index within it.
    pub first_non_finite: Option<(usize, usize)>,
    /// Columns of the SONew factor whose edges were cut; `None` for optimizers without a factor.
    pub pivots_cut: Option<u64>,
    /// The tensor of the first of them, and the index within it.
    pub first_cut: Option<(usize, usize)>,
    /// Columns of the SONew factor whose pivot has no normal reciprocal in the format of the arithmetic: their step is 0, or has
    /// lost digits. `None` for optimizers without a factor.
    pub pivots_out_of_range: Option<u64>,
    /// Shampoo's roots; `None` for optimizers without.
    pub roots: Option<RootsReport>,
}

/// How the roots of Shampoo's factors were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootsReport {
    /// Roots refused since the start; the old ones stayed in use.
    pub refused: u64,
    /// Factors whose last root was found only with a larger ridge than asked for.
    pub raised: u64,
    /// Most iterations among the last computations of each factor.
    pub most_iterations: u32,
    /// Largest residual among them.
    pub largest_residual: f64,
    /// Largest distance of their check from what it should be.
    pub largest_check: f64,
}

impl StepReport {
    pub(crate) fn new(
        step: u64,
        layout: &Layout,
        non_finite: Evidence,
        pivots: Option<PivotEvidence>,
    ) -> Self {
        let locate = |evidence: Evidence| evidence.first.and_then(|at| layout.locate(at));
        Self {
            step,
            skipped_steps: 0,
            non_finite_gradients: non_finite.count,
            first_non_finite: locate(non_finite),
            pivots_cut: pivots.map(|it| it.cut.count),
            first_cut: pivots.and_then(|it| locate(it.cut)),
            pivots_out_of_range: pivots.map(|it| it.out_of_range.count),
            roots: None,
        }
    }
}
