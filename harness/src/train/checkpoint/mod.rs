//! What a run needs to go on where it was: its weights, the state of its optimizer, and how far it had come.

mod error;
mod every;
mod of_run;
mod resume;
mod shelf;

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Archive, Format, State, StateArray};

use super::init::Tensor;
use super::position::Position;
use super::summary::RunSummary;

pub use error::CheckpointError;
pub use every::Every;
pub use resume::{newest, require_same};
pub use shelf::Shelf;

/// The name of the text with the run's part.
const RUN: &str = "run";
/// What the names of weights begin with.
const WEIGHTS: &str = "weights";

/// A run between two steps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The weights, in the order of the workload's tensors.
    pub weights: Vec<StateArray>,
    /// The optimizer's state.
    pub state: State,
    /// How far the run had come.
    pub progress: RunProgress,
}

/// How far a run had come, and what it had written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunProgress {
    /// Steps, and the times of those.
    pub position: Position,
    /// What had come out.
    pub summary: RunSummary,
    /// Bytes of the log.
    pub log: u64,
    /// The digest of the batches so far.
    pub order: String,
    /// What tells the data from others.
    pub data: String,
}

impl Checkpoint {
    /// As bytes. Weights are called `weights/…` after their tensors.
    ///
    /// # Errors
    /// [`CheckpointError`] if they have no such form.
    pub fn into_bytes(self, tensors: &[Tensor]) -> Result<Vec<u8>, CheckpointError> {
        let mut archive = Archive::default();
        for (tensor, weights) in tensors.iter().zip(self.weights) {
            let name = format!("{WEIGHTS}/{}", tensor.name);
            archive.arrays.insert(name, weights);
        }
        self.state.put_into(&mut archive);
        let progress = serde_json::to_string(&self.progress)?;
        archive.texts.insert(RUN.into(), progress);
        Ok(archive.to_bytes()?)
    }

    /// Of bytes, for a workload's tensors in a format.
    ///
    /// # Errors
    /// [`CheckpointError`] for bytes that are not those of a checkpoint, or of other tensors.
    pub fn of_bytes(
        bytes: &[u8],
        tensors: &[Tensor],
        format: Format,
    ) -> Result<Self, CheckpointError> {
        let mut archive = Archive::of_bytes(bytes)?;
        let progress = archive.texts.get(RUN).ok_or(CheckpointError::NoRun)?;
        let progress = serde_json::from_str(progress)?;
        let mut take = |tensor: &Tensor| {
            let weights = archive.arrays.remove(&format!("{WEIGHTS}/{}", tensor.name));
            let fits = |it: &StateArray| it.shape() == tensor.shape && it.format() == format;
            weights
                .filter(fits)
                .ok_or_else(|| CheckpointError::Weights {
                    tensor: tensor.name.clone(),
                    expected: format!("{format} of {:?}", tensor.shape),
                })
        };
        Ok(Self {
            weights: tensors.iter().map(&mut take).collect::<Result<_, _>>()?,
            state: State::of_archive(&archive)?,
            progress,
        })
    }
}
