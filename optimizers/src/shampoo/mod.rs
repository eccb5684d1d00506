//! Shampoo as the SONew paper's benchmark ran it: its settings, its states, its step. A step is, in this order: statistics, roots if they are due,
//! direction, graft and momenta, descent.
//!
//! On a CPU adapter statistics, roots and directions are computed in host memory, so a step waits for the gradient;
//! elsewhere all are launches, and a step waits for nothing unless it is told to take its roots on the host. Graft,
//! momenta and descent are kernels. The number of launches does not depend on the number of tensors.
//!
//! A root that is not accepted leaves the old one in its place and is counted. Only more failures of one factor in a row
//! than are tolerated are an error: of the step if roots are computed on the host, else of the next report.
//!
//! The file is long so that a setting is added here alone: declared, and read by the step.

mod choices;
mod factors;
mod keep;
mod place;
mod roots;
mod states;

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::graft::Graft;
use sonew_kernels::host;
use sonew_kernels::kronecker::{
    self, Blocking, DescentBuffers, DescentRates, LARGEST_ORDER, Limits, MeasureBuffers, Ridge,
};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{Reduction, norm_per_tensor};
use sonew_kernels::precision::{Precision, Storage};

use crate::groups::{Own, OwnTables};
use crate::settings::{COUNT, DECAY, Family, NOT_NEGATIVE, Range, settings, unreadable};
use crate::{Error, Keeper, Optimizer, StepReport};
use factors::Factors;
use roots::Roots;
use states::{States, check_step};

pub use choices::{FactorFormat, ProductsPlace, RidgeForm, RootChoice};

const DECAY_ABOVE_0: Range = Range {
    expected: "0 < β < 1 in f32",
    holds: |x| x as f32 > 0.0 && (DECAY.holds)(x),
};

const ABOVE_0: Range = Range {
    expected: "> 0",
    holds: |x| x > 0.0,
};

const ORDER: Range = Range {
    expected: "0 to 64",
    holds: |p| p <= LARGEST_ORDER as f64,
};

settings! {
    /// Settings of Shampoo. The defaults are the benchmark's as its authors tuned them in f32 for roots every 20 steps.
    pub struct Shampoo {
        /// decay of the momentum, 0 ≤ β < 1 (also called momentum)
        beta1: f64 = 0.900_055, within DECAY;
        /// decay of the second moment or of the statistics, 0 ≤ β < 1 (Shampoo: 0 < β)
        beta2: f64 = 0.950_822, within DECAY_ABOVE_0;
        /// ε ≥ 0: Adam outside the root, Adagrad and RMSProp inside, SONew on the diagonal of Ĥ, Shampoo the ridge of a
        /// root
        epsilon: f64 = 9.66e-9, within NOT_NEGATIVE;
        /// relative (epsilon · λ_max of each factor) or absolute
        ridge: RidgeForm = RidgeForm::Relative;
        /// p of the inverse p-th roots, at most 64; 0: twice the number of axes
        exponent: u32 = 0, within ORDER;
        /// how roots are computed: eigen (f64), newton (f32, as published), newton-double (f64) or newton-bf16, all on the
        /// host; newton-refreshed (f32), where the products are; auto: eigen if that is the host, else newton-refreshed, and
        /// newton-bf16 of bf16 factors
        root: RootChoice = RootChoice::Auto;
        /// how statistics and roots are held: f32, or bf16 (on the host), to see what that costs
        factors: FactorFormat = FactorFormat::F32;
        /// where statistics and directions are multiplied: auto (host on a software driver), host or device
        products: ProductsPlace = ProductsPlace::Auto;
        /// a root whose residual or check is not below this is refused, > 0
        residual_threshold: f64 = 0.1, within ABOVE_0;
        /// refused roots of one factor in a row that are no error; the last good one stays in use
        tolerated_failures: u32 = 3;
        /// steps between computations of the roots, ≥ 1
        root_interval: u64 = 20, within COUNT;
        /// true: an interval's roots are computed over it, a few each step, and used from its end on
        spread_roots: bool = false;
        /// steps between updates of the statistics, ≥ 1
        statistics_interval: u64 = 1, within COUNT;
        /// first step, from 0 on, along the preconditioned gradient; the graft's update before
        start_step: u64 = 25;
        /// whose step length is taken over, per tensor: none, sgd, momentum (SONew only), adam, rmsprop
        graft: Graft = Graft::RmsProp;
        /// ε ≥ 0 of the graft
        graft_epsilon: f64 = 1e-12, within NOT_NEGATIVE;
        /// true: Nesterov's form of the momenta
        nesterov: bool = false;
        /// true: vectors are preconditioned with p = 2; false: left to the graft
        vectors: bool = true;
        /// longest side of a block, ≥ 1
        block_size: usize = 2048, within COUNT;
        /// neighbouring axes are merged while their product is at most this
        merge_size: usize = 4096;
        /// tensors with a longer axis than this are left to the graft
        largest_size: usize = 4096;
        /// decoupled weight decay λ ≥ 0: w loses η λ w
        weight_decay: f64 = 0.0, within NOT_NEGATIVE;
    }
    listed first: beta1, beta2, epsilon, weight_decay, graft, graft_epsilon
}

