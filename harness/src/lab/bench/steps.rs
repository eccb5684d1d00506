//! Times of optimizer steps on the tensors of the benchmark's autoencoder, and of whole steps of its training, all of a kind
//! in turns, so that what else the machine does falls on all of them.

use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Arena, Context, Layout, Optimizer, OptimizerConfig, PrecisionKind};

use super::BenchError;
use super::noise::{arena, noise};
use super::stopwatch::{Effort, Seconds, Stopwatch, Work};
use crate::lab::training_contract::cases;
use crate::workloads::autoencoder::images::Images;
use crate::workloads::autoencoder::network::{Network, Route, shapes};
use crate::workloads::autoencoder::weights::AUTOENCODER_SIZES;

/// Images of a batch of training.
pub(super) const BATCH: usize = 1000;

/// Seconds of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// The optimizer.
    pub optimizer: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// Parameters of the model.
    pub parameters: usize,
    /// Of one step.
    pub seconds: Seconds,
    /// The median over that of Adam in the same run.
    pub times_adam: f64,
    /// The least that a step has to move for a parameter: gradients read, parameters and states read and written. For Shampoo
    /// that is far from all of its work.
    pub bytes_per_parameter: f64,
}

/// A part of a step of training, or all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "part", content = "optimizer")]
pub enum Part {
    /// The loss of the batch.
    Forward,
    /// The loss and the gradient.
    Gradients,
    /// The optimizer's step.
    Optimizer(String),
    /// The whole step with an optimizer.
    Step(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.pad("forward"),
            Self::Gradients => f.pad("forward and backward"),
            Self::Optimizer(name) => f.pad(&format!("{name} alone")),
            Self::Step(name) => f.pad(&format!("step with {name}")),
        }
    }
}

/// Seconds of a step of training or a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingTime {
    /// What.
    #[serde(flatten)]
    pub part: Part,
    /// The precision.
    pub precision: PrecisionKind,
    /// Of one step on a batch of 1000 images.
    pub seconds: Seconds,
}

/// Holds an optimizer's losses to those in f64.
///
/// # Errors
/// [`BenchError::Wrong`] where they are off, [`BenchError::Unproven`] for an optimizer without a run in f64.
pub fn prove(
    context: &Rc<Context>,
    optimizer: &'static str,
    precision: PrecisionKind,
) -> Result<(), BenchError> {
    let Some(case) = cases().into_iter().find(|case| case.optimizer == optimizer) else {
        return Err(BenchError::Unproven {
            kernel: "training",
            case: optimizer.into(),
        });
    };
    let (step, error, allowed) = case.follow(context, precision, Route::Auto)?.worst();
    if error <= allowed {
        return Ok(());
    }
    Err(BenchError::Wrong {
        kernel: "training",
        case: optimizer.into(),
        precision: precision.name(),
        what: format!("the loss of step {step}"),
        error,
        allowed,
    })
}

/// Parameters and gradients of the autoencoder on a device.
pub struct Model {
    context: Rc<Context>,
    precision: PrecisionKind,
    /// Where the tensors lie.
    pub layout: Layout,
    /// Parameters.
    pub params: Arena,
    /// Gradients.
    pub grads: Arena,
}

impl Model {
    /// Fills parameters and gradients with unstructured values.
    ///
    /// # Errors
    /// None at these sizes.
    pub fn new(context: &Rc<Context>, precision: PrecisionKind) -> Result<Self, BenchError> {
        let layout = Layout::with_shapes(shapes(&AUTOENCODER_SIZES))?;
        let format = precision.format();
        let upload = |seed| Arena::from_values(context, &layout, format, &arena(&layout, seed));
        Ok(Self {
            params: upload(1)?,
            grads: upload(1 << 24)?,
            context: context.clone(),
            precision,
            layout,
        })
    }

    /// An optimizer over the tensors.
    ///
    /// # Errors
    /// As [`OptimizerConfig::build`].
    pub fn optimizer(&self, name: &str) -> Result<Box<dyn Optimizer>, BenchError> {
        let config = OptimizerConfig::named(name)?;
        Ok(config.build(self.precision, self.context.clone(), &self.layout)?)
    }
}

/// A batch of images without structure.
pub(super) fn noisy_images() -> Images {
    let pixels = AUTOENCODER_SIZES[0];
    Images {
        count: BATCH,
        rows: 1,
        cols: pixels,
        pixels: (0..BATCH * pixels)
            .map(|i| (255.0 * noise(i).abs()) as u8)
            .collect(),
    }
}

