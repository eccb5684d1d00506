//! The steps and epochs of one run.

use std::rc::Rc;
use std::time::{Duration, Instant};

use sonew_optimizers::{Arena, Context, NonFinite, Optimizer};
use sonew_runtime::save_kernels;

use super::order::BatchOrder;
use super::plan::Plan;
use super::progress::Progress;
use super::record::{EpochRecord, RunFolder, StepRecord};
use super::start::Start;
use super::summary::RunSummary;
use super::{TrainError, init};
use crate::process::interrupt::Interrupt;
use crate::workloads::{Objective, Workload};

/// Steps after which losses are fetched where that takes a wait.
const TOLD_TOGETHER: usize = 64;
/// Of so many steps one is timed where that takes a wait.
const TIMED_APART: usize = 16;

/// Time spent in the parts of an epoch's steps that were timed.
#[derive(Default)]
struct Split {
    network: Duration,
    optimizer: Duration,
    timed: usize,
}

impl Split {
    /// Seconds that so many steps take in the network and in the optimizer, by those that were timed.
    fn of_steps(&self, steps: usize) -> [f64; 2] {
        let each = steps as f64 / self.timed.max(1) as f64;
        [self.network, self.optimizer].map(|it| it.as_secs_f64() * each)
    }
}

/// What is known of steps before their losses are.
#[derive(Default)]
struct Untold {
    /// Each step, and whether the optimizer took it, or gathered its gradient for a later one.
    steps: Vec<(usize, bool)>,
    /// Steps in a row without progress.
    idle: usize,
    /// Steps whose losses were told.
    told: usize,
}

/// A run that can begin: its states are allocated, and nothing is recorded yet.
pub struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) workload: &'a dyn Workload,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) order: BatchOrder,
    objective: Box<dyn Objective + 'a>,
    context: Rc<Context>,
    params: Arena,
}

impl<'a> Run<'a> {
    /// Allocates what the run needs; `start` and `plan` belong together.
    ///
    /// # Errors
    /// [`TrainError`] with what the workload or the optimizer refuses.
    pub fn new(context: Rc<Context>, start: &'a Start, plan: &'a Plan) -> Result<Self, TrainError> {
        let workload = &*start.workload;
        let precision = plan.numerics.precision;
        let objective = workload.objective(&context, precision, plan.batch, plan.products)?;
        let layout = workload.layout();
        let optimizer = plan.recipe.build(plan.numerics, context.clone(), layout)?;
        let drawn;
        let first = match &start.given {
            Some(given) => given,
            None => {
                drawn = init::draw(workload.tensors(), plan.seed);
                &drawn
            }
        };
        let params = Arena::of(&context, layout, precision.format(), first)?;
        Ok(Self {
            plan,
            workload,
            optimizer,
            order: start.order.clone(),
            objective,
            params,
            context,
        })
    }

    /// How the optimizer treats each tensor, a line each; none if it treats all alike.
    pub(super) fn tensors(&self) -> Vec<String> {
        let tensors = self.workload.tensors();
        let assignments = self.optimizer.assignments();
        let lines = assignments.iter().zip(tensors);
        lines
            .map(|(assignment, tensor)| format!("{} {:?}: {assignment}", tensor.name, tensor.shape))
            .collect()
    }

    /// The name of a tensor in messages.
    fn tensor_name(&self, tensor: usize) -> &str {
        let tensor = self.workload.tensors().get(tensor);
        tensor.map_or("no tensor", |it| &it.name)
    }

