//! The lines of a run's log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LOG_FILE, RecordError, io_error};
use crate::train::not_a_number;

/// One line of the log per epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 0. Its loss is measured after its last step.
    pub epoch: usize,
    /// Steps taken since the start of the run.
    pub steps: usize,
    /// Loss over the whole training set, in the unit of the workload. Not a number is written as null.
    #[serde(with = "not_a_number::one")]
    pub loss: f64,
    /// Where `loss` is that of the weights' average, the loss of the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_loss: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Wall time of the epoch, evaluation included.
    pub seconds: f64,
    /// Wall time of the forward and backward passes.
    pub forward_backward_seconds: f64,
    /// Wall time of the optimizer's steps, each waited for.
    pub optimizer_seconds: f64,
    /// Wall time of the evaluation.
    pub evaluation_seconds: f64,
    /// Examples per second of wall time, evaluation not counted. Called so in every workload, so that one program reads all logs.
    pub images_per_second: f64,
    /// Columns of the factor whose edges were cut in the epoch's last step, for optimizers that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pivots_cut: Option<u64>,
    /// Columns of the factor whose pivot had no normal reciprocal in the epoch's last step, for optimizers that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pivots_out_of_range: Option<u64>,
    /// Steps that were not taken since the start of the run, because a gradient was not finite.
    #[serde(default)]
    pub skipped_steps: u64,
    /// What the loss is multiplied by in the next step.
    #[serde(default = "no_scale")]
    pub loss_scale: f64,
    /// Roots that were refused since the start of the run, for optimizers that compute them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots_refused: Option<u64>,
    /// Seconds of the optimizer's steps by part, for optimizers that have parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optimizer_parts: BTreeMap<String, f64>,
}

/// One line of the log per step: exactly `{"step": s, "loss": x}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The step, counted over the whole run.
    pub step: usize,
    /// Loss of the step's batch, in the unit of the workload. Not a number is written as null.
    #[serde(with = "not_a_number::one")]
    pub loss: f64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum LogLine {
    /// After an epoch.
    Epoch(EpochRecord),
    /// After a step.
    Step(StepRecord),
    /// Something that this version does not know.
    Other(Value),
}

/// Reads the `log.jsonl` of a run's folder. A last line that was cut off by a crash is left out.
///
/// # Errors
/// [`RecordError::Io`] or [`RecordError::Unreadable`].
pub fn read_log(folder: impl AsRef<Path>) -> Result<Vec<LogLine>, RecordError> {
    let path = folder.as_ref().join(LOG_FILE);
    let text = fs::read_to_string(&path).map_err(io_error("reading", &path))?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| RecordError::Unreadable {
                path: path.clone(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

fn no_scale() -> f64 {
    1.0
}
