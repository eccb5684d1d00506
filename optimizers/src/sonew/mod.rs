//! SONew: its settings, its states, its step.
//!
//! One launch a step where the runs of a unit are long enough for few ghost columns, otherwise statistics,
//! then factor, precondition and descent. Two more launches where grafting needs norms, where ε is relative, which takes statistics
//! apart, and where the RMSProp graft normalises the gradient.
//!
//! The file is long so that a setting is added here alone: declared, and read by the step.

mod choices;
mod keep;
mod scratch;

use std::marker::PhantomData;
use std::rc::Rc;

use sonew_kernels::arena::{Arena, GAP, Layout, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::{Evidence, PivotEvidence};
use sonew_kernels::first_order::Hyper;
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{HostFormat, Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, Form, Ghosts, GraftBuffers, StatisticsBuffers,
    StepBuffers, StepRates, Tolerance, UpdateBuffers, statistics, step, update,
};

use crate::groups::{Own, OwnTables};
use crate::settings::{DECAY, Family, NOT_NEGATIVE, Range, settings};
use crate::{Error, Keeper, Optimizer, StepReport};
use scratch::Scratch;

pub use choices::{PrecisionGamma, RelativeGamma, StatisticsForm};

const BAND: Range = Range {
    expected: "0 to 32",
    holds: |band| band <= GAP as f64,
};

const LAMBDA: Range = Range {
    expected: "> 0, it and 1/λ finite in f32",
    holds: |x| (NOT_NEGATIVE.holds)(x) && (1.0 / x as f32).is_finite(),
};

const GAMMA: Range = Range {
    expected: "0 ≤ γ < 1 in f32",
    ..DECAY
};

settings! {
    /// Settings of SONew. The defaults are those of the authors' logged f32 run.
    pub struct Sonew {
        named {
            /// Band width b: 0 diagonal, 1 tridiagonal, at most 32.
            band: usize, within BAND
        }
        /// decay of the momentum, 0 ≤ β < 1 (also called momentum)
        beta1: f64 = 0.9, within DECAY;
        /// decay of the second moment or of the statistics, 0 ≤ β < 1 (Shampoo: 0 < β)
        beta2: f64 = 0.999, within DECAY;
        /// average (moving average, bias-corrected) or sum (H + g gᵀ/λ)
        statistics: StatisticsForm = StatisticsForm::Average;
        /// λ > 0 of statistics=sum
        lambda: f64 = 1.0, within LAMBDA;
        /// ε ≥ 0: Adam outside the root, Adagrad and RMSProp inside, SONew on the diagonal of Ĥ, Shampoo the ridge of a
        /// root
        epsilon: f64 = 1e-8, within NOT_NEGATIVE;
        /// if > 0: max(this · ‖Ĥ‖₁, 1e-16) per tensor replaces epsilon
        relative_epsilon: f64 = 0.0, within NOT_NEGATIVE;
        /// absolute part of the pivot tolerance γ, ≥ 0
        gamma: f64 = 0.0, within NOT_NEGATIVE;
        /// part of the pivot tolerance γ relative to Ĥ_jj, 0 ≤ γ < 1
        relative_gamma: RelativeGamma = RelativeGamma::AUTO, within GAMMA;
        /// edges of a failing pivot that are cut: outgoing (to later neighbours) or incident (all); or none: clamp (the
        /// pivot is raised to γ) or reweight (the farthest entry is changed until it is γ)
        removal: EdgeRemoval = EdgeRemoval::of_band(band);
        /// whose step length is taken over, per tensor: none, sgd, momentum (SONew only), adam, rmsprop
        graft: Graft = Graft::None;
        /// ε ≥ 0 of the graft
        graft_epsilon: f64 = 1e-8, within NOT_NEGATIVE;
        /// decoupled weight decay λ ≥ 0: w loses η λ w
        weight_decay: f64 = 0.0, within NOT_NEGATIVE;
    }
    listed first: beta1, beta2, epsilon, weight_decay
}

impl Sonew {
    /// Band width 0: H is diagonal.
    pub fn diagonal() -> Self {
        Self::band(0)
    }

    /// Band width 1: H is tridiagonal.
    pub fn tridiagonal() -> Self {
        Self::band(1)
    }

    /// Any band width, at most 32, which is checked as the settings are.
    pub fn band(band: usize) -> Self {
        Self::with_defaults(band)
    }
}

impl Family for Sonew {
    const NAMES: &'static [&'static str] = &["diag-sonew", "tridiag-sonew", "band-4-sonew"];

    fn named(name: &str) -> Option<Self> {
        let band = match name {
            "diag-sonew" => 0,
            "tridiag-sonew" => 1,
            _ => {
                let band = name.strip_prefix("band-")?.strip_suffix("-sonew")?;
                band.parse().ok().filter(|&band| band <= GAP)?
            }
        };
        Some(Self::band(band))
    }

    fn name(&self) -> String {
        match self.band {
            0 => "diag-sonew".into(),
            1 => "tridiag-sonew".into(),
            band => format!("band-{band}-sonew"),
        }
    }

    fn default_lr(&self) -> f64 {
        match self.graft {
            Graft::Adam => 1e-3,
            _ => 1e-4,
        }
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
        Ok(Box::new(SonewOptimizer::<P>::new(
            self, context, layout, own,
        )?))
    }
}

