//! An optimizer behind a look at the gradient, and on f32 copies of weights and gradients where it is asked for.

use std::rc::Rc;
use std::time::Duration;

use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Format, Native, Precision, convert, inspect, round_stochastically};

use super::loss_scale::Scale;
use super::{NonFinite, Numerics, WeightRounding};
use crate::averaged::rounded;
use crate::{Error, Keeper, Optimizer, StepReport};

pub(crate) struct Guarded<P> {
    inner: Box<dyn Optimizer>,
    numerics: Numerics,
    context: Rc<Context>,
    layout: Layout,
    scale: Option<Scale>,
    wide: Option<Wide>,
    sweeps: Sweeps,
    evidence: Slots,
    /// Tensors whose gradients do not count.
    frozen: Vec<usize>,
    /// Calls so far, skipped steps included.
    calls: u64,
    skipped: u64,
    /// What the last call saw, if it was looked at.
    seen: Evidence,
    precision: std::marker::PhantomData<P>,
}

/// How the launches around a step are laid out.
#[derive(Clone, Copy)]
struct Sweeps {
    inspect: Sweep,
    convert: Sweep,
    draw: Sweep,
}

/// f32 arenas.
struct Wide {
    grads: Arena,
    /// The weights of a step; masters keep theirs.
    params: Arena,
    /// Whether `params` holds the masters yet.
    filled: bool,
}

impl<P: Precision> Guarded<P> {
    /// `inner` takes f32 arenas if the numerics widen, those of `P` otherwise.
    pub fn new(
        inner: Box<dyn Optimizer>,
        numerics: Numerics,
        context: Rc<Context>,
        layout: &Layout,
        frozen: Vec<usize>,
    ) -> Self {
        let arena = || Arena::zeros(&context, layout, Format::F32);
        let sweeps = Sweeps {
            inspect: Sweep::plain::<P>(&context, "inspect"),
            convert: Sweep::plain::<P>(&context, "convert"),
            draw: Sweep::plain::<P>(&context, "stochastic-rounding"),
        };
        Self {
            inner,
            numerics,
            scale: numerics.loss_scale.map(Scale::new),
            wide: numerics.widens().then(|| Wide {
                grads: arena(),
                params: arena(),
                filled: false,
            }),
            sweeps,
            evidence: Slots::of(&context, layout, sweeps.inspect),
            frozen,
            layout: layout.clone(),
            context,
            calls: 0,
            skipped: 0,
            seen: Evidence::default(),
            precision: std::marker::PhantomData,
        }
    }

    /// Looks at the gradient, and returns whether the step is to be taken.
    fn admits(&mut self, grads: &Arena) -> Result<bool, Error> {
        let factor = 1.0 / self.loss_scale();
        let wide = self.wide.as_ref().map(|wide| &wide.grads);
        let context = &self.context;
        let sweep = Strategy::Forced(self.sweeps.inspect);
        inspect::<P::Params>(context, grads, wide, factor, &self.evidence, sweep)?;
        if self.numerics.non_finite == NonFinite::Proceed {
            return Ok(true);
        }
        self.seen = Evidence::read(context, "gradient inspection", &self.evidence)?;
        if self.seen.count > 0 && !self.frozen.is_empty() {
            self.seen = self.seen_of_moving(grads)?;
        }
        let finite = self.seen.count == 0;
        let too_large = self.scale.as_ref().is_some_and(Scale::can_shrink);
        if let Some(scale) = &mut self.scale {
            scale.update(!finite);
        }
        if finite {
            return Ok(true);
        }
        self.skipped += 1;
        if too_large || self.numerics.non_finite == NonFinite::Skip {
            return Ok(false);
        }
        let (tensor, index) = self
            .seen
            .first
            .and_then(|at| self.layout.locate(at))
            .unwrap_or_default();
        Err(Error::NonFinite {
            step: self.calls,
            tensor,
            index,
            count: self.seen.count,
        })
    }
}

