//! A whole step of SONew.

use sonew_kernels::arena::{Arena, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{F32, Format};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, Ghosts, GraftBuffers, StatisticsBuffers, StepBuffers,
    StepRates, UpdateBuffers, reference, statistics, step, update,
};

use super::banded::Pivots;
use super::statistics::{Statistics, decay_settings, row_setting};
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::descending::Descending;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::{Setting, descent_settings, step_setting};
use crate::lab::kernel_files::spec::{B, KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// In how many launches a step is done.
const LAUNCHES: [(&str, Launches); 2] = [("one", Launches::One), ("two", Launches::Two)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Launches {
    /// Statistics, factor and descent at once.
    One,
    /// The statistics before the rest.
    Two,
}

/// Weights, statistics and a gradient.
pub(in crate::lab::kernel_files) struct SonewStep {
    pub(super) w: Vec<f32>,
    pub(super) statistics: Statistics,
    pub(super) descending: Descending,
    pub(super) epsilon: f64,
    /// Bias corrections of m and of H.
    pub(super) corrections: (f64, f64),
    pub(super) pivots: Pivots,
    pub(super) launches: Launches,
}

/// u, and what it was computed from, in f64.
pub(super) struct Exact {
    pub h: reference::Statistics,
    pub factor: reference::Factor,
    pub u: Vec<f64>,
}

/// The buffers of a step after it, behind them the evidence.
pub(super) struct Stepped {
    moment: Arena,
    diagonal: Arena,
    edges: Vec<Arena>,
    non_finite: Slots,
    cut: Slots,
}

impl SonewStep {
    pub(super) fn declared(name: &'static str, summary: &'static str) -> KernelSpec {
        let spec = KernelSpec::new(name, summary)
            .needs("w", &[N])
            .needs("g", &[N])
            .state("moment", &[N])
            .state("diagonal", &[N])
            .needs("edges", &[B, N])
            .gives("w", &[N])
            .gives("moment", &[N])
            .gives("diagonal", &[N])
            .gives("edges", &[B, N])
            .counts("non_finite");
        let spec = Pivots::declared(spec)
            .set(Setting::non_negative(
                "epsilon",
                "1e-8",
                "ε, added to the diagonal",
            ))
            .set(step_setting())
            .set(row_setting())
            .set(Setting::choice(
                "launches",
                &LAUNCHES,
                "the step at once, or its statistics before the rest",
            ));
        let settings = descent_settings().into_iter();
        settings
            .chain(decay_settings())
            .chain(Pivots::settings())
            .fold(spec, KernelSpec::set)
    }

    pub(super) fn take(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let descending = inputs.settings.descent()?;
        let statistics = Statistics::take(inputs)?;
        let t = inputs.settings.whole("step");
        let second = match statistics.decay {
            Decay::Average(beta2) => Hyper::correction(beta2, t),
            Decay::Sum(_) => 1.0,
        };
        let settings = &inputs.settings;
        Ok(Self {
            descending,
            epsilon: settings.number("epsilon"),
            corrections: (Hyper::correction(statistics.beta1, t), second),
            pivots: Pivots::of(settings),
            launches: settings.choice("launches", &LAUNCHES),
            w: inputs.take("w"),
            statistics,
        })
    }

    /// L D Lᵀ m̂ after the gradient.
    pub(super) fn exact(&self) -> Exact {
        let h = self.statistics.accumulated();
        let damped = h.damped(self.corrections.1, self.epsilon);
        let Pivots { gamma, removal } = self.pivots;
        let factor = reference::factor_rows(&damped, self.statistics.row, gamma, removal);
        let moment: Vec<_> = h.moment.iter().map(|m| self.corrections.0 * m).collect();
        let u = factor.precondition(&moment);
        Exact { h, factor, u }
    }

    /// The oracle's weights with u times `length`, and its states.
    pub(super) fn descended(&self, exact: &Exact, length: f64) -> Found {
        let (lr, weight_decay) = (self.descending.own_lr(), self.descending.weight_decay);
        let moved = wide(&self.w).into_iter().zip(&exact.u);
        let w: Vec<_> = moved
            .map(|(w, u)| w - lr * (length * u + weight_decay * w))
            .collect();
        let found = Found::new().exact("w", [w.len()], &w);
        let found = self.statistics.with_exact(found, &exact.h);
        Pivots::exact(found, &exact.factor)
    }

    /// How it is laid out.
    pub(super) fn blueprint(&self, context: &Context) -> Blueprint {
        Blueprint::of::<F32>(context, "sonew-step", self.statistics.edges.len())
    }

    /// Launches the step on `params`, or up to what is staged for a graft.
    pub(super) fn launch(
        &self,
        tensor: &Tensor<'_>,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
    ) -> Result<Stepped, KernelError> {
        match self.launches {
            Launches::One => self.in_one_launch(tensor, params, grads, graft),
            Launches::Two => self.in_two_launches(tensor, params, grads, graft),
        }
    }

    fn in_one_launch(
        &self,
        tensor: &Tensor<'_>,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
    ) -> Result<Stepped, KernelError> {
        let Statistics {
            moment,
            diagonal,
            edges,
            beta1,
            decay,
            ..
        } = &self.statistics;
        let Pivots { gamma, removal } = self.pivots;
        let (context, layout) = (tensor.context, &tensor.layout);
        let blueprint = self.blueprint(context);
        let ghosts = Ghosts::new(layout, edges.len(), removal, blueprint);
        // Each run has copies of its neighbours' columns.
        let state = |values: &[f32]| -> Result<Arena, KernelError> {
            Arena::of_with_ghosts(context, layout, Format::F32, &[values], ghosts)
        };
        let edges: Result<Vec<_>, _> = edges.iter().map(|edge| state(edge)).collect();
        let done = Stepped {
            moment: state(moment)?,
            diagonal: state(diagonal)?,
            edges: edges?,
            non_finite: tensor.slots(blueprint.sweep),
            cut: tensor.slots(blueprint.sweep),
        };
        let own_rates = tensor.rates(&self.descending)?;
        let rows = tensor.rows(self.statistics.row)?;
        let buffers = StepBuffers {
            params,
            graft,
            rates: own_rates.as_ref(),
            rows: rows.as_ref(),
            grads,
            moment: &done.moment,
            diagonal: &done.diagonal,
            edges: &done.edges,
            non_finite: &done.non_finite,
            cut: &done.cut,
        };
        let rates = StepRates {
            lr: self.descending.lr,
            weight_decay: self.descending.weight_decay,
            beta1: *beta1,
            decay: *decay,
            epsilon: self.epsilon,
            corrections: self.corrections,
        };
        let forced = Strategy::Forced(blueprint);
        step::<F32>(context, buffers, rates, gamma, removal, forced)?;
        Ok(done)
    }

    fn in_two_launches(
        &self,
        tensor: &Tensor<'_>,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
    ) -> Result<Stepped, KernelError> {
        let of = &self.statistics;
        let Pivots { gamma, removal } = self.pivots;
        let context = tensor.context;
        let blueprint = self.blueprint(context);
        let sweep = Sweep::of::<F32>(context, "statistics", of.edges.len());
        let done = Stepped {
            moment: tensor.upload(&of.moment)?,
            diagonal: tensor.upload(&of.diagonal)?,
            edges: tensor.upload_all(&of.edges)?,
            non_finite: tensor.slots(sweep),
            cut: tensor.slots(blueprint.sweep),
        };
        let rows = tensor.rows(of.row)?;
        let buffers = StatisticsBuffers {
            grads,
            moment: &done.moment,
            diagonal: &done.diagonal,
            edges: &done.edges,
            rows: rows.as_ref(),
            evidence: &done.non_finite,
        };
        let forced = Strategy::Forced(sweep);
        statistics::<F32>(context, buffers, of.beta1, of.decay, forced)?;
        let buffers = UpdateBuffers {
            moment: &done.moment,
            diagonal: &done.diagonal,
            edges: &done.edges,
            evidence: &done.cut,
        };
        let own_rates = tensor.rates(&self.descending)?;
        let descent = match graft {
            Some(graft) => Descent::Stage(graft),
            None => Descent::Apply {
                params,
                lr: self.descending.lr,
                weight_decay: self.descending.weight_decay,
                rates: own_rates.as_ref(),
            },
        };
        update::<F32>(
            context,
            buffers,
            descent,
            Damping::Absolute(self.epsilon),
            gamma,
            removal,
            self.corrections,
            Strategy::Forced(blueprint),
        )?;
        Ok(done)
    }
}

impl Stepped {
    /// Adds states and evidence to what was found.
    pub fn read(&self, tensor: &Tensor<'_>, found: Found, n: usize) -> Result<Found, KernelError> {
        let found = found
            .values("moment", [n], tensor.read(&self.moment)?)
            .values("diagonal", [n], tensor.read(&self.diagonal)?)
            .values(
                "edges",
                [self.edges.len(), n],
                tensor.read_all(&self.edges)?,
            )
            .count("non_finite", tensor.noted(&self.non_finite)?.count);
        Ok(Pivots::noted(found, &tensor.noted(&self.cut)?))
    }
}

impl Kernel for SonewStep {
    fn spec() -> KernelSpec {
        let summary = "statistics, banded-ldl and precondition, then w ← w − η (u + λ w)";
        Self::declared("sonew-step", summary)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Self::take(inputs)
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        Ok(self.descended(&self.exact(), 1.0))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.w.len();
        let tensor = Tensor::new(context, "sonew-step", n)?;
        let (params, grads) = (tensor.upload(&self.w)?, tensor.upload(&self.statistics.g)?);
        let stepped = self.launch(&tensor, &params, &grads, None)?;
        let found = Found::new().values("w", [n], tensor.read(&params)?);
        Ok(stepped.read(&tensor, found, n)?)
    }
}
