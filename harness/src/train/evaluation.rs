//! The loss of given weights over all examples, without training.

use std::path::Path;

use serde::Serialize;
use sonew_kernels::product::Multiplication;
use sonew_optimizers::{Arena, Context, PrecisionKind};
use sonew_runtime::DeviceInfo;

use super::order::BatchOrder;
use super::start::fits;
use super::{TrainError, init};
use crate::workloads::Workload;

/// Weights to be evaluated, as training evaluates them after an epoch: the loss has the same bits for the same workload, precision,
/// batch and products.
pub struct Evaluation {
    workload: Box<dyn Workload>,
    weights: Vec<Vec<f32>>,
    precision: PrecisionKind,
    batch: usize,
    products: Multiplication,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// The mean loss over all examples.
    pub loss: f64,
    /// What it is measured in.
    pub unit: String,
    /// How many examples.
    pub examples: usize,
    /// What they are called.
    pub called: &'static str,
    /// In what weights and activations were held.
    pub precision: PrecisionKind,
}

impl Evaluation {
    /// Reads the weights and checks what can be checked without a device.
    ///
    /// # Errors
    /// [`TrainError`] for a file that does not hold the workload's tensors, and a batch that its examples do not fill.
    pub fn of(
        weights: &Path,
        workload: Box<dyn Workload>,
        precision: PrecisionKind,
        batch: usize,
        products: Multiplication,
    ) -> Result<Self, TrainError> {
        BatchOrder::shuffled(workload.examples(), batch, 0)?;
        let weights = init::load(weights, workload.tensors())?;
        Ok(Self {
            workload,
            weights,
            precision,
            batch,
            products,
        })
    }

    /// Computes the loss.
    ///
    /// # Errors
    /// [`TrainError`] with what the device or the workload refuses.
    pub fn on(&self, device: &DeviceInfo, context: &Context) -> Result<Evaluated, TrainError> {
        let (workload, precision) = (&*self.workload, self.precision);
        fits(workload, self.batch, device)?;
        self.products.parts(context, None)?;
        let mut objective = workload.objective(context, precision, self.batch, self.products)?;
        let layout = workload.layout();
        let params = Arena::of(context, layout, precision.format(), &self.weights)?;
        Ok(Evaluated {
            loss: objective.evaluate(context, &params)?,
            unit: workload.loss_unit().into(),
            examples: workload.examples().count,
            called: workload.examples().many,
            precision,
        })
    }
}