impl<P: Precision> Guarded<P> {
    /// What of a gradient that was found not to be finite is in tensors that are not frozen. It is read for that, which is rare.
    fn seen_of_moving(&self, grads: &Arena) -> Result<Evidence, Error> {
        let moving = |tensor: &usize| !self.frozen.contains(tensor);
        let tensors = self.layout.tensors();
        let moving = (0..tensors.len()).filter(moving);
        let moving: Vec<_> = moving.map(|tensor| tensors[tensor].clone()).collect();
        let look = |values: &[f32]| {
            let bad = moving.into_iter().flatten();
            let bad: Vec<usize> = bad.filter(|&at| !values[at].is_finite()).collect();
            Evidence {
                count: bad.len() as u64,
                first: bad.into_iter().min(),
            }
        };
        Ok(grads.view(&self.context, "gradient inspection", look)?)
    }
}

impl<P: Precision> Optimizer for Guarded<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let call = self.calls;
        let admitted = self.admits(grads);
        self.calls += 1;
        if !admitted? {
            return Ok(());
        }
        let Some(wide) = &mut self.wide else {
            return self.inner.step(params, grads, lr);
        };
        if self.inner.pending() + 1 < self.inner.gradients_per_step() {
            // It is gathered only; no weight moves.
            return self.inner.step(&wide.params, &wide.grads, lr);
        }
        let context = &self.context;
        let convert_by = Strategy::Forced(self.sweeps.convert);
        let master = self.numerics.weights == WeightRounding::Master;
        if !(master && wide.filled) {
            convert::<P::Params, Native<f32>>(context, params, &wide.params, convert_by)?;
            wide.filled = true;
        }
        self.inner.step(&wide.params, &wide.grads, lr)?;
        if self.numerics.weights == WeightRounding::Stochastic {
            let seed = self.numerics.seed;
            let from = &wide.params;
            let sweep = Strategy::Forced(self.sweeps.draw);
            round_stochastically::<P::Params>(context, from, params, seed, call, sweep)?;
        } else {
            convert::<Native<f32>, P::Params>(context, &wide.params, params, convert_by)?;
        }
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let mut report = self.inner.report()?;
        report.skipped_steps = self.skipped;
        if self.seen.count > 0 {
            report.non_finite_gradients = self.seen.count;
            report.first_non_finite = self.seen.first.and_then(|at| self.layout.locate(at));
        }
        Ok(report)
    }

    fn steps(&self) -> u64 {
        self.inner.steps()
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        let own = Numerics::from(self.numerics.precision);
        keeper.settings("numerics", &self.numerics, &own)?;
        keeper.record("calls", &mut self.calls)?;
        keeper.record("skipped", &mut self.skipped)?;
        let mut seen = (self.seen.count, self.seen.first);
        keeper.record("non_finite", &mut seen)?;
        (self.seen.count, self.seen.first) = seen;
        if let Some(scale) = &mut self.scale {
            keeper.record("loss_scale", &mut scale.current)?;
            keeper.record("steady_steps", &mut scale.steady)?;
        }
        if let Some(wide) = &mut self.wide
            && self.numerics.weights == WeightRounding::Master
        {
            // There are none before the first step.
            let filled = keeper
                .value("masters", &wide.filled)?
                .unwrap_or(wide.filled);
            if filled {
                keeper.arena(&self.context, "master", &mut wide.params)?;
            }
            if keeper.loads() {
                wide.filled = filled;
            }
        }
        self.inner.keep(keeper)
    }

    fn pending(&self) -> u64 {
        self.inner.pending()
    }

    fn gradients_per_step(&self) -> u64 {
        self.inner.gradients_per_step()
    }

    fn averages(&self) -> Result<Option<Arena>, Error> {
        let averages = self.inner.averages()?;
        let narrow = averages.map(|it| rounded::<P>(&self.context, &it));
        narrow.transpose()
    }

    fn loss_scale(&self) -> f64 {
        self.scale.as_ref().map_or(1.0, |scale| scale.current)
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let masters = self.numerics.weights == WeightRounding::Master;
        self.inner.state_bytes_per_parameter() + if masters { 4.0 } else { 0.0 }
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        let wide = match (&self.wide, self.numerics.weights) {
            (None, _) => 0.0,
            (Some(_), WeightRounding::Master) => 4.0,
            (Some(_), _) => 8.0,
        };
        self.inner.scratch_bytes_per_parameter() + wide
    }

    fn parts(&self) -> Vec<(&'static str, Duration)> {
        self.inner.parts()
    }

    fn assignments(&self) -> Vec<String> {
        self.inner.assignments()
    }
}