    /// Takes all steps, recording each epoch in `folder` and `summary`. Says whether it was interrupted before the last.
    pub(super) fn epochs(
        &mut self,
        folder: &mut RunFolder,
        summary: &mut RunSummary,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> Result<bool, TrainError> {
        let steps_per_epoch = self.order.steps_per_epoch();
        let total = self.plan.total_steps(steps_per_epoch);
        let (mut spent, mut evaluating, mut optimizer, mut done) = (0.0, 0.0, 0.0, 0);
        let mut untold = Untold::default();
        for epoch in 0..self.plan.epochs {
            let begin = epoch * steps_per_epoch;
            let end = total.min(begin + steps_per_epoch);
            if begin >= end {
                break;
            }
            let started = Instant::now();
            let parts_before = self.optimizer.parts();
            let mut split = Split::default();
            let indices = self.order.batches(begin..end)?;
            self.objective.set_order(&self.context, indices)?;
            for step in begin..end {
                if interrupt.requested() {
                    self.tell(&mut untold, folder, progress)?;
                    return Ok(true);
                }
                let before = self.progress();
                let number = step - begin;
                let at_once = self.objective.tells_at_once();
                let timed = at_once || number % TIMED_APART == (end - begin - 1).min(1);
                let outcome = self.step(step, number, timed.then_some(&mut split));
                if outcome.is_ok() {
                    done += 1;
                    let taken = self.progress() > before;
                    untold.steps.push((step, taken));
                }
                let many = untold.steps.len() >= TOLD_TOGETHER;
                if at_once || many || step + 1 == end || outcome.is_err() {
                    self.tell(&mut untold, folder, progress)?;
                }
                outcome?;
            }
            self.context.wait("the steps of an epoch")?;
            let seconds = started.elapsed().as_secs_f64();
            spent += seconds;
            let steps = done - begin;
            let [of_network, of_optimizer] = split.of_steps(steps);
            optimizer += of_optimizer;
            let started = Instant::now();
            let mut loss_of = |weights| self.objective.evaluate(&self.context, weights);
            let averages = self.optimizer.averages()?;
            let weights_loss = averages
                .as_ref()
                .map(|_| loss_of(&self.params))
                .transpose()?;
            let loss = loss_of(averages.as_ref().unwrap_or(&self.params))?;
            let evaluation = started.elapsed().as_secs_f64();
            evaluating += evaluation;
            let parts = self.optimizer.parts();
            // Before what may fail: a loss that was found is not lost.
            summary.losses.push(loss);
            summary.seconds_per_epoch = spent / (epoch + 1) as f64;
            summary.seconds_per_evaluation = evaluating / (epoch + 1) as f64;
            summary.optimizer_ms_per_step = 1e3 * optimizer / done as f64;
            summary.optimizer_parts = parts
                .iter()
                .map(|(part, spent)| {
                    let mean = 1e3 * spent.as_secs_f64() / done as f64;
                    ((*part).to_owned(), mean)
                })
                .collect();
            folder.keep(summary)?;
            let report = self.optimizer.report()?;
            let record = EpochRecord {
                epoch,
                steps: done,
                loss,
                weights_loss,
                lr: self.lr(end - 1),
                seconds: seconds + evaluation,
                forward_backward_seconds: of_network,
                optimizer_seconds: of_optimizer,
                evaluation_seconds: evaluation,
                images_per_second: (steps * self.plan.batch) as f64 / seconds,
                pivots_cut: report.pivots_cut,
                pivots_out_of_range: report.pivots_out_of_range,
                skipped_steps: report.skipped_steps,
                loss_scale: self.optimizer.loss_scale(),
                roots_refused: report.roots.map(|roots| roots.refused),
                optimizer_parts: parts
                    .iter()
                    .zip(&parts_before)
                    .map(|((part, after), (_, before))| {
                        ((*part).to_owned(), (*after - *before).as_secs_f64())
                    })
                    .collect(),
            };
            folder.log(&record)?;
            // A run may be killed later.
            save_kernels();
            progress.epoch(&describe(
                &self.plan.label,
                &record,
                self.workload.examples().many,
            ));
        }
        match summary.losses.last() {
            Some(&loss) if !loss.is_finite() => Err(TrainError::NoLoss {
                epoch: summary.losses.len() - 1,
                loss,
                cause: self.cause(),
                advice: self.advice(),
            }),
            _ => Ok(false),
        }
    }

    /// Steps of the optimizer, and gradients that are gathered for the next.
    fn progress(&self) -> (u64, u64) {
        (self.optimizer.steps(), self.optimizer.pending())
    }

    /// One step, the `number`-th of the order; timed where there is something to add the time to.
    fn step(
        &mut self,
        step: usize,
        number: usize,
        split: Option<&mut Split>,
    ) -> Result<(), TrainError> {
        // Waits are for the split of time only.
        let timed = split.is_some();
        if timed {
            self.context.wait("the steps before")?;
        }
        let started = Instant::now();
        let scale = self.optimizer.loss_scale();
        let (context, params) = (&self.context, &self.params);
        let grads = self.objective.gradients(context, params, number, scale)?;
        if timed {
            self.context.wait("gradients")?;
        }
        let of_network = started.elapsed();
        let started = Instant::now();
        let lr = self.lr(step);
        let taken = self.optimizer.step(&self.params, &grads, lr);
        if let Err(sonew_optimizers::Error::NonFinite { tensor, index, .. }) = &taken {
            return Err(TrainError::NonFinite {
                step,
                tensor: self.tensor_name(*tensor).to_owned(),
                index: *index,
            });
        }
        taken?;
        if let Some(split) = split {
            self.context.wait("optimizer step")?;
            split.network += of_network;
            split.optimizer += started.elapsed();
            split.timed += 1;
        }
        Ok(())
    }

    /// Fetches the losses of the steps that were taken since the last time, records them, and stops at the first that says that there
    /// is no progress.
    fn tell(
        &mut self,
        untold: &mut Untold,
        folder: &mut RunFolder,
        progress: &mut Progress,
    ) -> Result<(), TrainError> {
        let losses = self.objective.losses(&self.context)?;
        for ((step, taken), loss) in std::mem::take(&mut untold.steps).into_iter().zip(losses) {
            untold.told += 1;
            progress.step(untold.told, Some(loss as f32), self.plan.batch);
            if self.plan.log_steps {
                folder.log(&StepRecord { step, loss })?;
            }
            // Where steps are skipped, the weights are still good, and the next batch may be.
            let progressed = loss.is_finite() && taken;
            untold.idle = if progressed { 0 } else { untold.idle + 1 };
            if untold.idle > self.patience() {
                return Err(TrainError::Diverged {
                    step,
                    loss,
                    cause: self.cause(),
                    advice: self.advice(),
                });
            }
        }
        Ok(())
    }

    /// Steps in a row that may be skipped, or whose loss may be NaN or infinite: enough for a loss scale to come down from
    /// the largest number of f32 to the least.
    fn patience(&self) -> usize {
        let numerics = &self.plan.numerics;
        match numerics.non_finite {
            NonFinite::Proceed => 0,
            NonFinite::Stop if numerics.loss_scale.is_none() => 0,
            NonFinite::Skip | NonFinite::Stop => 256,
        }
    }

    fn lr(&self, step: usize) -> f64 {
        self.plan.schedule.lr_at(
            step,
            self.order.steps_per_epoch(),
            self.plan.epochs,
            self.plan.lr,
        )
    }

    /// The options that may help. An ε on every diagonal helps, where the optimizer has one and uses it. Weights that lose
    /// more than themselves in a step change sign, and grow once they lose more than twice that.
    fn advice(&self) -> &'static str {
        let settings = self.plan.recipe.optimizer.settings();
        let has = |key| settings.iter().find(|setting| setting.key == key);
        let number = |key| has(key).and_then(|it| it.value.parse::<f64>().ok());
        let decays = self.plan.lr * number("weight-decay").unwrap_or(0.0);
        let replaced = has("relative-epsilon").is_some_and(|it| it.value.parse() != Ok(0.0));
        if decays > 1.0 {
            "a smaller --lr or --set weight-decay, whose product is more than 1"
        } else if replaced {
            "a smaller --lr or a larger --set relative-epsilon"
        } else if has("epsilon").is_some() {
            "a smaller --lr or a larger --set epsilon"
        } else {
            "a smaller --lr"
        }
    }

