//! Whether what is asked of a run now goes with what it began with, and the newest checkpoint it can go on from.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use sonew_optimizers::Format;

use super::{Checkpoint, CheckpointError, Shelf};
use crate::process::streams::note;
use crate::train::init::Tensor;
use crate::train::plan::Plan;
use crate::train::record::io_error;
use crate::workloads::Examples;

/// What of a plan may change when a run is resumed. Weights come from the checkpoint, and batches are compared themselves.
const MAY_CHANGE: &[&str] = &[
    "label",
    "folder",
    "lr",
    "schedule",
    "epochs",
    "log_steps",
    "init",
    "save",
    "order",
    "checkpoint_every",
];

/// Requires that a run of this plan on these examples is the one whose `run.json` has this config.
///
/// # Errors
/// [`CheckpointError::Changed`] with the first setting that is another.
pub fn require_same(
    folder: &Path,
    config: &Value,
    plan: &Plan,
    examples: Examples,
) -> Result<(), CheckpointError> {
    let Value::Object(mut plan) = serde_json::to_value(plan)? else {
        return Ok(());
    };
    plan.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
    plan.insert(examples.many.into(), examples.count.into());
    let mut then = config.as_object().cloned().unwrap_or_default();
    for map in [&mut then, &mut plan] {
        forget_rates_of_groups(map);
    }
    // What is not asked for is not written, and may have been then.
    for key in ["groups", "gradients", "average"] {
        plan.entry(key).or_insert(Value::Null);
    }
    match difference("", Some(&then), &plan) {
        None => Ok(()),
        Some((key, expected, found)) => Err(CheckpointError::Changed {
            path: folder.into(),
            key,
            found,
            expected,
        }),
    }
}

/// Leaves out the factors of the learning rate, and groups that say nothing else.
fn forget_rates_of_groups(map: &mut Map<String, Value>) {
    let Some(Value::Array(groups)) = map.get_mut("groups") else {
        return;
    };
    for group in groups.iter_mut().filter_map(Value::as_object_mut) {
        group.remove("lr");
    }
    let says_more = |group: &Value| group.as_object().is_some_and(|it| it.len() > 1);
    groups.retain(says_more);
    if groups.is_empty() {
        map.remove("groups");
    }
}

/// The first key of `now` that has another value in `then`, with both.
fn difference(
    above: &str,
    then: Option<&Map<String, Value>>,
    now: &Map<String, Value>,
) -> Option<(String, String, String)> {
    now.iter().find_map(|(key, now)| {
        let then = then.and_then(|it| it.get(key)).unwrap_or(&Value::Null);
        let key = format!("{above}{key}");
        match (then, now) {
            (Value::Object(then), Value::Object(now)) => {
                difference(&format!("{key}."), Some(then), now)
            }
            _ if then == now => None,
            _ => Some((key, then.to_string(), now.to_string())),
        }
    })
}

/// The newest checkpoint of a run that is whole, if it has any; says which are not.
///
/// # Errors
/// [`CheckpointError::Unreadable`] if there are some and none is, [`CheckpointError::Record`] if one cannot be read at all: it may be
/// whole, and would be removed by a run that goes on from an earlier one.
pub fn newest(
    folder: &Path,
    tensors: &[Tensor],
    format: Format,
) -> Result<Option<Checkpoint>, CheckpointError> {
    let mut first_reason = None;
    for (expected, path) in Shelf::of_run(folder).all()? {
        let bytes = fs::read(&path).map_err(io_error("reading", &path))?;
        let read = Checkpoint::of_bytes(&bytes, tensors, format);
        let read = read.and_then(|checkpoint| match checkpoint.progress.position.steps {
            found if found == expected => Ok(checkpoint),
            found => Err(CheckpointError::Renamed { found, expected }),
        });
        match read {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => {
                note(&format!("{}: {error}", path.display()));
                first_reason.get_or_insert_with(|| error.to_string());
            }
        }
    }
    match first_reason {
        None => Ok(None),
        Some(reason) => Err(CheckpointError::Unreadable {
            path: folder.into(),
            reason,
        }),
    }
}
