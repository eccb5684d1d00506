//! Checkpoints of a run that goes on, and a run that goes on from one.

use std::path::Path;

use sonew_optimizers::{Arena, StateArray};
use sonew_runtime::DeviceInfo;

use super::{Checkpoint, CheckpointError, RunProgress, Shelf, newest};
use crate::process::streams::note;
use crate::train::record::{RecordError, RunFile, RunFolder, RunStatus};
use crate::train::run::{Desk, Run};
use crate::train::{Resumption, TrainError};

impl Run<'_> {
    /// Whether a checkpoint is due between these two steps.
    pub(in crate::train) fn is_checkpoint_due(&self) -> bool {
        let steps_per_epoch = self.order.steps_per_epoch();
        let due =
            |(every, _): &(super::Every, _)| every.is_due(self.position.steps, steps_per_epoch);
        self.checkpoints.as_ref().is_some_and(due)
    }

    /// Writes a checkpoint after an epoch, if one is due or it was the last.
    ///
    /// # Errors
    /// As [`Run::checkpoint`].
    pub(in crate::train) fn checkpoint_if_due(
        &mut self,
        desk: &mut Desk<'_>,
        last: bool,
    ) -> Result<(), TrainError> {
        if last || self.is_checkpoint_due() {
            self.checkpoint(desk)?;
        }
        Ok(())
    }

    /// Writes a checkpoint, if the run was told to. One that cannot be written is no reason to stop: those before stay, as they do
    /// where the weights have come to nothing.
    ///
    /// # Errors
    /// The failure of a launch, which reading the state brings to light.
    pub(in crate::train) fn checkpoint(&mut self, desk: &mut Desk<'_>) -> Result<(), TrainError> {
        let Some((_, shelf)) = self.checkpoints.clone() else {
            return Ok(());
        };
        let steps = self.position.steps;
        let written = self
            .taken(desk)
            .and_then(|bytes| Ok(shelf.put(steps, &bytes)?));
        let error: &dyn std::error::Error = match &written {
            Err(TrainError::Record(error)) => error,
            Err(TrainError::Checkpoint(
                error @ (CheckpointError::NotFinite { .. } | CheckpointError::NoLoss),
            )) => error,
            _ => return written,
        };
        let rest = match shelf.all()?.first() {
            Some((before, _)) => format!("can be resumed from the one after {before}"),
            None => "has none to be resumed from yet".into(),
        };
        note(&format!(
            "no checkpoint after {steps} steps: {error}; the run goes on, and {rest}"
        ));
        Ok(())
    }

    /// What tells the data from others.
    fn data(&self) -> &str {
        self.data.get_or_init(|| self.workload.digest())
    }

    /// The checkpoint of now, as bytes. What was logged is safe before it is.
    fn taken(&mut self, desk: &mut Desk<'_>) -> Result<Vec<u8>, TrainError> {
        if self.is_lost {
            return Err(CheckpointError::NoLoss.into());
        }
        let mut position = self.position.clone();
        position.parts = self.parts().into_iter().collect();
        let progress = RunProgress {
            position,
            summary: desk.summary.clone(),
            log: desk.folder.log_is_safe()?,
            order: self.order.digest(self.position.steps),
            data: self.data().into(),
        };
        let tensors = self.workload.tensors();
        let format = self.params.format();
        let values = self.params.tensors(&self.context)?;
        for (tensor, values) in tensors.iter().zip(&values) {
            if let Some(index) = values.iter().position(|it| !it.is_finite()) {
                let tensor = tensor.name.clone();
                return Err(CheckpointError::NotFinite { tensor, index }.into());
            }
        }
        let weights = tensors.iter().zip(values).map(|(tensor, values)| {
            let whole = StateArray::new(tensor.shape.clone(), format, values);
            whole.ok_or_else(|| CheckpointError::Weights {
                tensor: tensor.name.clone(),
                expected: format!("{format} of {:?}", tensor.shape),
            })
        });
        let checkpoint = Checkpoint {
            weights: weights.collect::<Result<_, _>>()?,
            state: self.optimizer.state()?,
            progress,
        };
        Ok(checkpoint.into_bytes(tensors)?)
    }

    /// Steps taken, and those of the whole run.
    pub fn steps(&self) -> [usize; 2] {
        let total = self.plan.total_steps(self.order.steps_per_epoch());
        [self.position.steps, total]
    }

    /// Takes the folder of a run that was begun before, and goes on from its newest checkpoint: of the log what was written by then
    /// stays. A run that has no checkpoint yet begins again.
    ///
    /// # Errors
    /// [`TrainError::Record`] if the folder cannot be taken, [`TrainError::Checkpoint`] if there are checkpoints and none is whole, or
    /// for other data, other batches and the state of another optimizer. Nothing has changed then.
    pub fn resume(&mut self, path: &Path, device: &DeviceInfo) -> Result<RunFolder, TrainError> {
        let taken = RunFolder::resume(path).map_err(|error| match error {
            RecordError::Busy { path } => CheckpointError::NotResumable {
                path,
                reason: "another program still writes this run; wait until it has ended".into(),
            },
            error => error.into(),
        });
        let (mut folder, before) = taken?;
        let there = folder.log_length()?;
        let checkpoint = newest(path, self.workload.tensors(), self.params.format())?;
        let log = checkpoint.as_ref().map_or(0, |it| it.progress.log);
        match checkpoint {
            Some(_) if there < log => {
                let path = path.into();
                return Err(CheckpointError::Log { path, there, log }.into());
            }
            Some(checkpoint) => self.go_on(path, checkpoint)?,
            None => {
                loses_nothing(path, &before, there)?;
                note("the run has no checkpoint yet and begins again");
            }
        }
        // What is refused was refused by now, and had changed nothing.
        let step = self.position.steps;
        Shelf::of_run(path).clear_after(step)?;
        folder.cut_log(log)?;
        // Of an older version there may be others; they are for readers only.
        let earlier = before.config.get("resumed").cloned().unwrap_or_default();
        self.resumed = serde_json::from_value(earlier).unwrap_or_default();
        self.resumed.push(Resumption {
            step,
            version: env!("CARGO_PKG_VERSION").into(),
            device: format!("{} ({})", device.name, device.id),
        });
        folder.keep(&self.summary)?;
        Ok(folder)
    }

    /// Goes on from a checkpoint.
    fn go_on(&mut self, path: &Path, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let progress = checkpoint.progress;
        let steps = progress.position.steps;
        let asked = self.plan.total_steps(self.order.steps_per_epoch());
        if steps > asked {
            let path = path.into();
            return Err(CheckpointError::Fewer { path, steps, asked }.into());
        }
        if progress.data != self.data() {
            let many = self.workload.examples().many;
            return Err(CheckpointError::Data { many }.into());
        }
        if progress.order != self.order.digest(steps) {
            return Err(CheckpointError::Order.into());
        }
        match self.optimizer.load_state(&checkpoint.state) {
            Err(sonew_optimizers::Error::State(reason)) => {
                let (path, reason) = (path.into(), reason.to_string());
                let other = CheckpointError::OtherState {
                    path,
                    steps,
                    reason,
                };
                return Err(other.into());
            }
            loaded => loaded?,
        }
        let weights: Vec<&[f32]> = checkpoint.weights.iter().map(StateArray::values).collect();
        let (layout, format) = (self.params.layout(), self.params.format());
        self.params = Arena::of(&self.context, layout, format, &weights)?;
        self.position = progress.position;
        self.summary = progress.summary;
        Ok(())
    }
}

/// Requires that a run without a checkpoint may begin again: where it was never asked for one, or has finished, all that it had found
/// would go.
fn loses_nothing(path: &Path, before: &RunFile, log: u64) -> Result<(), CheckpointError> {
    let asked = before.config.get("checkpoint_every").is_some();
    let reason = match before.status {
        _ if log == 0 => return Ok(()),
        RunStatus::Finished => "it has finished",
        _ if asked => return Ok(()),
        _ => "it was begun without --checkpoint-every",
    };
    Err(CheckpointError::NotResumable {
        path: path.into(),
        reason: format!(
            "{reason}, and has no checkpoint to go on from; to begin again from the first step and replace it, repeat its command with --out and --overwrite"
        ),
    })
}