impl Default for Shampoo {
    fn default() -> Self {
        Self::with_defaults()
    }
}

impl Shampoo {
    /// How tensors are cut into blocks.
    pub fn limits(&self) -> Limits {
        Limits {
            block: self.block_size,
            merge: self.merge_size,
            largest: self.largest_size,
        }
    }

    /// What is added to a factor's diagonal.
    pub fn root_ridge(&self) -> Ridge {
        match self.ridge {
            RidgeForm::Relative => Ridge::Relative(self.epsilon),
            RidgeForm::Absolute => Ridge::Absolute(self.epsilon),
        }
    }
}

impl Family for Shampoo {
    const NAMES: &'static [&'static str] = &["shampoo"];

    fn named(name: &str) -> Option<Self> {
        (name == "shampoo").then(Self::default)
    }

    fn name(&self) -> String {
        "shampoo".into()
    }

    fn default_lr(&self) -> f64 {
        3.702_88e-3
    }

    fn agree(&self) -> Result<(), Error> {
        if self.graft == Graft::Momentum {
            let reason = "expected none, sgd, adam or rmsprop; the graft has a momentum already";
            return Err(unreadable(self, "graft", "momentum", reason));
        }
        if self.factors == FactorFormat::Bf16 && self.products == ProductsPlace::Device {
            let reason = "factors on the device are f32; set products=host";
            return Err(unreadable(self, "factors", "bf16", reason));
        }
        Ok(())
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
        Ok(Box::new(ShampooOptimizer::<P>::new(
            self, context, layout, own,
        )?))
    }
}

/// Shampoo on a device: its settings and its states.
struct ShampooOptimizer<P> {
    config: Shampoo,
    context: Rc<Context>,
    layout: Layout,
    own: OwnTables,
    blocking: Blocking,
    factors: Factors,
    roots: Roots,
    states: States,
    sweep: Sweep,
    reduction: Reduction,
    spent: Spent,
    step: u64,
    /// What the step saw that a loaded state is of.
    loaded: Option<StepReport>,
    precision: PhantomData<P>,
}

/// Host time spent in the parts of a step.
#[derive(Default)]
struct Spent {
    statistics: Duration,
    roots: Duration,
    application: Duration,
}

impl<P: Precision> ShampooOptimizer<P> {
    fn new(
        config: Shampoo,
        context: Rc<Context>,
        layout: &Layout,
        own: Own,
    ) -> Result<Self, Error> {
        let order = (config.exponent > 0).then_some(config.exponent);
        let blocking = Blocking::new(layout, config.limits(), order, config.vectors)?;
        let on_host = place::on_host(&config, context.profile());
        if blocking.factor_values() > 0 {
            place::require_built(&config, on_host, host::BUILT)?;
        }
        let factors = 4 * blocking.factor_values() as u64;
        context.require_buffer("building Shampoo", "the factors of all tensors", factors)?;
        let sweep = Sweep::measuring::<P>(&context, "kronecker-descent");
        let states = States::new::<P>(&context, layout, &blocking, sweep, config.graft);
        let diagonal = |value: f64| {
            let mut all = vec![0f32; blocking.factor_values()];
            for factor in blocking.factors() {
                let matrix = &mut all[factor.range.clone()];
                matrix
                    .iter_mut()
                    .step_by(factor.n + 1)
                    .for_each(|x| *x = value as f32);
            }
            all
        };
        let mut start = diagonal(config.epsilon);
        config.factors.round(&mut start);
        let identity = diagonal(1.0);
        let place = if start.is_empty() {
            Factors::none::<P>(&context, layout)
        } else if on_host {
            Factors::on_host(layout, &blocking, start.clone(), config.factors)
        } else {
            Factors::on_device::<P>(&context, layout, &blocking, &start, &identity)?
        };
        let roots = Roots::new(&context, &config, &blocking, &place, &start, identity)?;
        Ok(Self {
            own: own.tables(&context, layout)?,
            reduction: Reduction::new(&context, layout),
            layout: layout.clone(),
            config,
            context,
            blocking,
            factors: place,
            roots,
            states,
            sweep,
            spent: Spent::default(),
            step: 0,
            loaded: None,
            precision: PhantomData,
        })
    }

