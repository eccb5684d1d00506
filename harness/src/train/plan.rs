//! What to train: everything of a run that is decided before it starts, and written to its `run.json`.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};
use sonew_kernels::product::Multiplication;
use sonew_optimizers::{Numerics, Recipe};

use super::checkpoint::Every;
use super::schedule::Schedule;

/// A run, as asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The optimizer, its settings, and what stands around its step.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// How parameters, states and activations are held and computed.
    #[serde(flatten)]
    pub numerics: Numerics,
    /// How matrix products are multiplied.
    pub products: Multiplication,
    /// The name in tables.
    pub label: String,
    /// The name of the folder in a comparison, and in legends: as the label, but short whatever the settings.
    pub folder: String,
    /// Base learning rate.
    pub lr: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Epochs; the last may be cut short by `steps`.
    pub epochs: usize,
    /// Steps in all, if limited.
    pub steps: Option<usize>,
    /// Examples of a batch.
    pub batch: usize,
    /// What is trained: the settings of its own that the workload has.
    #[serde(flatten)]
    pub workload: Map<String, Value>,
    /// Seed of the first weights and of the batch order.
    pub seed: u64,
    /// The first weights, if not drawn.
    pub init: Option<PathBuf>,
    /// The file of the last weights, if they are to be saved.
    pub save: Option<PathBuf>,
    /// The batch order, if not drawn.
    pub order: Option<PathBuf>,
    /// How often a checkpoint is written, if at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<Every>,
    /// Whether to log the loss of every step.
    pub log_steps: bool,
    /// Whether to say how the optimizer treats each tensor.
    #[serde(skip)]
    pub verbose: bool,
}

impl Plan {
    /// Steps of the run, if an epoch has `steps_per_epoch`.
    pub fn total_steps(&self, steps_per_epoch: usize) -> usize {
        let all = self.epochs * steps_per_epoch;
        self.steps.map_or(all, |steps| steps.min(all))
    }
}
