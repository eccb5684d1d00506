//! The first-order baselines: their settings, their states, their step of one launch.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{self as kernels, Buffers, Hyper, descend};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{HostFormat, Precision, Storage};

use crate::groups::{Own, OwnTables};
use crate::settings::{DECAY, Family, NOT_NEGATIVE, key, settings};
use crate::{Error, Keeper, Optimizer, StepReport};

settings! {
    /// Settings of a first-order optimizer. What its formula does not name stays at its default.
    pub struct FirstOrder {
        named {
            /// Which rule.
            rule: FirstOrderKind
        }
        /// decay of the momentum, 0 ≤ β < 1 (also called momentum)
        beta1: f64 = 0.9, within DECAY;
        /// decay of the second moment or of the statistics, 0 ≤ β < 1 (Shampoo: 0 < β)
        beta2: f64 = 0.999, within DECAY;
        /// ε ≥ 0: Adam outside the root, Adagrad and RMSProp inside, SONew on the diagonal of Ĥ, Shampoo the ridge of a
        /// root
        epsilon: f64 = 1e-8, within NOT_NEGATIVE;
        /// decoupled weight decay λ ≥ 0: w loses η λ w
        weight_decay: f64 = 0.0, within NOT_NEGATIVE;
        /// where Adagrad's sum of squares starts, ≥ 0
        initial_accumulator: f64 = 0.1, within NOT_NEGATIVE;
    }
    listed first: beta1, beta2, epsilon, weight_decay
}

/// Declares the rules, each by the type of its kernel and its constructor: the default learning rate, the settings that its
/// formula names, and their defaults where they differ from those above.
macro_rules! rules {
    ($(
        $(#[$about:meta])+
        $rule:ident, $constructor:ident: lr $lr:literal,
            uses [$($setting:ident),+] $(, with { $($field:ident: $default:expr),+ })?;
    )+) => {
        /// The first-order rules; their formulas are in [`sonew_kernels::first_order`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum FirstOrderKind {
            $($(#[$about])+ $rule,)+
        }

        impl FirstOrderKind {
            /// The name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => <kernels::$rule as kernels::FirstOrder>::NAME,)+
                }
            }

            /// The keys of the settings that its formula names.
            pub fn settings(self) -> &'static [&'static str] {
                match self {
                    $(Self::$rule => &[$(key!($setting)),+],)+
                }
            }
        }

        impl FirstOrder {
            $(
                $(#[$about])+
                pub fn $constructor() -> Self {
                    Self {
                        $($($field: $default,)+)?
                        ..Self::with_defaults(FirstOrderKind::$rule)
                    }
                }
            )+
        }

        impl Family for FirstOrder {
            const NAMES: &'static [&'static str] = &[$(FirstOrderKind::$rule.name()),+];

            fn named(name: &str) -> Option<Self> {
                let all = [$(Self::$constructor()),+];
                all.into_iter().find(|it| it.rule.name() == name)
            }

            fn name(&self) -> String {
                self.rule.name().into()
            }

            fn default_lr(&self) -> f64 {
                match self.rule {
                    $(FirstOrderKind::$rule => $lr,)+
                }
            }

            fn uses(&self, key: &str) -> bool {
                self.rule.settings().contains(&key)
            }

            fn weight_decay(&self) -> f64 {
                self.weight_decay
            }

            fn start<P: Precision>(
                self,
                context: Rc<Context>,
                layout: &Layout,
                own: Own,
            ) -> Result<Box<dyn Optimizer>, Error> {
                Ok(match self.rule {
                    $(FirstOrderKind::$rule => Box::new(
                        FirstOrderOptimizer::<kernels::$rule, P>::new(self, context, layout, own)?,
                    ),)+
                })
            }
        }
    };
}

// The defaults are those of optax, momentum 0.9 where it has none.
rules! {
    /// SGD: w ← w − η g.
    Sgd, sgd: lr 1e-2, uses [weight_decay];
    /// Heavy ball.
    Momentum, momentum: lr 1e-3, uses [beta1, weight_decay];
    /// Nesterov's momentum.
    Nesterov, nesterov: lr 1e-3, uses [beta1, weight_decay];
    /// Diagonal Adagrad.
    Adagrad, adagrad: lr 1e-2, uses [epsilon, initial_accumulator, weight_decay], with { epsilon: 1e-7 };
    /// RMSProp with momentum.
    RmsProp, rmsprop: lr 1e-4, uses [beta1, beta2, epsilon, weight_decay], with { beta2: 0.9 };
    /// Adam.
    Adam, adam: lr 1e-3, uses [beta1, beta2, epsilon, weight_decay];
}

impl FirstOrder {
    /// Where the states start.
    pub fn first_state(&self) -> f64 {
        if self.uses(key!(initial_accumulator)) {
            self.initial_accumulator
        } else {
            0.0
        }
    }
}

/// A rule on a device: its settings and its states.
struct FirstOrderOptimizer<L, P> {
    config: FirstOrder,
    context: Rc<Context>,
    layout: Layout,
    own: OwnTables,
    states: Vec<Arena>,
    evidence: Slots,
    sweep: Sweep,
    step: u64,
    /// What the step saw that a loaded state is of.
    loaded: Option<StepReport>,
    rule: core::marker::PhantomData<(L, P)>,
}

impl<L: kernels::FirstOrder, P: Precision> FirstOrderOptimizer<L, P> {
    fn new(
        config: FirstOrder,
        context: Rc<Context>,
        layout: &Layout,
        own: Own,
    ) -> Result<Self, Error> {
        let start = config.first_state() as f32;
        let states = (0..L::STATES.len())
            .map(|_| Arena::filled(&context, layout, P::State::FORMAT, start))
            .collect();
        let sweep = Sweep::of::<P>(&context, L::NAME, 0);
        Ok(Self {
            own: own.tables(&context, layout)?,
            config,
            evidence: Slots::of(&context, layout, sweep),
            layout: layout.clone(),
            context,
            states,
            sweep,
            step: 0,
            loaded: None,
            rule: core::marker::PhantomData,
        })
    }
}

impl<L: kernels::FirstOrder, P: Precision> Optimizer for FirstOrderOptimizer<L, P> {
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
            rates: self.own.rates.as_ref(),
            evidence: &self.evidence,
        };
        descend::<L, P>(&self.context, buffers, hyper, Strategy::Forced(self.sweep))?;
        self.step += 1;
        self.loaded = None;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        if let Some(loaded) = self.loaded {
            return Ok(loaded);
        }
        let seen = Evidence::read(&self.context, L::NAME, &self.evidence)?;
        Ok(StepReport::new(self.step, &self.layout, seen, None))
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        keeper.family::<_, P>(&self.config)?;
        self.own.keep(keeper, &self.layout)?;
        keeper.record("steps", &mut self.step)?;
        for (name, state) in L::STATES.iter().zip(&mut self.states) {
            keeper.arena(&self.context, name, state)?;
        }
        let mut loaded = self.loaded;
        keeper.report(|| self.report(), &mut loaded)?;
        self.loaded = loaded;
        Ok(())
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        (P::State::BYTES * self.states.len()) as f64
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        0.0
    }
}
