//! A whole step in one launch: statistics, factor, precondition and descent (or staging for a graft), each state read and written
//! once.
//!
//! A tridiagonal step moves 9 arenas' worth of values where [`super::statistics`] and [`super::update`] together move
//! 12; where an access costs time, that is its time. The price is [`super::Ghosts`].

use super::blueprint::{Blueprint, EdgeRemoval, Tolerance};
use super::graft::GraftBuffers;
use super::launch::{Work, launch};
use super::rates::Prepared;
use super::rows::RowChains;
use super::statistics::{Decay, check_range};
use crate::arena::{Arena, Slots, TensorRates};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::launch::Strategy;
use crate::precision::{Precision, require};

/// The buffers of a step. States have the ghost columns of the blueprint ([`super::Ghosts`]).
#[derive(Clone, Copy)]
pub struct StepBuffers<'a> {
    /// Parameters, updated in place where there is no graft.
    pub params: &'a Arena,
    /// Where u is stored for [`super::apply_graft`] instead.
    pub graft: Option<GraftBuffers<'a>>,
    /// What tensors have in place of [`StepRates::weight_decay`], and what [`StepRates::lr`] is multiplied by; of no use where there
    /// is a graft.
    pub rates: Option<&'a TensorRates>,
    /// Which tensors have a chain for each row; otherwise each is one.
    pub rows: Option<&'a RowChains>,
    /// Gradients.
    pub grads: &'a Arena,
    /// First moment m, updated in place.
    pub moment: &'a Arena,
    /// Diagonal of H, updated in place.
    pub diagonal: &'a Arena,
    /// Off-diagonals of H, nearest first, updated in place; as many as the band is wide.
    pub edges: &'a [Arena],
    /// Non-finite gradients seen, one slot a unit.
    pub non_finite: &'a Slots,
    /// What the factor saw, one slot a unit: [`crate::evidence::PivotEvidence`].
    pub cut: &'a Slots,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRates {
    /// Learning rate η ≥ 0.
    pub lr: f64,
    /// Decoupled weight decay λ ≥ 0; that of no tensor where tensors have rates of their own.
    pub weight_decay: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// How old statistics and the new product are weighed.
    pub decay: Decay,
    /// Ĥ_jj + ε, ε ≥ 0.
    pub epsilon: f64,
    /// m̂ = `corrections.0` · m, Ĥ = `corrections.1` · H.
    pub corrections: (f64, f64),
}

/// Statistics, factor, precondition and descent over the whole arena, in one launch; the same step as
/// [`super::statistics`] and then [`super::update`] with an absolute ε.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format or with other ghost columns, a table of another layout, and for a form that the step does not
/// have; [`Error::Length`] for a table of another length, [`Error::Range`] for a number outside its range; launch errors as [`Context::launch`].
pub fn step<S: Precision>(
    context: &Context,
    buffers: StepBuffers<'_>,
    rates: StepRates,
    gamma: Tolerance,
    removal: EdgeRemoval,
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let operation = "sonew step";
    let band = buffers.edges.len();
    check_range(operation, rates.beta1, rates.decay, band)?;
    let numbers = (rates.lr, rates.weight_decay);
    let prepared = Prepared {
        beta1: rates.beta1,
        weights: rates.decay.weights(),
        epsilon: require_non_negative(operation, "epsilon", rates.epsilon)?,
        graft_epsilon: buffers.graft.map_or(0.0, |it| it.epsilon),
        graft_decay: buffers.graft.map_or(0.0, |it| it.decay),
        ..Prepared::new(operation, numbers, rates.corrections, gamma)?
    };
    let work = Work {
        operation,
        gradients: Some((buffers.grads, buffers.non_finite)),
        moment: buffers.moment,
        diagonal: buffers.diagonal,
        edges: buffers.edges,
        cut: buffers.cut,
        row_sums: None,
        params: buffers.graft.is_none().then_some(buffers.params),
        rates: buffers.rates.filter(|_| buffers.graft.is_none()),
        rows: buffers.rows,
        graft: buffers.graft,
    };
    let blueprint = strategy.resolve(|| Blueprint::of::<S>(context, "sonew-step", band));
    if blueprint.sweep.twins {
        require::<S::Twin>(context)?;
        launch::<S::Twin>(context, work, prepared, removal, blueprint)
    } else {
        launch::<S>(context, work, prepared, removal, blueprint)
    }
}
