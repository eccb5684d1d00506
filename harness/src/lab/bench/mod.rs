//! How fast a device is: the ceiling of what it can do, the kernels beside that ceiling, steps of the optimizers beside Adam's,
//! and whole steps of training. Nothing is timed before it was held to its oracle.

mod ceiling;
mod error;
mod first_step;
mod first_use;
mod kernels;
mod noise;
mod products;
mod proof;
mod request;
mod roots;
mod scaling;
mod steps;
mod stopwatch;
pub(crate) mod tables;
mod windows;

pub use ceiling::{Ceiling, Copied};
pub use error::BenchError;
pub use first_step::{FirstStep, first_step, first_steps};
pub use first_use::{FirstUse, first_uses};
pub use kernels::{Subject, Timer, kernels};
use products::PRODUCT;
pub use products::{ProductSubject, ProductTime, ProductTimer, each_product, products, tile};
pub use request::{FIRST_STEP, FIRST_USE};
use request::{OPTIMIZER_STEP, SCALING, TRAINING_STEP};
pub use request::{Request, autoencoder, names};
pub use roots::{RootTime, roots};
pub use scaling::{Point, Scaling, scaling};
pub use steps::{Model, Part, StepTime, TrainingTime, optimizers, prove, training};
pub use stopwatch::{Effort, Seconds, Stopwatch, Work};

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_optimizers::Context;

/// A kernel's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// Of what.
    #[serde(flatten)]
    pub subject: Subject,
    /// Of one launch.
    pub seconds: Seconds,
}

/// Keeps the time of the last kernel.
pub struct Last {
    effort: Effort,
    seconds: Option<Seconds>,
}

impl Last {
    /// Nothing yet.
    pub fn new(effort: Effort) -> Self {
        Self {
            effort,
            seconds: None,
        }
    }

    /// Of the last kernel; there is one.
    ///
    /// # Errors
    /// [`BenchError::Unproven`] if there is none.
    pub fn seconds(self, kernel: &'static str) -> Result<Seconds, BenchError> {
        self.seconds.ok_or_else(|| BenchError::Unproven {
            kernel,
            case: String::new(),
        })
    }
}

impl Timer for Last {
    fn time(&mut self, _: Subject, work: Work<'_>) -> Result<(), BenchError> {
        self.seconds = Some(Stopwatch::new(work, self.effort)?.run(self.effort)?);
        Ok(())
    }
}

/// Times kernels and says which.
struct Times<'a> {
    effort: Effort,
    times: Vec<KernelTime>,
    tell: &'a mut dyn FnMut(&str),
}

impl Timer for Times<'_> {
    fn time(&mut self, subject: Subject, work: Work<'_>) -> Result<(), BenchError> {
        let Subject {
            kernel,
            case,
            precision,
            values,
            ..
        } = &subject;
        (self.tell)(&format!("{kernel} {case}, {precision}, {values} values"));
        let seconds = Stopwatch::new(work, self.effort)?.run(self.effort)?;
        self.times.push(KernelTime { subject, seconds });
        Ok(())
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// What the device can do at most.
    pub ceiling: Ceiling,
    /// Kernels over the arena.
    pub kernels: Vec<KernelTime>,
    /// Matrix products of the autoencoder.
    #[serde(default)]
    pub products: Vec<ProductTime>,
    /// Inverse roots.
    pub roots: Vec<RootTime>,
    /// Steps of optimizers.
    pub optimizers: Vec<StepTime>,
    /// Steps of training.
    pub training: Vec<TrainingTime>,
    /// First steps of optimizers.
    pub first_uses: Vec<FirstUse>,
    /// First steps of training in processes of their own, which the program that measures adds.
    #[serde(default)]
    pub first_steps: Vec<FirstStep>,
    /// How a step of SONew grows, where that was asked for.
    pub scaling: Option<Scaling>,
    /// Whether the time was up in the end, so that something may not have been begun.
    pub out_of_time: bool,
}

impl Bench {
    /// Measures what was asked for: all of it, or one kernel. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] for what computes something else than its oracle, and whatever launches refuse or report.
    pub fn measure(
        context: &Rc<Context>,
        request: &Request,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, BenchError> {
        let effort = request.effort;
        // Before anything else is compiled.
        let mut first_uses_found = Vec::new();
        if request.asks(FIRST_USE) {
            for &precision in &request.precisions {
                first_uses_found.extend(first_uses(context, precision, tell)?);
            }
        }
        tell("copy, product");
        let sizes = request.sizes.iter().map(|lengths| lengths.iter().sum());
        let ceiling = Ceiling::measure(context, &sizes.collect::<Vec<_>>(), effort)?;
        let mut timer = Times {
            effort,
            times: Vec::new(),
            tell,
        };
        kernels(context, request, &mut timer)?;
        let Times { times, tell, .. } = timer;
        let mut bench = Self {
            ceiling,
            kernels: times,
            products: Vec::new(),
            roots: Vec::new(),
            optimizers: Vec::new(),
            training: Vec::new(),
            first_uses: first_uses_found,
            first_steps: Vec::new(),
            scaling: None,
            out_of_time: false,
        };
        if request.asks(PRODUCT) {
            bench.products = products(context, effort, tell)?;
        }
        if request.asks("inverse-root") {
            bench.roots = roots(context, effort, tell)?;
        }
        for &precision in &request.precisions {
            if request.asks(OPTIMIZER_STEP) {
                let steps = optimizers(context, precision, effort, tell)?;
                bench.optimizers.extend(steps);
            }
            if request.asks(TRAINING_STEP) {
                let steps = training(context, precision, effort, tell)?;
                bench.training.extend(steps);
            }
        }
        let grows = !request.kernels.is_empty() || effort == Effort::FULL;
        if grows && request.asks(SCALING) {
            bench.scaling = Some(scaling(context, effort, tell)?);
        }
        bench.out_of_time = request.is_late();
        Ok(bench)
    }
}
