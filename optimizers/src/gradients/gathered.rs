//! An optimizer behind the mean of several gradients and behind clipping.

use std::rc::Rc;
use std::time::Duration;

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::gradients::{Clipping, accumulate, clip};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Format, HostFormat, Precision};

use super::Gradients;
use super::norm::GlobalNorm;
use crate::{Error, Keeper, Optimizer, StepReport};

pub(crate) struct Gathered {
    inner: Box<dyn Optimizer>,
    settings: Gradients,
    context: Rc<Context>,
    layout: Layout,
    /// That of parameters and gradients.
    format: Format,
    norm: Option<GlobalNorm>,
    /// The mean in the making, f32, where it is of more than one.
    mean: Option<Arena>,
    /// Gradients in it.
    gathered: u64,
    /// What the step takes, where that is neither the caller's gradient nor the mean.
    ready: Option<Arena>,
    sweeps: Sweeps,
}

#[derive(Clone, Copy)]
struct Sweeps {
    accumulate: Strategy<Sweep>,
    clip: Strategy<Sweep>,
}

impl Gathered {
    /// `inner` takes arenas of `P`. The norm leaves `frozen` tensors out.
    pub fn new<P: Precision>(
        inner: Box<dyn Optimizer>,
        settings: Gradients,
        context: Rc<Context>,
        layout: &Layout,
        frozen: &[usize],
    ) -> Self {
        let format = P::Params::FORMAT;
        let several = settings.accumulate > 1;
        let own = !several || format != Format::F32;
        let zeros = |format| Arena::zeros(&context, layout, format);
        let sweep = |kernel| Strategy::Forced(Sweep::plain::<P>(&context, kernel));
        Self {
            inner,
            settings,
            format,
            norm: settings
                .clip_norm
                .map(|most| GlobalNorm::new(&context, layout, most, frozen)),
            mean: several.then(|| zeros(Format::F32)),
            gathered: 0,
            ready: own.then(|| zeros(format)),
            sweeps: Sweeps {
                accumulate: sweep("accumulate"),
                clip: sweep("clip"),
            },
            layout: layout.clone(),
            context,
        }
    }

    /// Refuses now what the step refuses once gradients were gathered for it.
    fn check(&self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        for (argument, arena) in [("params", params), ("grads", grads)] {
            arena.require("step", argument, &self.layout, self.format)?;
        }
        if lr >= 0.0 && (lr as f32).is_finite() {
            return Ok(());
        }
        Err(Error::Kernel(KernelError::Range {
            operation: "step",
            argument: "lr",
            found: lr,
            expected: "≥ 0 and finite in f32",
        }))
    }

    /// The gradient that the step takes, of the one given or of the mean. The caller's stays as it is.
    fn clipped<'a>(&'a self, grads: &'a Arena) -> Result<&'a Arena, Error> {
        let source = self.mean.as_ref().unwrap_or(grads);
        let last = self.ready.as_ref().unwrap_or(source);
        let mut at = source;
        if self.settings.clip_value.is_some() {
            // A mean that is measured yet is rounded once, behind the norm.
            let measured = self.mean.as_ref().filter(|_| self.norm.is_some());
            let bound = self.settings.clip_value;
            at = self.pass(at, measured.unwrap_or(last), bound, false)?;
        }
        if self.norm.is_some() {
            at = self.pass(at, last, None, true)?;
        }
        if !std::ptr::eq(at, last) {
            at = self.pass(at, last, None, false)?;
        }
        Ok(at)
    }

    /// Clips from one arena to another, or in place where they are one.
    fn pass<'a>(
        &self,
        from: &Arena,
        to: &'a Arena,
        bound: Option<f64>,
        by_norm: bool,
    ) -> Result<&'a Arena, Error> {
        let context = &self.context;
        let global = match &self.norm {
            Some(norm) if by_norm => Some(norm.of(context, from)?),
            _ => None,
        };
        let from = (!std::ptr::eq(from, to)).then_some(from);
        let clipping = Clipping { bound, global };
        clip(context, from, to, clipping, self.sweeps.clip)?;
        Ok(to)
    }
}

impl Optimizer for Gathered {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        self.check(params, grads, lr)?;
        if let Some(mean) = &self.mean {
            let (of, first) = (self.settings.accumulate, self.gathered == 0);
            let sweep = self.sweeps.accumulate;
            accumulate(&self.context, grads, mean, of, first, sweep)?;
            self.gathered += 1;
            if self.gathered < of {
                return Ok(());
            }
            self.gathered = 0;
        }
        // A clone is the same memory.
        let ready = self.clipped(grads)?.clone();
        self.inner.step(params, &ready, lr)
    }

    fn report(&self) -> Result<StepReport, Error> {
        self.inner.report()
    }

    fn steps(&self) -> u64 {
        self.inner.steps()
    }

    fn pending(&self) -> u64 {
        self.gathered
    }

    fn gradients_per_step(&self) -> u64 {
        self.settings.accumulate
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        keeper.settings("gradients", &self.settings, &Gradients::default())?;
        keeper.record("gathered", &mut self.gathered)?;
        if let Some(mean) = &mut self.mean {
            keeper.arena(&self.context, "gathered_gradient", mean)?;
        }
        self.inner.keep(keeper)
    }

    fn loss_scale(&self) -> f64 {
        self.inner.loss_scale()
    }

    fn averages(&self) -> Result<Option<Arena>, Error> {
        self.inner.averages()
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let mean = self.mean.as_ref().map_or(0, |it| it.format().bytes());
        self.inner.state_bytes_per_parameter() + mean as f64
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        let ready = self.ready.as_ref().map_or(0, |it| it.format().bytes());
        self.inner.scratch_bytes_per_parameter() + ready as f64
    }

    fn parts(&self) -> Vec<(&'static str, Duration)> {
        self.inner.parts()
    }

    fn assignments(&self) -> Vec<String> {
        self.inner.assignments()
    }
}
