//! The first-order baselines: one launch a step.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::{Arena, Segments, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::precision::{HostFormat, Precision, Storage};
use sonew_kernels::sweep::{Strategy, Sweep};

use crate::{Error, FirstOrderConfig, Optimizer, StepReport};

/// The first-order rules; their formulas are in [`sonew_kernels::first_order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstOrderKind {
    /// w ← w − η g.
    Sgd,
    /// Heavy ball.
    Momentum,
    /// Nesterov's momentum.
    Nesterov,
    /// Diagonal Adagrad.
    Adagrad,
    /// RMSProp with momentum.
    RmsProp,
    /// Adam.
    Adam,
}

impl FirstOrderKind {
    const ALL: [Self; 6] = [
        Self::Sgd,
        Self::Momentum,
        Self::Nesterov,
        Self::Adagrad,
        Self::RmsProp,
        Self::Adam,
    ];

    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => Sgd::NAME,
            Self::Momentum => Momentum::NAME,
            Self::Nesterov => Nesterov::NAME,
            Self::Adagrad => Adagrad::NAME,
            Self::RmsProp => RmsProp::NAME,
            Self::Adam => Adam::NAME,
        }
    }

    /// The settings that its formula names.
    pub(crate) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Sgd => &["weight-decay"],
            Self::Momentum | Self::Nesterov => &["beta1", "weight-decay"],
            Self::Adagrad => &["epsilon", "initial-accumulator", "weight-decay"],
            Self::RmsProp | Self::Adam => &["beta1", "beta2", "epsilon", "weight-decay"],
        }
    }
}

/// The defaults of a rule: those of optax, momentum 0.9 where it has none.
pub(crate) fn defaults(rule: FirstOrderKind) -> FirstOrderConfig {
    let (beta2, epsilon) = match rule {
        FirstOrderKind::Adagrad => (0.999, 1e-7),
        FirstOrderKind::RmsProp => (0.9, 1e-8),
        _ => (0.999, 1e-8),
    };
    FirstOrderConfig {
        rule,
        beta1: 0.9,
        beta2,
        epsilon,
        weight_decay: 0.0,
        initial_accumulator: 0.1,
    }
}

pub(crate) fn build<P: Precision>(
    config: FirstOrderConfig,
    context: Rc<Context>,
    segments: &Segments,
) -> Box<dyn Optimizer> {
    match config.rule {
        FirstOrderKind::Sgd => Box::new(Rule::<Sgd, P>::new(config, context, segments)),
        FirstOrderKind::Momentum => Box::new(Rule::<Momentum, P>::new(config, context, segments)),
        FirstOrderKind::Nesterov => Box::new(Rule::<Nesterov, P>::new(config, context, segments)),
        FirstOrderKind::Adagrad => Box::new(Rule::<Adagrad, P>::new(config, context, segments)),
        FirstOrderKind::RmsProp => Box::new(Rule::<RmsProp, P>::new(config, context, segments)),
        FirstOrderKind::Adam => Box::new(Rule::<Adam, P>::new(config, context, segments)),
    }
}

struct Rule<L, P> {
    config: FirstOrderConfig,
    context: Rc<Context>,
    segments: Segments,
    states: Vec<Arena>,
    evidence: Slots,
    sweep: Sweep,
    step: u64,
    rule: core::marker::PhantomData<(L, P)>,
}

impl<L: FirstOrder, P: Precision> Rule<L, P> {
    fn new(config: FirstOrderConfig, context: Rc<Context>, segments: &Segments) -> Self {
        let start = match config.rule {
            FirstOrderKind::Adagrad => config.initial_accumulator as f32,
            _ => 0.0,
        };
        let states = (0..L::STATES.len())
            .map(|_| Arena::filled(&context, segments, P::State::FORMAT, start))
            .collect();
        let sweep = Sweep::of::<P>(&context, L::NAME, 0);
        Self {
            config,
            evidence: Slots::of(&context, segments, sweep),
            segments: segments.clone(),
            context,
            states,
            sweep,
            step: 0,
            rule: core::marker::PhantomData,
        }
    }
}

impl<L: FirstOrder, P: Precision> Optimizer for Rule<L, P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let hyper = Hyper {
            lr,
            beta1: self.config.beta1,
            beta2: self.config.beta2,
            epsilon: self.config.epsilon,
            weight_decay: self.config.weight_decay,
            step: self.step + 1,
        };
        let buffers = Buffers {
            params,
            grads,
            states: &self.states,
            evidence: &self.evidence,
        };
        descend::<L, P>(&self.context, buffers, hyper, Strategy::Forced(self.sweep))?;
        self.step += 1;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let seen = Evidence::read(&self.context, L::NAME, &self.evidence)?;
        Ok(StepReport::new(self.step, &self.segments, seen, None))
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        (P::State::BYTES * self.states.len()) as f64
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        0.0
    }
}
