//! An optimizer whose weights are averaged behind each step.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::first_order::average_weights;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Format, HostFormat, Native, Precision, convert};

use crate::{Error, Keeper, Optimizer, StepReport};

pub(crate) struct Averaged<P> {
    inner: Box<dyn Optimizer>,
    decay: f64,
    context: Rc<Context>,
    /// f32 in every precision.
    averages: Arena,
    /// Weights in them; the first are copied.
    averaged: u64,
    precision: PhantomData<P>,
}

impl<P: Precision> Averaged<P> {
    /// `inner` takes arenas of `P`.
    pub fn new(
        inner: Box<dyn Optimizer>,
        decay: f64,
        context: Rc<Context>,
        layout: &Layout,
    ) -> Self {
        Self {
            inner,
            decay,
            averages: Arena::zeros(&context, layout, Format::F32),
            averaged: 0,
            context,
            precision: PhantomData,
        }
    }
}

impl<P: Precision> Optimizer for Averaged<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        self.inner.step(params, grads, lr)?;
        let (averages, first) = (&self.averages, self.averaged == 0);
        let sweep = Strategy::Forced(Sweep::plain::<P>(&self.context, "average-weights"));
        average_weights(&self.context, params, averages, self.decay, first, sweep)?;
        self.averaged += 1;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        self.inner.report()
    }

    fn steps(&self) -> u64 {
        self.inner.steps()
    }

    fn pending(&self) -> u64 {
        self.inner.pending()
    }

    fn gradients_per_step(&self) -> u64 {
        self.inner.gradients_per_step()
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        keeper.settings("average", &self.decay, &())?;
        keeper.record("averaged", &mut self.averaged)?;
        keeper.arena(&self.context, "average", &mut self.averages)?;
        self.inner.keep(keeper)
    }

    fn loss_scale(&self) -> f64 {
        self.inner.loss_scale()
    }

    fn averages(&self) -> Result<Option<Arena>, Error> {
        if self.averaged == 0 {
            return Ok(None);
        }
        rounded::<P>(&self.context, &self.averages).map(Some)
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        self.inner.state_bytes_per_parameter() + 4.0
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        self.inner.scratch_bytes_per_parameter()
    }

    fn parts(&self) -> Vec<(&'static str, Duration)> {
        self.inner.parts()
    }

    fn assignments(&self) -> Vec<String> {
        self.inner.assignments()
    }
}

/// Averages in the format of the parameters: themselves, or in an arena of their own.
pub(crate) fn rounded<P: Precision>(context: &Context, averages: &Arena) -> Result<Arena, Error> {
    let format = P::Params::FORMAT;
    if averages.format() == format {
        return Ok(averages.clone());
    }
    let narrow = Arena::zeros(context, averages.layout(), format);
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, "convert"));
    convert::<Native<f32>, P::Params>(context, averages, &narrow, sweep)?;
    Ok(narrow)
}
