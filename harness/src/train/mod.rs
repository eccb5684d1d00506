//! One run: steps over shuffled batches, the loss on the full training set after each epoch, a record of both.

mod error;

use std::rc::Rc;
use std::time::{Duration, Instant};

use cubecl::Runtime;
use cubecl::server::Handle;
use serde::Serialize;
use sonew_optimizers::{Context, NonFinite, Optimizer};

use crate::data::Images;
use crate::init::Weights;
use crate::interrupt::Interrupt;
use crate::network::{Network, Route};
use crate::order::BatchOrder;
use crate::plan::Plan;
use crate::plot::{Curve, LossPlot, Scale};
use crate::progress::Progress;
use crate::record::{EpochRecord, RunFolder, RunStatus, StepRecord};
use crate::streams::note;
use crate::summary::RunSummary;

pub use error::TrainError;

/// Everything of `run.json` that is not asked for but found.
#[derive(Serialize)]
struct Config<'a> {
    command: Vec<String>,
    version: &'static str,
    cubecl: &'static str,
    device: &'a sonew_runtime::DeviceInfo,
    parameters: usize,
    images: usize,
    steps_per_epoch: usize,
    /// How the optimizer treats each tensor, if it tells them apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<String>,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// Time spent in the parts of an epoch.
#[derive(Default)]
struct Split {
    network: Duration,
    optimizer: Duration,
}

/// A run in progress.
struct Run<'a, R: Runtime> {
    context: Rc<Context<R>>,
    plan: &'a Plan,
    images: &'a Images,
    network: Network<R>,
    optimizer: Box<dyn Optimizer<R>>,
    params: Handle,
    order: BatchOrder,
    batch: Vec<f32>,
    interrupt: &'a Interrupt,
}