/// Proves and times a step of each optimizer; `tell` hears of what is next.
///
/// # Errors
/// [`BenchError::Wrong`] for an optimizer that is, and whatever a step refuses or reports.
pub fn optimizers(
    context: &Rc<Context>,
    precision: PrecisionKind,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<StepTime>, BenchError> {
    let model = Model::new(context, precision)?;
    let mut bytes = Vec::new();
    let mut stopwatches = Vec::new();
    for name in OptimizerConfig::NAMES {
        tell(&format!("step of {name}, {precision}"));
        prove(context, name, precision)?;
        let mut optimizer = model.optimizer(name)?;
        let params = 3 * precision.parameter_bytes();
        bytes.push(params as f64 + 2.0 * optimizer.state_bytes_per_parameter());
        let model = &model;
        stopwatches.push(Stopwatch::new(
            Work::new(context, move || {
                Ok(optimizer.step(&model.params, &model.grads, 1e-6)?)
            }),
            effort,
        )?);
    }
    for _ in 0..effort.batches {
        for stopwatch in &mut stopwatches {
            stopwatch.measure()?;
        }
    }
    let seconds: Vec<Seconds> = stopwatches.into_iter().map(Stopwatch::seconds).collect();
    let of_adam = OptimizerConfig::NAMES
        .iter()
        .position(|&name| name == "adam")
        .map_or(f64::NAN, |at| seconds[at].median);
    Ok(OptimizerConfig::NAMES
        .iter()
        .zip(seconds)
        .zip(bytes)
        .map(|((name, seconds), bytes_per_parameter)| StepTime {
            optimizer: (*name).into(),
            precision,
            parameters: model.layout.parameters(),
            seconds,
            times_adam: seconds.median / of_adam,
            bytes_per_parameter,
        })
        .collect())
}

/// Proves and times the forward pass, the forward and backward pass, and steps of Adam and SONew alone and as a whole, all in turns.
///
/// # Errors
/// [`BenchError::Wrong`] for an optimizer or a network that is, and whatever a step of training refuses or reports.
pub fn training(
    context: &Rc<Context>,
    precision: PrecisionKind,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<TrainingTime>, BenchError> {
    let mut parts = vec![Part::Forward, Part::Gradients];
    for name in ["adam", "tridiag-sonew", "band-4-sonew"] {
        // The losses that are followed are those of the forward and backward pass as well.
        prove(context, name, precision)?;
        parts.extend([Part::Optimizer(name.into()), Part::Step(name.into())]);
    }
    let model = Model::new(context, precision)?;
    let images = noisy_images();
    let mut stopwatches = Vec::new();
    for part in &parts {
        tell(&format!("training, {part}, {precision}"));
        let sizes = &AUTOENCODER_SIZES;
        let mut network = Network::new(context, precision, sizes, BATCH, Route::Auto)?;
        let optimizer = match part {
            Part::Forward | Part::Gradients => None,
            Part::Optimizer(name) | Part::Step(name) => Some(model.optimizer(name)?),
        };
        let scale = optimizer.as_ref().map_or(1.0, |it| it.loss_scale());
        let set = network.image_set(context, &images)?;
        let order = network.order(context, &set, (0..BATCH as u32).collect())?;
        let model = &model;
        let work = match (part, optimizer) {
            (Part::Forward, _) => Work::new(context, move || {
                network.evaluate(context, &model.params, &set)?;
                Ok(())
            }),
            (Part::Optimizer(_), Some(mut optimizer)) => Work::new(context, move || {
                optimizer.step(&model.params, &model.grads, 1e-9)?;
                Ok(())
            }),
            (_, mut optimizer) => Work::new(context, move || {
                let batch = (&set, &order);
                let grads = network.gradients_of(context, &model.params, batch, 0, scale)?;
                if let Some(optimizer) = &mut optimizer {
                    optimizer.step(&model.params, &grads, 1e-9)?;
                }
                Ok(())
            }),
        };
        stopwatches.push(Stopwatch::new(work, effort)?);
    }
    for _ in 0..effort.batches {
        for stopwatch in &mut stopwatches {
            stopwatch.measure()?;
        }
    }
    Ok(parts
        .into_iter()
        .zip(stopwatches)
        .map(|(part, stopwatch)| TrainingTime {
            part,
            precision,
            seconds: stopwatch.seconds(),
        })
        .collect())
}
