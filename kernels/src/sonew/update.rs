//! Factor, precondition and descend in one launch: w ← w − η (L D Lᵀ m̂ + λ w), the factor never leaving the registers.

use super::blueprint::{Blueprint, EdgeRemoval, Tolerance};
use super::graft::GraftBuffers;
use super::launch::{Work, launch};
use super::rates::Prepared;
use crate::arena::{Arena, Slots, TensorRates};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::launch::Strategy;
use crate::norms::PerTensor;
use crate::precision::Precision;

/// ε, what is added to the diagonal of Ĥ.
#[derive(Clone, Copy)]
pub enum Damping<'a> {
    /// Ĥ_jj + ε.
    Absolute(f64),
    /// Ĥ_jj + max(ε · ‖Ĥ‖₁, 10⁻¹⁶) per tensor, with ‖H‖₁ from [`super::largest_row_sum`].
    Relative {
        /// ε ≥ 0.
        epsilon: f64,
        /// ‖H‖₁ of each tensor, before bias correction.
        row_sums: PerTensor<'a>,
    },
}

/// The arenas that an update reads, and its evidence.
#[derive(Clone, Copy)]
pub struct UpdateBuffers<'a> {
    /// First moment m.
    pub moment: &'a Arena,
    /// Diagonal of H.
    pub diagonal: &'a Arena,
    /// Off-diagonals of H, nearest first; as many as the band is wide.
    pub edges: &'a [Arena],
    /// What the factor saw, one slot a unit: [`crate::evidence::PivotEvidence`].
    pub evidence: &'a Slots,
}

/// What becomes of u = L D Lᵀ m̂.
#[derive(Clone, Copy)]
pub enum Descent<'a> {
    /// w ← w − η (u + λ w).
    Apply {
        /// Parameters, updated in place.
        params: &'a Arena,
        /// Learning rate η.
        lr: f64,
        /// Decoupled weight decay λ; that of no tensor where tensors have rates of their own.
        weight_decay: f64,
        /// What tensors have in place of λ, and what η is multiplied by.
        rates: Option<&'a TensorRates>,
    },
    /// u is stored, with the norms of it and of the graft's update; [`super::apply_graft`] descends.
    Stage(GraftBuffers<'a>),
}

/// Factors, preconditions and descends (or stages for grafting) over the whole arena, in one launch.
///
/// `correction1` = 1/(1−β₁ᵗ) and `correction2` = 1/(1−β₂ᵗ), or 1 where statistics are sums.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format or with ghost columns, and for rates of another layout, [`Error::Length`] for a table of another
/// length, [`Error::Range`] for a hyperparameter outside its range; launch errors as [`Context::launch`].
pub fn update<S: Precision>(
    context: &Context,
    buffers: UpdateBuffers<'_>,
    descent: Descent<'_>,
    damping: Damping<'_>,
    gamma: Tolerance,
    removal: EdgeRemoval,
    corrections: (f64, f64),
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let operation = "sonew update";
    let (params, rates, graft, numbers) = match descent {
        Descent::Apply {
            params,
            lr,
            weight_decay,
            rates,
        } => (Some(params), rates, None, (lr, weight_decay)),
        Descent::Stage(stage) => (None, None, Some(stage), (0.0, 0.0)),
    };
    let non_negative = |argument, found| require_non_negative(operation, argument, found);
    let (epsilon, relative_epsilon, row_sums) = match damping {
        Damping::Absolute(epsilon) => (non_negative("epsilon", epsilon)?, 0.0, None),
        Damping::Relative { epsilon, row_sums } => {
            let relative = non_negative("relative-epsilon", epsilon)?;
            (0.0, relative, Some(row_sums))
        }
    };
    let prepared = Prepared {
        epsilon,
        relative_epsilon,
        graft_epsilon: graft.map_or(0.0, |it| it.epsilon),
        graft_decay: graft.map_or(0.0, |it| it.decay),
        ..Prepared::new(operation, numbers, corrections, gamma)?
    };
    let work = Work {
        operation,
        gradients: None,
        moment: buffers.moment,
        diagonal: buffers.diagonal,
        edges: buffers.edges,
        cut: buffers.evidence,
        row_sums,
        params,
        rates,
        rows: None,
        graft,
    };
    let blueprint =
        strategy.resolve(|| Blueprint::of::<S>(context, "sonew-step", buffers.edges.len()));
    launch::<S>(context, work, prepared, removal, blueprint)
}