/// SONew on a device: its settings and its states.
struct SonewOptimizer<P> {
    config: Sonew,
    context: Rc<Context>,
    layout: Layout,
    own: OwnTables,
    moment: Arena,
    diagonal: Arena,
    edges: Vec<Arena>,
    non_finite: Slots,
    cut: Slots,
    scratch: Option<Scratch>,
    /// Whether a step is one launch; the states then have ghost columns.
    fused: bool,
    sweep: Sweep,
    blueprint: Blueprint,
    step: u64,
    /// What the step saw that a loaded state is of.
    loaded: Option<StepReport>,
    precision: PhantomData<P>,
}

impl<P: Precision> SonewOptimizer<P> {
    fn new(config: Sonew, context: Rc<Context>, layout: &Layout, own: Own) -> Result<Self, Error> {
        let sweep = Sweep::of::<P>(&context, "statistics", config.band);
        let relative = config.relative_epsilon > 0.0;
        let norms = relative || config.graft != Graft::None;
        let factor = (config.band, config.removal);
        let (form, blueprint) = Form::choose::<P>(&context, layout, factor, config.graft, relative);
        // What tables are bound counts where buffers do.
        let form = Form {
            rates: own.rates.is_some(),
            rows: own.rows.is_some(),
            ..form
        };
        let fused = form.one_launch;
        let ghosts = Ghosts::new(layout, config.band, config.removal, blueprint);
        blueprint.require::<P>("building SONew", &context, layout, factor, form)?;
        if fused {
            let bytes = (P::State::BYTES * ghosts.state_len()) as u64;
            context.require_buffer("building SONew", "a state with its ghost columns", bytes)?;
        }
        let format = P::State::FORMAT;
        let state = || {
            if fused {
                Arena::zeros_with_ghosts(&context, layout, format, ghosts)
            } else {
                Ok(Arena::zeros(&context, layout, format))
            }
        };
        let slots = |sweep: Sweep| Slots::of(&context, layout, sweep);
        let scratch = || Scratch::new::<P>(&context, layout, blueprint.sweep, config.graft);
        Ok(Self {
            own: own.tables(&context, layout)?,
            moment: state()?,
            diagonal: state()?,
            edges: (0..config.band)
                .map(|_| state())
                .collect::<Result<_, _>>()?,
            non_finite: slots(if fused { blueprint.sweep } else { sweep }),
            cut: slots(blueprint.sweep),
            scratch: norms.then(scratch),
            fused,
            layout: layout.clone(),
            sweep,
            blueprint,
            config,
            context,
            step: 0,
            loaded: None,
            precision: PhantomData,
        })
    }

    fn decay(&self) -> Decay {
        match self.config.statistics {
            StatisticsForm::Average => Decay::Average(self.config.beta2),
            StatisticsForm::Sum => Decay::Sum(self.config.lambda),
        }
    }

