//! The fused kernel of all first-order rules: read w, g and the states once, write w and the states once.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::average::{Average, average};
use super::rules::FirstOrder;
use crate::arena::{self, Arena, Rate, Slots, TensorRates, rate_of_run};
use crate::context::Context;
use crate::error::{Error, require_decay, require_non_negative};
use crate::evidence::{Found, magnitude_bits, note_non_finite};
use crate::launch::{Strategy, Sweep, run_start};
use crate::precision::{Precision, Storage, difference, held, product, require};

/// The hyperparameters of a step, as the kernel sees them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Values {
    pub(crate) lr: f32,
    pub(crate) beta1: Average,
    pub(crate) beta2: Average,
    pub(crate) epsilon: f32,
    pub(crate) correction1: f32,
    pub(crate) correction2: f32,
    pub(crate) shrink: f32,
}

#[cube]
impl Values {
    /// A copy in registers.
    fn held(&self) -> Values {
        Values {
            lr: held(self.lr),
            beta1: self.beta1.held(),
            beta2: self.beta2.held(),
            epsilon: held(self.epsilon),
            correction1: held(self.correction1),
            correction2: held(self.correction2),
            shrink: held(self.shrink),
        }
    }

    /// The same with the η and η λ of a tensor.
    fn with(&self, rate: Rate) -> Values {
        Values {
            lr: rate.lr,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            correction1: self.correction1,
            correction2: self.correction2,
            shrink: rate.shrink,
        }
    }
}

/// The hyperparameters of a step; a rule ignores those its formula does not name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate η ≥ 0.
    pub lr: f64,
    /// Decay of the momentum, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// ε ≥ 0.
    pub epsilon: f64,
    /// Decoupled weight decay λ ≥ 0; that of no tensor where tensors have rates of their own ([`Buffers::rates`]).
    pub weight_decay: f64,
    /// Steps taken, this one included; from 1 on. Adam's bias corrections depend on it.
    pub step: u64,
}

impl Hyper {
    /// 1/(1 − βᵗ), the factor that makes an average that started at 0 unbiased.
    pub fn correction(beta: f64, step: u64) -> f64 {
        1.0 / (1.0 - beta.powf(step as f64))
    }

    fn check(&self, operation: &'static str) -> Result<(), Error> {
        require_non_negative(operation, "lr", self.lr)?;
        require_decay(operation, "beta1", self.beta1)?;
        require_decay(operation, "beta2", self.beta2)?;
        require_non_negative(operation, "epsilon", self.epsilon)?;
        require_non_negative(operation, "weight-decay", self.weight_decay)?;
        if self.step > 0 {
            return Ok(());
        }
        Err(Error::Range {
            operation,
            argument: "step",
            found: 0.0,
            expected: "≥ 1",
        })
    }
}

/// The arenas of a step.
#[derive(Clone, Copy)]
pub struct Buffers<'a> {
    /// Parameters, updated in place.
    pub params: &'a Arena,
    /// Gradients.
    pub grads: &'a Arena,
    /// The rule's states in the order of [`FirstOrder::STATES`], updated in place.
    pub states: &'a [Arena],
    /// What tensors have in place of [`Hyper::weight_decay`], and what [`Hyper::lr`] is multiplied by.
    pub rates: Option<&'a TensorRates>,
    /// What the sweep saw, one slot a unit: see [`crate::evidence`].
    pub evidence: &'a Slots,
}