/// Trains as planned, writing the record to `folder`; a run that was interrupted is a shorter run, not an error.
///
/// # Errors
/// What does not fit, fails or diverges; the folder then says so too.
pub fn train<R: Runtime>(
    device: &sonew_runtime::DeviceInfo,
    context: Rc<Context<R>>,
    images: &Images,
    plan: &Plan,
    folder: &mut RunFolder,
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<RunSummary, TrainError> {
    let mut run = Run::new(context, images, plan, interrupt)?;
    let tensors = run.tensors();
    if plan.verbose {
        for line in &tensors {
            note(&format!("{}: {line}", plan.label));
        }
    }
    let steps_per_epoch = run.order.steps_per_epoch();
    folder.write_config(&Config {
        command: std::env::args().skip(1).collect(),
        version: env!("CARGO_PKG_VERSION"),
        cubecl: "0.10.0",
        device,
        parameters: run.network.segments().parameters(),
        images: images.count,
        steps_per_epoch,
        tensors,
        plan,
    })?;
    let mut summary = RunSummary {
        optimizer: plan.label.clone(),
        losses: Vec::new(),
        seconds_per_epoch: 0.0,
        optimizer_ms_per_step: 0.0,
        parameter_bytes: plan.numerics.precision.parameter_bytes() as f64,
        state_bytes_per_parameter: run.optimizer.state_bytes_per_parameter(),
        optimizer_parts: Vec::new(),
        note: String::new(),
    };
    let outcome = run.epochs(folder, &mut summary, quiet);
    let status = match &outcome {
        Err(error) => RunStatus::Failed(error.to_string()),
        Ok(()) if interrupt.requested() => RunStatus::Interrupted,
        Ok(()) => RunStatus::Finished,
    };
    if status == RunStatus::Interrupted {
        summary.note = "interrupted".into();
    }
    if !summary.losses.is_empty() {
        LossPlot {
            caption: "MNIST autoencoder".into(),
            curves: vec![Curve::of_losses(plan.label.clone(), &summary.losses)],
            scale: Scale::Log,
        }
        .write_to_folder(folder.path())?;
    }
    folder.finish(status, &summary)?;
    outcome.map(|()| summary)
}

impl<'a, R: Runtime> Run<'a, R> {
    fn new(
        context: Rc<Context<R>>,
        images: &'a Images,
        plan: &'a Plan,
        interrupt: &'a Interrupt,
    ) -> Result<Self, TrainError> {
        let pixels = images.pixels_per_image();
        if plan.sizes.first() != Some(&pixels) || plan.sizes.last() != Some(&pixels) {
            return Err(TrainError::Shape {
                argument: "--sizes",
                found: format!("{:?}", plan.sizes),
                expected: format!(
                    "a list that starts and ends with the {pixels} pixels of an image"
                ),
            });
        }
        let network = Network::new(
            &context,
            plan.numerics.precision,
            &plan.sizes,
            plan.batch,
            Route::Auto,
        )?;
        let mut order = match &plan.order {
            Some(path) => BatchOrder::load(
                path,
                images.count,
                plan.batch,
                plan.total_steps(images.count / plan.batch.max(1)),
            )?,
            None => BatchOrder::shuffled(images.count, plan.batch, plan.seed)?,
        };
        plan.schedule.covers(plan.epochs)?;
        order.batch(0)?;
        let weights = match &plan.init {
            Some(path) => Weights::load(path, &plan.sizes)?,
            None => Weights::glorot_uniform(&plan.sizes, plan.seed)?,
        };
        let tensors: Vec<&[f32]> = weights
            .layers
            .iter()
            .flat_map(|layer| [&layer.weight[..], &layer.bias[..]])
            .collect();
        let segments = network.segments();
        let params = plan.numerics.precision.encode(&segments.gather(&tensors)?);
        let params = context.upload(&params);
        let optimizer = plan
            .optimizer
            .build(plan.numerics, context.clone(), segments)?;
        Ok(Self {
            context,
            plan,
            images,
            network,
            optimizer,
            params,
            order,
            batch: vec![0.0; plan.batch * pixels],
            interrupt,
        })
    }

    /// How the optimizer treats each tensor, a line each; none if it treats all alike.
    fn tensors(&self) -> Vec<String> {
        let shapes = self.network.segments().shapes();
        let assignments = self.optimizer.assignments();
        let lines = assignments.iter().zip(shapes).enumerate();
        lines
            .map(|(tensor, (assignment, shape))| {
                format!("{} {shape:?}: {assignment}", tensor_name(tensor))
            })
            .collect()
    }

    fn epochs(
        &mut self,
        folder: &mut RunFolder,
        summary: &mut RunSummary,
        quiet: bool,
    ) -> Result<(), TrainError> {
        let steps_per_epoch = self.order.steps_per_epoch();
        let total = self.plan.total_steps(steps_per_epoch);
        let mut progress = Progress::start(total, quiet);
        let (mut spent, mut optimizer, mut done) = (0.0, 0.0, 0);
        let mut idle = 0;
        for epoch in 0..self.plan.epochs {
            let begin = epoch * steps_per_epoch;
            let end = total.min(begin + steps_per_epoch);
            if begin >= end || self.interrupt.requested() {
                break;
            }
            let started = Instant::now();
            let parts_before = self.optimizer.parts();
            let mut split = Split::default();
            for step in begin..end {
                if self.interrupt.requested() {
                    break;
                }
                let taken_before = self.optimizer.steps();
                let loss = self.step(step, &mut split)?;
                done += 1;
                progress.step(done, Some(loss as f32), self.plan.batch);
                if self.plan.log_steps {
                    folder.log(&StepRecord { step, loss })?;
                }
                // Where steps are skipped, the weights are still good, and the next batch may be.
                let progressed = loss.is_finite() && self.optimizer.steps() > taken_before;
                idle = if progressed { 0 } else { idle + 1 };
                if idle > self.patience() {
                    return Err(self.diverged(step, loss)?);
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            spent += seconds;
            optimizer += split.optimizer.as_secs_f64();
            let steps = done - begin;
            if self.interrupt.requested() && steps < end - begin {
                break;
            }
            let started = Instant::now();
            let loss = self
                .network
                .evaluate(&self.context, &self.params, self.images)?;
            let evaluation = started.elapsed().as_secs_f64();
            let report = self.optimizer.report()?;
            let parts = self.optimizer.parts();
            let record = EpochRecord {
                epoch,
                steps: done,
                loss,
                lr: self.lr(begin),
                seconds: seconds + evaluation,
                forward_backward_seconds: split.network.as_secs_f64(),
                optimizer_seconds: split.optimizer.as_secs_f64(),
                evaluation_seconds: evaluation,
                images_per_second: (steps * self.plan.batch) as f64 / seconds,
                pivots_cut: report.pivots_cut,
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
            progress.epoch(&describe(&self.plan.label, &record));
            summary.losses.push(loss);
            summary.seconds_per_epoch = spent / (epoch + 1) as f64;
            summary.optimizer_ms_per_step = 1e3 * optimizer / done as f64;
            summary.optimizer_parts = parts
                .iter()
                .map(|(part, spent)| {
                    let mean = 1e3 * spent.as_secs_f64() / done as f64;
                    ((*part).to_owned(), mean)
                })
                .collect();
        }
        progress.finish();
        Ok(())
    }

    /// One step; returns the batch's loss before it.
    fn step(&mut self, step: usize, split: &mut Split) -> Result<f64, TrainError> {
        let indices = self.order.batch(step)?;
        self.images.fill_batch(indices, &mut self.batch)?;
        let started = Instant::now();
        let scale = self.optimizer.loss_scale();
        let gradients = self
            .network
            .gradients(&self.context, &self.params, &self.batch, scale)?;
        // Both waits are for the split of time only: the next forward pass has to wait for the parameters anyway.
        self.context.wait("uploading gradients")?;
        split.network += started.elapsed();
        let started = Instant::now();
        let lr = self.lr(step);
        let taken = self.optimizer.step(&self.params, &gradients.grads, lr);
        if let Err(sonew_optimizers::Error::NonFinite { tensor, index, .. }) = &taken {
            return Err(TrainError::NonFinite {
                step,
                tensor: tensor_name(*tensor),
                index: *index,
            });
        }
        taken?;
        self.context.wait("optimizer step")?;
        split.optimizer += started.elapsed();
        Ok(gradients.loss)
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

    fn diverged(&self, step: usize, loss: f64) -> Result<TrainError, TrainError> {
        let report = match self.optimizer.report() {
            Err(error @ sonew_optimizers::Error::Root { .. }) => {
                let cause = error.to_string();
                return Ok(TrainError::Diverged { step, loss, cause });
            }
            report => report?,
        };
        let cause = match report.first_non_finite {
            Some((tensor, at)) => format!(
                "{} gradients are not finite, first in {} at {at}",
                report.non_finite_gradients,
                tensor_name(tensor)
            ),
            None => "the gradients are finite, so the weights grew too large".into(),
        };
        Ok(TrainError::Diverged { step, loss, cause })
    }
}

/// The name of a tensor in files and messages: w0, b0, w1, …
fn tensor_name(tensor: usize) -> String {
    let kind = if tensor.is_multiple_of(2) { 'w' } else { 'b' };
    format!("{kind}{}", tensor / 2)
}

fn describe(label: &str, record: &EpochRecord) -> String {
    let mut seen = match record.pivots_cut {
        Some(cut) if cut > 0 => format!(", {cut} pivots cut"),
        _ => String::new(),
    };
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
        "{label} epoch {}: loss {:.3} at lr {:.3e}, {:.1} s (forward and backward {:.1}, optimizer {:.1}) + {:.1} s evaluation, {:.0} images/s{seen}",
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
