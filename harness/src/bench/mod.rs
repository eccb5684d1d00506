//! How fast a device is: the ceiling of what it can do, the kernels beside that ceiling, steps of the optimizers beside Adam's,
//! and whole steps of training. Nothing is timed before it was held to its oracle.

mod ceiling;
mod error;
mod kernels;
mod noise;
mod proof;
mod request;
mod roots;
mod steps;
mod stopwatch;

pub use ceiling::Ceiling;
pub use error::BenchError;
pub use kernels::{Subject, Timer, kernels};
pub use request::Request;
use request::{OPTIMIZER_STEP, TRAINING_STEP};
pub use roots::{RootTime, roots};
pub use steps::{Model, StepTime, TrainingTime, optimizers, prove, training};
pub use stopwatch::{Effort, Seconds, Stopwatch, Work};

use std::rc::Rc;

use cubecl::Runtime;
use serde::{Deserialize, Serialize};
use sonew_optimizers::{Context, PrecisionKind};

use crate::table::{Column, Table};

/// A kernel's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// Of what.
    #[serde(flatten)]
    pub subject: Subject,
    /// Of one launch.
    pub seconds: Seconds,
}

/// Times kernels and says which.
struct Times<'a> {
    effort: Effort,
    times: Vec<KernelTime>,
    tell: &'a mut dyn FnMut(&str),
}

impl<R: Runtime> Timer<R> for Times<'_> {
    fn time(&mut self, subject: Subject, work: Work<'_, R>) -> Result<(), BenchError> {
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
    /// Inverse roots.
    pub roots: Vec<RootTime>,
    /// Steps of optimizers.
    pub optimizers: Vec<StepTime>,
    /// Steps of training.
    pub training: Vec<TrainingTime>,
}

impl Bench {
    /// Measures what was asked for: all of it, or one kernel. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] for what computes something else than its oracle, and whatever launches refuse or report.
    pub fn measure<R: Runtime>(
        context: &Rc<Context<R>>,
        request: &Request,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, BenchError> {
        let effort = request.effort;
        tell("copy, product");
        let largest = request.sizes.iter().map(|lengths| lengths.iter().sum());
        let largest: usize = largest.max().unwrap_or(1 << 20);
        let ceiling = Ceiling::measure(context, largest, effort)?;
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
            roots: Vec::new(),
            optimizers: Vec::new(),
            training: Vec::new(),
        };
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
        Ok(bench)
    }

    /// What was measured, in words and tables.
    pub fn text(&self, of: impl Fn(&Table) -> String) -> String {
        let Ceiling {
            copied_per_second,
            operations_per_second,
        } = self.ceiling;
        let mut text = format!(
            "copy {:.2} GB/s (read and written), f32 product {:.1} GFLOP/s\n",
            copied_per_second / 1e9,
            operations_per_second / 1e9
        );
        let parts = [
            ("kernels", self.kernel_table()),
            ("inverse roots, p = 4", self.root_table()),
            (
                "optimizer steps on the autoencoder's parameters",
                self.optimizer_table(),
            ),
            ("training steps on a thousand images", self.training_table()),
        ];
        for (name, table) in parts {
            if !table.rows.is_empty() {
                text += &format!("\n{name}\n\n{}", of(&table));
            }
        }
        text
    }

    fn kernel_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("kernel"),
            Column::left("variant"),
            Column::left("precision"),
            Column::right("values"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("GB/s"),
            Column::right("of copy"),
        ]);
        for KernelTime { subject, seconds } in &self.kernels {
            let speed = subject.bytes as f64 / seconds.median;
            table.push(vec![
                subject.kernel.clone(),
                subject.case.clone(),
                subject.precision.to_string(),
                subject.values.to_string(),
                milliseconds(seconds.median),
                milliseconds(seconds.least),
                format!("{:.2}", speed / 1e9),
                percent(speed / self.ceiling.copied_per_second),
            ]);
        }
        table
    }

    fn root_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("method"),
            Column::right("matrices"),
            Column::right("n"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("GFLOP/s"),
            Column::right("of product"),
        ]);
        for time in &self.roots {
            let speed = time.operations.map(|count| count / time.seconds.median);
            table.push(vec![
                time.method.clone(),
                time.matrices.to_string(),
                time.n.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                speed.map_or("–".into(), |speed| format!("{:.1}", speed / 1e9)),
                speed.map_or("–".into(), |speed| {
                    percent(speed / self.ceiling.operations_per_second)
                }),
            ]);
        }
        table
    }

    fn optimizer_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("optimizer"),
            Column::left("precision"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("times Adam"),
            Column::right("bytes/parameter"),
            Column::right("of copy"),
        ]);
        for time in &self.optimizers {
            let bytes = time.parameters as f64 * time.bytes_per_parameter;
            let speed = bytes / time.seconds.median;
            table.push(vec![
                time.optimizer.clone(),
                time.precision.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                format!("{:.2}", time.times_adam),
                format!("{:.0}", time.bytes_per_parameter),
                percent(speed / self.ceiling.copied_per_second),
            ]);
        }
        table
    }

    fn training_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("step"),
            Column::left("precision"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("over Adam's"),
        ]);
        let adam = |precision: PrecisionKind| {
            let of = |time: &&TrainingTime| {
                time.precision == precision && time.optimizer.as_deref() == Some("adam")
            };
            self.training
                .iter()
                .find(of)
                .map(|time| time.seconds.median)
        };
        for time in &self.training {
            let over = match (&time.optimizer, adam(time.precision)) {
                (Some(_), Some(adam)) => percent(time.seconds.median / adam - 1.0),
                _ => String::new(),
            };
            table.push(vec![
                time.optimizer
                    .clone()
                    .unwrap_or("forward and backward only".into()),
                time.precision.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                over,
            ]);
        }
        table
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", 1e3 * seconds)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
