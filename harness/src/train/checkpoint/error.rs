//! Why a checkpoint cannot be written or gone on from.

use std::path::PathBuf;

use sonew_optimizers::StateError;

use crate::train::record::RecordError;

/// Why a checkpoint cannot be written or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The archive, or the state in it.
    #[error(transparent)]
    State(#[from] StateError),
    /// It holds no run.
    #[error("it holds no run, only an optimizer's state")]
    NoRun,
    /// How far the run had come cannot be written or read.
    #[error("how far the run had come: {0}")]
    Progress(#[from] serde_json::Error),
    /// The weights of a tensor are not there, or other than the run's.
    #[error("it has no weights of {tensor} in {expected}; it is of another run")]
    Weights {
        /// The tensor.
        tensor: String,
        /// Format and shape.
        expected: String,
    },
    /// The loss is NaN or infinite: nothing can be gone on from.
    #[error("the last loss is not finite")]
    NoLoss,
    /// A weight is NaN or infinite: nothing can be gone on from.
    #[error("weight {index} of {tensor} is not finite")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The index within it.
        index: usize,
    },
    /// It was written after another step than its name says.
    #[error(
        "it was written after step {found}, and by its name after step {expected}; give it its name back"
    )]
    Renamed {
        /// The step.
        found: usize,
        /// That of the name.
        expected: usize,
    },
    /// The run has come further than it is asked to.
    #[error(
        "resuming {}: it has taken {steps} steps already and is asked for {asked} in all; ask for more --epochs, or leave the option out",
        path.display()
    )]
    Fewer {
        /// The run's folder.
        path: PathBuf,
        /// Steps taken.
        steps: usize,
        /// Steps asked for.
        asked: usize,
    },
    /// The data are not those that the run began with.
    #[error("the {many} are not those that the run began with; give it the data of then")]
    Data {
        /// What examples are called.
        many: &'static str,
    },
    /// The state of another optimizer.
    #[error(
        "resuming {}: its checkpoint after step {steps} is of another run; put its own back: {reason}",
        path.display()
    )]
    OtherState {
        /// The run's folder.
        path: PathBuf,
        /// Steps taken.
        steps: usize,
        /// What does not fit.
        reason: String,
    },
    /// The batches are not those that the run began with.
    #[error(
        "the batches of --order are not those that the run began with; give it the file of then"
    )]
    Order,
    /// None of a run's checkpoints can be read.
    #[error(
        "resuming {}: none of its checkpoints can be read, the newest for this reason: {reason}; put one that can be read back, or begin again from the first step by repeating its command with --out and --overwrite",
        path.display()
    )]
    Unreadable {
        /// The run's folder.
        path: PathBuf,
        /// What is wrong with the newest.
        reason: String,
    },
    /// The log is shorter than it was.
    #[error(
        "resuming {}: its log.jsonl has {there} bytes and had {log} when the checkpoint was written; put the whole one back",
        path.display()
    )]
    Log {
        /// The run's folder.
        path: PathBuf,
        /// Bytes found.
        there: u64,
        /// Bytes of then.
        log: u64,
    },
    /// The folder holds nothing that can be resumed.
    #[error("resuming {}: {reason}", path.display())]
    NotResumable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An option has another value than the run began with.
    #[error(
        "resuming {}: {key} is {found} now, and the run began with {expected}; only the learning rate and its factors, its schedule, the epochs, the device and what is printed may change",
        path.display()
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// What has changed.
        key: String,
        /// Its value now.
        found: String,
        /// That of then.
        expected: String,
    },
    /// A file of the folder.
    #[error(transparent)]
    Record(#[from] RecordError),
}
