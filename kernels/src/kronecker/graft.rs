//! The update r whose length a direction takes over, and what [`super::measure()`] and [`super::descend()`] share.
//!
//! The benchmark's graft is normalised RMSProp: ĝ = g / (‖g‖ + 10⁻¹⁶), d ← β₂ d + (1−β₂) ĝ², r = ĝ / (√d + ε). With the
//! graft of Adam d ← β₂ d + (1−β₂) g² and r = g / (√d̂ + ε), otherwise r = g.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::arena::{self, Arena, Layout};
use crate::context::Context;
use crate::error::{Error, require_decay, require_non_negative};
use crate::first_order::{Average, average};
use crate::graft::Graft;
use crate::launch::{Strategy, Sweep, require_bytes};
use crate::norms::PARTS;
use crate::precision::{Arithmetic, Precision, held, product, quotient, sum};

/// The numbers of a descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescentRates {
    /// Learning rate η ≥ 0.
    pub lr: f64,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
    /// Decay of both momenta, in [0, 1).
    pub beta1: f64,
    /// Decay of the graft's second moment, in [0, 1).
    pub beta2: f64,
    /// ε ≥ 0 of the graft.
    pub epsilon: f64,
    /// 1/(1−β₂ᵗ), for the Adam graft.
    pub correction: f64,
}

/// [`DescentRates`] as the kernels see them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Rates {
    pub(super) lr: f32,
    pub(super) shrink: f32,
    pub(super) beta1: Average,
    pub(super) beta2: Average,
    pub(super) epsilon: f32,
    pub(super) correction: f32,
}

#[cube]
impl Rates {
    /// A copy in registers.
    pub(super) fn held(&self) -> Rates {
        Rates {
            lr: held(self.lr),
            shrink: held(self.shrink),
            beta1: self.beta1.held(),
            beta2: self.beta2.held(),
            epsilon: held(self.epsilon),
            correction: held(self.correction),
        }
    }
}

/// Whether a graft has a second moment, and whether it needs ‖g‖.
pub(super) fn needs(graft: Graft) -> (bool, bool) {
    let rmsprop = graft == Graft::RmsProp;
    (rmsprop || graft == Graft::Adam, rmsprop)
}

/// g, or ĝ = g / (‖g‖ + 10⁻¹⁶).
#[cube]
pub(super) fn normalised<A: Arithmetic>(g: f32, below: f32, #[comptime] graft: Graft) -> f32 {
    if comptime!(graft == Graft::RmsProp) {
        quotient::<A>(g, below)
    } else {
        g
    }
}

/// The graft's update r from g or ĝ and its new second moment.
#[cube]
pub(super) fn graft_update<A: Arithmetic>(
    g: f32,
    second: f32,
    rates: &Rates,
    #[comptime] graft: Graft,
) -> f32 {
    if comptime!(graft == Graft::RmsProp || graft == Graft::Adam) {
        let mut moment = second;
        if comptime!(graft == Graft::Adam) {
            moment = product::<A>(rates.correction, second);
        }
        let root = sum::<A>(A::round(moment.sqrt()), rates.epsilon);
        // No information, no move.
        select(root == 0.0, 0.0, quotient::<A>(g, root))
    } else {
        g
    }
}

/// ‖g‖ + 10⁻¹⁶ of a tensor, where the graft needs it.
#[cube]
pub(super) fn norm_below(
    grad_norms: &Sequence<Array<f32>>,
    tensor: usize,
    #[comptime] graft: Graft,
) -> f32 {
    if comptime!(needs(graft).1) {
        grad_norms.index(0usize)[tensor] + 1e-16f32
    } else {
        1.0f32.runtime()
    }
}

/// What both launches check and need.
pub(super) struct Prepared {
    pub sweep: Sweep,
    pub runs: usize,
    pub tensors: usize,
}

impl Prepared {
    pub fn new<S: Precision>(
        operation: &'static str,
        context: &Context,
        layout: &Layout,
        graft: Graft,
        second: Option<&Arena>,
        grad_norms: Option<&Handle>,
        strategy: Strategy<Sweep>,
    ) -> Result<Self, Error> {
        if graft == Graft::Momentum {
            return Err(Error::Unsupported {
                operation,
                reason: "both updates have a momentum; the graft `sgd` is gradient descent with it"
                    .into(),
            });
        }
        let tensors = layout.tensors().len();
        let word = |yes| if yes { "given" } else { "absent" };
        let (wants_second, wants_norm) = needs(graft);
        for (argument, wanted, found) in [
            ("second", wants_second, second.is_some()),
            ("grad_norms", wants_norm, grad_norms.is_some()),
        ] {
            if wanted != found {
                return Err(Error::Shape {
                    operation,
                    argument,
                    found: word(found).into(),
                    expected: format!("{} for the graft {graft:?}", word(wanted)),
                });
            }
        }
        arena::require::<S::State>(operation, layout, arena::named("second", second))?;
        if let Some(norms) = grad_norms {
            require_bytes(operation, "grad_norms", norms, 4 * tensors as u64)?;
        }
        let sweep = strategy.resolve(|| Sweep::measuring::<S>(context, "kronecker-descent"));
        sweep.check_measuring::<S>(operation)?;
        // The walk, a second look for what is not finite, and what a team has shown.
        let folds = if sweep.team { 2 * (PARTS + 1) } else { 0 };
        let iterations = 2 * (sweep.steps() + 1) + folds;
        sweep.check_loops(operation, layout, context.profile(), iterations)?;
        Ok(Self {
            sweep,
            runs: sweep.runs(layout),
            tensors,
        })
    }
}

pub(super) fn launch_rates(
    operation: &'static str,
    rates: DescentRates,
) -> Result<RatesLaunch<Gpu>, Error> {
    let lr = require_non_negative(operation, "lr", rates.lr)?;
    let decay = require_non_negative(operation, "weight-decay", rates.weight_decay)?;
    require_decay(operation, "beta1", rates.beta1)?;
    require_decay(operation, "beta2", rates.beta2)?;
    Ok(RatesLaunch::new(
        lr,
        lr * decay,
        average(rates.beta1),
        average(rates.beta2),
        require_non_negative(operation, "graft-epsilon", rates.epsilon)?,
        require_non_negative(operation, "correction", rates.correction)?,
    ))
}