    /// What the last step saw but for its roots.
    fn seen(&self) -> Result<StepReport, Error> {
        if let Some(loaded) = self.loaded {
            return Ok(loaded);
        }
        let seen = Evidence::read(&self.context, "shampoo report", &self.states.non_finite)?;
        Ok(StepReport::new(self.step, &self.layout, seen, None))
    }

    /// Graft, momenta and descent on the device.
    fn descend(
        &mut self,
        params: &Arena,
        grads: &Arena,
        direction: &Arena,
        lr: f64,
    ) -> Result<(), Error> {
        let config = self.config;
        let states = &self.states;
        let norms = config.graft == Graft::RmsProp;
        if norms {
            norm_per_tensor::<P>(
                &self.context,
                &self.reduction,
                grads,
                &states.block_partials,
                &states.grad_norms,
            )?;
        }
        let rates = DescentRates {
            lr,
            weight_decay: config.weight_decay,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.graft_epsilon,
            correction: Hyper::correction(config.beta2, self.step + 1),
        };
        let grad_norms = norms.then_some(&states.grad_norms);
        kronecker::measure::<P>(
            &self.context,
            MeasureBuffers {
                grads,
                direction,
                second: states.second.as_ref(),
                grad_norms,
                norms: &states.block_norms,
                tensor_of_block: &states.tensor_of_block,
                evidence: &states.non_finite,
            },
            config.graft,
            rates,
            Strategy::Forced(self.sweep),
        )?;
        self.reduction.pairs_of_norms(
            &self.context,
            &states.block_norms,
            self.sweep,
            &states.tensor_norms,
        )?;
        let started = self.step >= config.start_step;
        kronecker::descend::<P>(
            &self.context,
            DescentBuffers {
                params,
                grads,
                direction,
                second: states.second.as_ref(),
                grad_norms,
                norms: &states.tensor_norms,
                tensor_of_block: &states.tensor_of_block,
                rates: self.own.rates.as_ref(),
                preconditioned: if started {
                    &states.preconditioned
                } else {
                    &states.nothing
                },
                momentum: &states.momentum,
                graft_momentum: &states.graft_momentum,
            },
            config.graft,
            config.nesterov,
            rates,
            Strategy::Forced(self.sweep),
        )?;
        Ok(())
    }
}

impl<P: Precision> Optimizer for ShampooOptimizer<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let mut clock = Instant::now();
        let mut lap = |part: &mut Duration| {
            let now = Instant::now();
            *part += now - clock;
            clock = now;
        };
        check_step::<P>(&self.layout, params, grads, lr)?;
        let values = self.factors.read::<P>(&self.context, grads)?;
        if self.step.is_multiple_of(self.config.statistics_interval) {
            self.factors.accumulate(
                &self.context,
                &self.blocking,
                grads,
                &values,
                self.config.beta2,
            )?;
        }
        lap(&mut self.spent.statistics);
        self.roots.renew(
            &self.context,
            &self.config,
            &self.blocking,
            &mut self.factors,
            self.step,
        )?;
        lap(&mut self.spent.roots);
        let direction = self.factors.direction::<P>(
            &self.context,
            &self.layout,
            &self.blocking,
            self.roots.values(),
            grads,
            &values,
        )?;
        self.descend(params, grads, &direction, lr)?;
        lap(&mut self.spent.application);
        self.step += 1;
        self.loaded = None;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let roots = self
            .roots
            .report(&self.context, &self.config, &self.blocking)?;
        Ok(StepReport {
            roots: Some(roots),
            ..self.seen()?
        })
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        self.keep_states(keeper)
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let moments = 2 + usize::from(self.states.second.is_some());
        let factors = 2 * self.config.factors.bytes() * self.blocking.factor_values();
        let parameters = self.layout.parameters() as f64;
        (P::State::BYTES * moments) as f64 + factors as f64 / parameters
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        // Host memory holds statistics and roots widened.
        let widened = 2 * (4 - self.config.factors.bytes()) * self.blocking.factor_values();
        let roots = (self.roots.scratch_bytes(&self.blocking) + widened) as f64;
        self.factors.arena_bytes::<P>() as f64 + roots / self.layout.parameters() as f64
    }

    fn parts(&self) -> Vec<(&'static str, Duration)> {
        if !self.factors.waits() || !self.roots.wait() {
            return Vec::new();
        }
        vec![
            ("statistics", self.spent.statistics),
            ("roots", self.spent.roots),
            ("application", self.spent.application),
        ]
    }

    fn assignments(&self) -> Vec<String> {
        let assignments = self.blocking.assignments().iter().enumerate();
        assignments
            .map(|(tensor, assignment)| {
                let blocks = self.blocking.blocks().iter();
                match blocks.filter(|block| block.tensor == tensor).count() {
                    0 | 1 => assignment.to_string(),
                    count => format!("{assignment}, in {count} blocks"),
                }
            })
            .collect()
    }
}