    /// ‖H‖₁ per tensor, where ε is relative to it.
    fn damping(&self) -> Result<Damping<'_>, Error> {
        let epsilon = self.config.relative_epsilon;
        match &self.scratch {
            Some(scratch) if epsilon > 0.0 => Ok(Damping::Relative {
                epsilon,
                row_sums: scratch.row_sums::<P>(&self.context, &self.diagonal, &self.edges)?,
            }),
            _ => Ok(Damping::Absolute(self.config.epsilon)),
        }
    }

    /// (1/(1−β₁ᵗ), 1/(1−β₂ᵗ)), the latter 1 where statistics are sums.
    fn corrections(&self, t: u64) -> (f64, f64) {
        let second = match self.config.statistics {
            StatisticsForm::Average => Hyper::correction(self.config.beta2, t),
            StatisticsForm::Sum => 1.0,
        };
        (Hyper::correction(self.config.beta1, t), second)
    }

    fn gamma(&self) -> Tolerance {
        Tolerance {
            absolute: self.config.gamma,
            relative: self.config.relative_gamma.resolve::<P>(),
        }
    }

    /// Everything in one launch; with a graft u is staged.
    fn step_fused(
        &self,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
        lr: f64,
        t: u64,
    ) -> Result<(), Error> {
        let config = self.config;
        step::<P>(
            &self.context,
            StepBuffers {
                params,
                graft,
                rates: self.own.rates.as_ref(),
                rows: self.own.rows.as_ref(),
                grads,
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                non_finite: &self.non_finite,
                cut: &self.cut,
            },
            StepRates {
                lr,
                weight_decay: config.weight_decay,
                beta1: config.beta1,
                decay: self.decay(),
                epsilon: config.epsilon,
                corrections: self.corrections(t),
            },
            self.gamma(),
            config.removal,
            Strategy::Forced(self.blueprint),
        )?;
        Ok(())
    }

    /// Statistics in a launch of their own, then what needs them.
    fn step_apart(
        &self,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
        lr: f64,
        t: u64,
    ) -> Result<(), Error> {
        let config = self.config;
        statistics::<P>(
            &self.context,
            StatisticsBuffers {
                grads,
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                rows: self.own.rows.as_ref(),
                evidence: &self.non_finite,
            },
            config.beta1,
            self.decay(),
            Strategy::Forced(self.sweep),
        )?;
        let damping = self.damping()?;
        let descent = match graft {
            Some(stage) => Descent::Stage(stage),
            None => Descent::Apply {
                params,
                lr,
                weight_decay: config.weight_decay,
                rates: self.own.rates.as_ref(),
            },
        };
        self.update(descent, damping, t)
    }

    /// Where u is staged for the graft, and the norm of the gradient if it needs that.
    fn stage<'a>(&'a self, grads: &'a Arena) -> Result<Option<GraftBuffers<'a>>, Error> {
        let config = self.config;
        let scratch = self.scratch.as_ref();
        let Some((scratch, staged)) = scratch.and_then(|it| Some((it, it.staged.as_ref()?))) else {
            return Ok(None);
        };
        let rmsprop = config.graft == Graft::RmsProp;
        let grad_norms = if rmsprop {
            Some(scratch.grad_norms::<P>(&self.context, grads)?)
        } else {
            None
        };
        Ok(Some(GraftBuffers {
            graft: config.graft,
            epsilon: config.graft_epsilon,
            decay: config.beta2,
            direction: &staged.direction,
            norms: &staged.block_norms,
            grads: (rmsprop || config.graft == Graft::Sgd).then_some(grads),
            grad_norms,
            second: staged.second.as_ref(),
        }))
    }

    fn update(&self, descent: Descent<'_>, damping: Damping<'_>, t: u64) -> Result<(), Error> {
        update::<P>(
            &self.context,
            UpdateBuffers {
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                evidence: &self.cut,
            },
            descent,
            damping,
            self.gamma(),
            self.config.removal,
            self.corrections(t),
            Strategy::Forced(self.blueprint),
        )?;
        Ok(())
    }
}

impl<P: Precision> Optimizer for SonewOptimizer<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let t = self.step + 1;
        let graft = self.stage(grads)?;
        if self.fused {
            self.step_fused(params, grads, graft, lr, t)?;
        } else {
            self.step_apart(params, grads, graft, lr, t)?;
        }
        if let Some(scratch) = &self.scratch {
            let weight_decay = self.config.weight_decay;
            let rates = self.own.rates.as_ref();
            scratch.descend::<P>(&self.context, params, lr, weight_decay, rates)?;
        }
        self.step = t;
        self.loaded = None;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        if let Some(loaded) = self.loaded {
            return Ok(loaded);
        }
        let operation = "sonew report";
        let non_finite = Evidence::read(&self.context, operation, &self.non_finite)?;
        let pivots = PivotEvidence::read(&self.context, operation, &self.cut)?;
        Ok(StepReport::new(
            self.step,
            &self.layout,
            non_finite,
            Some(pivots),
        ))
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        self.keep_states(keeper)
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let graft = usize::from(self.config.graft == Graft::RmsProp);
        (P::State::BYTES * (2 + self.config.band + graft)) as f64
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        let staged = usize::from(self.config.graft != Graft::None);
        (P::State::BYTES * staged) as f64
    }
}
