//! Shampoo as the SONew paper's benchmark ran it. A step is, in this order: statistics, roots if they are due,
//! direction, graft and momenta, descent.
//!
//! On a CPU adapter statistics, roots and directions are computed in host memory, so a step waits for the gradient;
//! elsewhere all are launches, and a step waits for nothing unless it is told to take its roots on the host. Graft,
//! momenta and descent are kernels. The number of launches does not depend on the number of tensors.
//!
//! A root that is not accepted leaves the old one in its place and is counted. Only more failures of one factor in a row
//! than are tolerated are an error: of the step if roots are computed on the host, else of the next report.

mod factors;
mod roots;

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cubecl::server::Handle;
use sonew_kernels::arena::{self, Arena, Segments, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::kronecker::{
    self, Assignment, Blocking, DescentBuffers, DescentRates, MeasureBuffers,
};
use sonew_kernels::precision::{HostFormat, Precision, Storage};
use sonew_kernels::sonew::{Graft, Reduction, norm_per_tensor};
use sonew_kernels::sweep::{Strategy, Sweep};

use crate::{Error, FactorFormat, Optimizer, ProductsPlace, ShampooConfig, StepReport};
use factors::Factors;
use roots::Roots;

pub(crate) struct Shampoo<P> {
    config: ShampooConfig,
    context: Rc<Context>,
    segments: Segments,
    blocking: Blocking,
    factors: Factors,
    roots: Roots,
    device: Device,
    sweep: Sweep,
    reduction: Reduction,
    spent: Spent,
    step: u64,
    precision: PhantomData<P>,
}

/// States and scratch on the device.
struct Device {
    second: Option<Arena>,
    momentum: Arena,
    graft_momentum: Arena,
    tensor_of_block: Handle,
    /// For each tensor 0, and whether it is preconditioned.
    nothing: Handle,
    preconditioned: Handle,
    block_norms: Handle,
    tensor_norms: Handle,
    block_partials: Handle,
    grad_norms: Handle,
    non_finite: Slots,
}

/// Host time spent in the parts of a step.
#[derive(Default)]
struct Spent {
    statistics: Duration,
    roots: Duration,
    application: Duration,
}

impl<P: Precision> Shampoo<P> {
    pub(crate) fn new(
        config: ShampooConfig,
        context: Rc<Context>,
        segments: &Segments,
    ) -> Result<Self, Error> {
        let order = (config.exponent > 0).then_some(config.exponent);
        let blocking = Blocking::new(segments, config.limits(), order, config.vectors)?;
        let factors = 4 * blocking.factor_values() as u64;
        context.require_buffer("building Shampoo", "the factors of all tensors", factors)?;
        let sweep = Sweep::measuring::<P>(&context, "kronecker-descent");
        let arena = || Arena::zeros(&context, segments, P::State::FORMAT);
        let values = |count: usize| context.upload(&vec![0f32; count]);
        let tensors = segments.tensors().len();
        let flags: Vec<u32> = blocking
            .assignments()
            .iter()
            .map(|a| u32::from(!matches!(a, Assignment::Graft { .. })))
            .collect();
        let second = matches!(config.graft, Graft::Adam | Graft::RmsProp);
        let device = Device {
            second: second.then(arena),
            momentum: arena(),
            graft_momentum: arena(),
            tensor_of_block: context.upload(&segments.tensor_of_block()),
            nothing: context.upload(&vec![0u32; tensors]),
            preconditioned: context.upload(&flags),
            block_norms: values(sweep.norms(segments)),
            tensor_norms: values(2 * tensors),
            block_partials: values(segments.blocks() - 2),
            grad_norms: values(tensors),
            non_finite: Slots::of(&context, segments, sweep),
        };
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
        let on_host = match config.products {
            ProductsPlace::Auto => {
                context.profile().host_memory || config.factors == FactorFormat::Bf16
            }
            ProductsPlace::Host => true,
            ProductsPlace::Device => false,
        };
        let mut start = diagonal(config.epsilon);
        config.factors.round(&mut start);
        let identity = diagonal(1.0);
        let place = if start.is_empty() {
            Factors::none::<P>(&context, segments)
        } else if on_host {
            Factors::on_host(segments, &blocking, start.clone(), config.factors)
        } else {
            Factors::on_device::<P>(&context, segments, &blocking, &start, &identity)?
        };
        let roots = Roots::new(&context, &config, &blocking, &place, &start, identity)?;
        Ok(Self {
            reduction: Reduction::new(&context, segments),
            segments: segments.clone(),
            config,
            context,
            blocking,
            factors: place,
            roots,
            device,
            sweep,
            spent: Spent::default(),
            step: 0,
            precision: PhantomData,
        })
    }

    /// Refuses what a launch would refuse, before any state has moved.
    fn check(&self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let operation = "shampoo";
        let arenas = [("params", params), ("grads", grads)];
        arena::require::<P::Params>(operation, &self.segments, arenas)?;
        if lr >= 0.0 && (lr as f32).is_finite() {
            return Ok(());
        }
        Err(Error::Kernel(KernelError::Range {
            operation,
            argument: "lr",
            found: lr,
            expected: "≥ 0 and finite in f32",
        }))
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
        let device = &self.device;
        let norms = config.graft == Graft::RmsProp;
        if norms {
            norm_per_tensor::<P>(
                &self.context,
                &self.reduction,
                grads,
                &device.block_partials,
                &device.grad_norms,
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
        let grad_norms = norms.then_some(&device.grad_norms);
        kronecker::measure::<P>(
            &self.context,
            MeasureBuffers {
                grads,
                direction,
                second: device.second.as_ref(),
                grad_norms,
                norms: &device.block_norms,
                tensor_of_block: &device.tensor_of_block,
                evidence: &device.non_finite,
            },
            config.graft,
            rates,
            Strategy::Forced(self.sweep),
        )?;
        self.reduction.pairs_of_norms(
            &self.context,
            &device.block_norms,
            self.sweep,
            &device.tensor_norms,
        )?;
        let started = self.step >= config.start_step;
        kronecker::descend::<P>(
            &self.context,
            DescentBuffers {
                params,
                grads,
                direction,
                second: device.second.as_ref(),
                grad_norms,
                norms: &device.tensor_norms,
                tensor_of_block: &device.tensor_of_block,
                preconditioned: if started {
                    &device.preconditioned
                } else {
                    &device.nothing
                },
                momentum: &device.momentum,
                graft_momentum: &device.graft_momentum,
            },
            config.graft,
            config.nesterov,
            rates,
            Strategy::Forced(self.sweep),
        )?;
        Ok(())
    }
}

impl<P: Precision> Optimizer for Shampoo<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let mut clock = Instant::now();
        let mut lap = |part: &mut Duration| {
            let now = Instant::now();
            *part += now - clock;
            clock = now;
        };
        self.check(params, grads, lr)?;
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
            &self.segments,
            &self.blocking,
            self.roots.values(),
            grads,
            &values,
        )?;
        self.descend(params, grads, &direction, lr)?;
        lap(&mut self.spent.application);
        self.step += 1;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let seen = Evidence::read(&self.context, "shampoo report", &self.device.non_finite)?;
        let roots = self
            .roots
            .report(&self.context, &self.config, &self.blocking)?;
        Ok(StepReport {
            roots: Some(roots),
            ..StepReport::new(self.step, &self.segments, seen, None)
        })
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let moments = 2 + usize::from(self.device.second.is_some());
        let factors = 2 * self.config.factors.bytes() * self.blocking.factor_values();
        let parameters = self.segments.parameters() as f64;
        (P::State::BYTES * moments) as f64 + factors as f64 / parameters
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        // Host memory holds statistics and roots widened.
        let widened = 2 * (4 - self.config.factors.bytes()) * self.blocking.factor_values();
        let roots = (self.roots.scratch_bytes(&self.blocking) + widened) as f64;
        self.factors.arena_bytes::<P>() as f64 + roots / self.segments.parameters() as f64
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