    /// Why there is no progress, as far as the optimizer's last step tells.
    fn cause(&self) -> String {
        let report = match self.optimizer.report() {
            Ok(report) => report,
            Err(error) => return error.to_string(),
        };
        match report.first_non_finite {
            Some((tensor, at)) => format!(
                "{} gradients are not finite, first in {} at {at}",
                report.non_finite_gradients,
                self.tensor_name(tensor)
            ),
            None => "the gradients are finite, so the weights grew too large".into(),
        }
    }
}

fn describe(label: &str, record: &EpochRecord, examples: &str) -> String {
    let mut seen = match record.pivots_cut {
        Some(cut) if cut > 0 => format!(", {cut} pivots cut"),
        _ => String::new(),
    };
    if let Some(lost) = record.pivots_out_of_range.filter(|&lost| lost > 0) {
        seen += &format!(", {lost} pivots out of range");
    }
    if let Some(loss) = record.weights_loss {
        seen += &format!(", loss {loss:.3} of the weights that are averaged");
    }
    if record.skipped_steps > 0 {
        seen += &format!(
            ", {} steps skipped so far, loss scale {}",
            record.skipped_steps, record.loss_scale
        );
    }
    if let Some(refused) = record.roots_refused.filter(|&refused| refused > 0) {
        seen += &format!(", {refused} roots refused so far");
    }
    format!(
        "{label} epoch {}: loss {:.3} at lr {:.3e}, {:.1} s (forward and backward {:.1}, optimizer {:.1}) + {:.1} s evaluation, {:.0} {examples}/s{seen}",
        record.epoch,
        record.loss,
        record.lr,
        record.seconds - record.evaluation_seconds,
        record.forward_backward_seconds,
        record.optimizer_seconds,
        record.evaluation_seconds,
        record.images_per_second
    )
}