#[cube(launch_unchecked)]
fn descend_kernel<L: FirstOrder, S: Precision, NP: Size, NS: Size>(
    params: &mut Array<Vector<<S::Params as Storage>::Word, NP>>,
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    states: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    rates: &Sequence<Array<f32>>,
    evidence: &mut Array<u32>,
    stamp: u32,
    hyper: &Values,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] count: usize,
    #[comptime] per_tensor: bool,
) {
    let mut run = ABSOLUTE_POS;
    let hyper = hyper.held();
    let mut found = Found::new();
    while run < runs as usize {
        let start = run_start(run, sweep);
        let rate = rate_of_run(rates, run, hyper.lr, hyper.shrink, sweep, per_tensor);
        let own = hyper.with(rate);
        let mut largest = 0u32;
        for step in 0..sweep.run {
            let at = start + step;
            let gradient = S::Params::load::<NP>(grads, at, sweep.width);
            let weight = S::Params::load::<NP>(params, at, sweep.width);
            let mut old = Sequence::<Sequence<f32>>::new();
            #[unroll]
            for s in 0..count {
                old.push(S::State::load::<NS>(states.index(s), at, sweep.width));
            }
            let mut new_weight = Sequence::<f32>::new();
            let mut results = Sequence::<Sequence<f32>>::new();
            #[unroll]
            for lane in 0..sweep.width {
                let mut state = Sequence::<f32>::new();
                #[unroll]
                for s in 0..count {
                    state.push(*old.index(s).index(lane));
                }
                let g = *gradient.index(lane);
                let w = *weight.index(lane);
                let step = L::step::<S::Math, S::State>(g, &state, &own);
                let decayed = difference::<S::Math>(w, product::<S::Math>(own.shrink, w));
                new_weight.push(difference::<S::Math>(decayed, *step.index(0usize)));
                results.push(step);
                largest = max(largest, magnitude_bits(g));
            }
            S::Params::store::<NP>(params, at, &new_weight, sweep.width);
            #[unroll]
            for s in 0..count {
                let mut lanes = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..sweep.width {
                    lanes.push(*results.index(lane).index(comptime!(s + 1)));
                }
                S::State::store::<NS>(states.index_mut(s), at, &lanes, sweep.width);
            }
        }
        note_non_finite::<S::Params, NP>(&mut found, grads, start, largest, sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&found, evidence, stamp);
}

/// One step of the rule `L` over the whole arena, in one launch.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format, rates of another layout, and for a wrong number of states, [`Error::Range`] for a
/// hyperparameter outside its range; launch errors as [`Context::launch`].
pub fn descend<L: FirstOrder, S: Precision>(
    context: &Context,
    buffers: Buffers<'_>,
    hyper: Hyper,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = L::NAME;
    hyper.check(operation)?;
    let Buffers {
        params,
        grads,
        states,
        rates,
        ..
    } = buffers;
    let layout = params.layout();
    if states.len() != L::STATES.len() {
        return Err(Error::Shape {
            operation,
            argument: "states",
            found: format!("{} arenas", states.len()),
            expected: format!("{} ({:?})", L::STATES.len(), L::STATES),
        });
    }
    let named = L::STATES.iter().copied().zip(states);
    arena::require::<S::Params>(operation, layout, [("params", params), ("grads", grads)])?;
    arena::require::<S::State>(operation, layout, named)?;
    if let Some(rates) = rates {
        rates.check(operation, layout, hyper.lr)?;
    }
    let sweep = strategy.resolve(|| Sweep::of::<S>(context, L::NAME, 0));
    if sweep.twins {
        require::<S::Twin>(context)?;
        launch::<L, S::Twin>(context, buffers, hyper, sweep)
    } else {
        launch::<L, S>(context, buffers, hyper, sweep)
    }
}

/// Launches the rule over arenas of one layout.
fn launch<L: FirstOrder, S: Precision>(
    context: &Context,
    buffers: Buffers<'_>,
    hyper: Hyper,
    sweep: Sweep,
) -> Result<(), Error> {
    let operation = L::NAME;
    let layout = buffers.params.layout();
    sweep.check::<S>(operation)?;
    sweep.check_loops(operation, layout, context.profile(), 2 * (sweep.run + 1))?;
    let width = sweep.width;
    let rates = buffers.rates;
    let per_tensor = rates.is_some();
    let grid = sweep.grid(layout, 3 + L::STATES.len() + usize::from(per_tensor));
    let evidence = buffers.evidence.claim(operation, grid)?;
    let variant = (type_name::<L>(), type_name::<S>(), sweep, per_tensor);
    let (lanes_p, lanes_s) = (
        sweep.width / S::Params::PER_WORD,
        sweep.width / S::State::PER_WORD,
    );
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let values = ValuesLaunch::new(
            hyper.lr as f32,
            average(hyper.beta1),
            average(hyper.beta2),
            hyper.epsilon as f32,
            Hyper::correction(hyper.beta1, hyper.step) as f32,
            Hyper::correction(hyper.beta2, hyper.step) as f32,
            (hyper.lr * hyper.weight_decay) as f32,
        );
        // SAFETY: the arenas and the rates are of one layout, runs lie between its pads, and the evidence
        // has a slot for each unit of the grid.
        unsafe {
            descend_kernel::launch_unchecked::<L, S, Gpu>(
                client,
                cubes,
                units,
                lanes_p,
                lanes_s,
                buffers.params.vectors(width),
                buffers.grads.vectors(width),
                arena::sequence(buffers.states, width),
                TensorRates::argument(rates),
                evidence.argument(),
                evidence.stamp,
                values,
                sweep.runs(layout) as u32,
                sweep,
                L::STATES.len(),
                per_tensor,
            );
        }
    })
}
