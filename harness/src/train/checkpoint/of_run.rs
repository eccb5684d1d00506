//! Checkpoints of a run that goes on, and a run that goes on from one.

use std::path::Path;

use sonew_optimizers::{Arena, StateArray};
use sonew_runtime::DeviceInfo;

use super::{Checkpoint, CheckpointError, RunProgress, Shelf, newest};
use crate::process::streams::note;
use crate::train::record::RunFolder;
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

    /// Writes a checkpoint, if the run was told to. One that cannot be written is no reason to stop: those before stay.
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
        match written {
            Err(TrainError::Record(error)) => note(&format!(
                "no checkpoint after {steps} steps: {error}; the run goes on, and can be resumed from the one before"
            )),
            written => written?,
        }
        Ok(())
    }

    /// The checkpoint of now, as bytes. What was logged is safe before it is.
    fn taken(&mut self, desk: &mut Desk<'_>) -> Result<Vec<u8>, TrainError> {
        let mut position = self.position.clone();
        position.parts = self.parts().into_iter().collect();
        let progress = RunProgress {
            position,
            summary: desk.summary.clone(),
            log: desk.folder.log_is_safe()?,
            order: self.order.digest(self.position.steps),
        };
        let tensors = self.workload.tensors();
        let format = self.params.format();
        let values = self.params.tensors(&self.context)?;
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

    /// Takes the folder of a run that was begun before, and goes on from its newest checkpoint: of the log what was written by then
    /// stays. A run that has no checkpoint yet begins again.
    ///
    /// # Errors
    /// [`TrainError::Record`] if the folder cannot be taken, [`TrainError::Checkpoint`] if there are checkpoints and none can be
    /// read, or for other batches, [`TrainError::Optimizer`] for the state of another optimizer.
    pub fn resume(&mut self, path: &Path, device: &DeviceInfo) -> Result<RunFolder, TrainError> {
        let (mut folder, before) = RunFolder::resume(path)?;
        let checkpoint = newest(path, self.workload.tensors(), self.params.format())?;
        let log = checkpoint.as_ref().map_or(0, |it| it.progress.log);
        match checkpoint {
            Some(checkpoint) => self.go_on(checkpoint)?,
            None => note("the run has no checkpoint yet and begins again"),
        }
        if !folder.cut_log(log)? {
            return Err(CheckpointError::Log { path: path.into() }.into());
        }
        let step = self.position.steps;
        Shelf::of_run(path).clear_after(step)?;
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
    fn go_on(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let progress = checkpoint.progress;
        if progress.order != self.order.digest(progress.position.steps) {
            return Err(CheckpointError::Order.into());
        }
        self.optimizer.load_state(&checkpoint.state)?;
        let weights: Vec<&[f32]> = checkpoint.weights.iter().map(StateArray::values).collect();
        let (layout, format) = (self.params.layout(), self.params.format());
        self.params = Arena::of(&self.context, layout, format, &weights)?;
        self.position = progress.position;
        self.summary = progress.summary;
        Ok(())
    }
}
