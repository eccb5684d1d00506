//! The steps and epochs of one run.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use sonew_optimizers::{Arena, Context, Optimizer};
use sonew_runtime::save_kernels;

use super::checkpoint::{Every, Shelf};
use super::order::BatchOrder;
use super::plan::Plan;
use super::position::Position;
use super::progress::Progress;
use super::record::{EpochRecord, RunFolder, StepRecord};
use super::start::Start;
use super::summary::RunSummary;
use super::{Resumption, TrainError, init};
use crate::process::interrupt::Interrupt;
use crate::process::words_of_this_process;
use crate::workloads::{Objective, Workload};

/// Steps after which losses are fetched where that takes a wait.
const TOLD_TOGETHER: usize = 64;
/// Of so many steps one is timed where that takes a wait.
const TIMED_APART: usize = 16;

/// Where a run writes what it finds.
pub(in crate::train) struct Desk<'a> {
    pub folder: &'a mut RunFolder,
    pub summary: &'a mut RunSummary,
    pub interrupt: &'a Interrupt,
    pub progress: &'a mut Progress,
}

/// A run that can begin: its states are allocated, and nothing is recorded yet.
pub struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) workload: &'a dyn Workload,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) order: BatchOrder,
    objective: Box<dyn Objective + 'a>,
    pub(super) context: Rc<Context>,
    pub(super) params: Arena,
    pub(super) position: Position,
    /// The command line, without the name of the program.
    pub command: Vec<String>,
    /// When the run was resumed.
    pub resumed: Vec<Resumption>,
    /// What came out so far.
    pub(super) summary: RunSummary,
    /// Steps whose losses are not known yet, and whether the optimizer took them, or gathered their gradient for a later one.
    untold: Vec<(usize, bool)>,
    /// What tells the data from others, once it was asked for.
    pub(super) data: OnceCell<String>,
    /// Whether the last loss that was measured was not a finite number.
    pub(super) is_lost: bool,
    /// When to write checkpoints, and where; none are written otherwise.
    pub checkpoints: Option<(Every, Shelf)>,
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
            position: Position::default(),
            command: words_of_this_process(),
            resumed: Vec::new(),
            summary: RunSummary::of_nothing(plan),
            untold: Vec::new(),
            data: OnceCell::new(),
            is_lost: false,
            checkpoints: None,
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
    pub(super) fn tensor_name(&self, tensor: usize) -> &str {
        let tensor = self.workload.tensors().get(tensor);
        tensor.map_or("no tensor", |it| &it.name)
    }

    /// Takes the steps that are left, recording each epoch. Says whether it was interrupted before the last.
    pub(super) fn epochs(&mut self, desk: &mut Desk<'_>) -> Result<bool, TrainError> {
        let steps_per_epoch = self.order.steps_per_epoch();
        let total = self.plan.total_steps(steps_per_epoch);
        while self.position.steps < total {
            let epoch = self.position.steps / steps_per_epoch;
            let begin = epoch * steps_per_epoch;
            let end = total.min(begin + steps_per_epoch);
            if self.steps_of_epoch(begin, end, desk)? {
                return Ok(true);
            }
            self.end_of_epoch(epoch, begin, desk)?;
            self.checkpoint_if_due(desk, end == total)?;
        }
        match desk.summary.losses.last() {
            Some(&loss) if !loss.is_finite() => Err(TrainError::NoLoss {
                epoch: desk.summary.losses.len() - 1,
                loss,
                cause: self.cause(),
                advice: self.advice(),
            }),
            _ => Ok(false),
        }
    }

    /// Takes the steps of an epoch that are left. Says whether it was interrupted.
    fn steps_of_epoch(
        &mut self,
        begin: usize,
        end: usize,
        desk: &mut Desk<'_>,
    ) -> Result<bool, TrainError> {
        let mut since = Instant::now();
        let indices = self.order.batches(begin..end)?;
        self.objective.set_order(&self.context, indices)?;
        for step in self.position.steps..end {
            if desk.interrupt.requested() {
                self.tell(desk)?;
                self.position.of_epoch += since.elapsed().as_secs_f64();
                self.checkpoint(desk)?;
                return Ok(true);
            }
            let before = self.progress();
            let number = step - begin;
            let at_once = self.objective.tells_at_once();
            let timed = at_once || number % TIMED_APART == (end - begin - 1).min(1);
            let outcome = self.step(step, number, timed);
            if outcome.is_ok() {
                self.position.steps += 1;
                let taken = self.progress() > before;
                self.untold.push((step, taken));
            }
            let many = self.untold.len() >= TOLD_TOGETHER;
            if at_once || many || step + 1 == end || outcome.is_err() {
                self.tell(desk)?;
            }
            outcome?;
            if step + 1 < end && self.is_checkpoint_due() {
                self.tell(desk)?;
                self.position.of_epoch += since.elapsed().as_secs_f64();
                self.checkpoint(desk)?;
                since = Instant::now();
            }
        }
        self.context.wait("the steps of an epoch")?;
        self.position.of_epoch += since.elapsed().as_secs_f64();
        Ok(false)
    }

    /// Measures the loss over all examples, and records the epoch.
    fn end_of_epoch(
        &mut self,
        epoch: usize,
        begin: usize,
        desk: &mut Desk<'_>,
    ) -> Result<(), TrainError> {
        let started = Instant::now();
        let mut loss_of = |weights| self.objective.evaluate(&self.context, weights);
        let averages = self.optimizer.averages()?;
        let weights_loss = averages
            .as_ref()
            .map(|_| loss_of(&self.params))
            .transpose()?;
        let loss = loss_of(averages.as_ref().unwrap_or(&self.params))?;
        self.is_lost = !weights_loss.unwrap_or(loss).is_finite();
        let evaluation = started.elapsed().as_secs_f64();
        let done = self.position.steps;
        let parts = self.parts();
        let position = &mut self.position;
        let seconds = std::mem::take(&mut position.of_epoch);
        let steps = done - begin;
        let [of_network, of_optimizer] = std::mem::take(&mut position.split).of_steps(steps);
        position.spent += seconds;
        position.optimizer += of_optimizer;
        position.evaluating += evaluation;
        // Before what may fail: a loss that was found is not lost.
        let summary = &mut *desk.summary;
        summary.losses.push(loss);
        summary.seconds_per_epoch = position.spent / (epoch + 1) as f64;
        summary.seconds_per_evaluation = position.evaluating / (epoch + 1) as f64;
        summary.optimizer_ms_per_step = 1e3 * position.optimizer / done as f64;
        let mean = |(part, spent): &(String, f64)| (part.clone(), 1e3 * spent / done as f64);
        summary.optimizer_parts = parts.iter().map(mean).collect();
        desk.folder.keep(summary)?;
        let before = std::mem::replace(&mut position.parts_before, parts.iter().cloned().collect());
        let report = self.optimizer.report()?;
        let record = EpochRecord {
            epoch,
            steps: done,
            loss,
            weights_loss,
            lr: self.lr(done - 1),
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
                .into_iter()
                .map(|(part, spent)| {
                    let before = before.get(&part).copied().unwrap_or(0.0);
                    (part, spent - before)
                })
                .collect(),
        };
        desk.folder.log(&record)?;
        // A run may be killed later.
        save_kernels();
        desk.progress.epoch(&describe(
            &self.plan.label,
            &record,
            self.workload.examples().many,
        ));
        Ok(())
    }

    /// Steps of the optimizer, and gradients that are gathered for the next.
    fn progress(&self) -> (u64, u64) {
        (self.optimizer.steps(), self.optimizer.pending())
    }

    /// Seconds of the optimizer's steps by part, those before the run was resumed included.
    pub(super) fn parts(&self) -> Vec<(String, f64)> {
        let own = self.optimizer.parts().into_iter();
        own.map(|(part, spent)| {
            let before = self.position.parts.get(part).copied().unwrap_or(0.0);
            (part.to_owned(), before + spent.as_secs_f64())
        })
        .collect()
    }

    /// One step, the `number`-th of the order.
    fn step(&mut self, step: usize, number: usize, timed: bool) -> Result<(), TrainError> {
        // Waits are for the split of time only.
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
        if timed {
            self.context.wait("optimizer step")?;
            self.position.split.add(of_network, started.elapsed());
        }
        Ok(())
    }

    /// Fetches the losses of the steps that were taken since the last time, records them, and stops at the first that says that there
    /// is no progress.
    fn tell(&mut self, desk: &mut Desk<'_>) -> Result<(), TrainError> {
        let losses = self.objective.losses(&self.context)?;
        for ((step, taken), loss) in std::mem::take(&mut self.untold).into_iter().zip(losses) {
            desk.progress
                .step(step + 1, Some(loss as f32), self.plan.batch);
            if self.plan.log_steps {
                desk.folder.log(&StepRecord { step, loss })?;
            }
            self.is_lost = !loss.is_finite();
            // Where steps are skipped, the weights are still good, and the next batch may be.
            let progressed = loss.is_finite() && taken;
            let idle = &mut self.position.idle;
            *idle = if progressed { 0 } else { *idle + 1 };
            if *idle > self.patience() {
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

    fn lr(&self, step: usize) -> f64 {
        self.plan.schedule.lr_at(
            step,
            self.order.steps_per_epoch(),
            self.plan.epochs,
            self.plan.lr,
        )
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
