//! Why a run did not finish.

/// Why a run did not finish.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss of a batch is NaN or infinite, or too many steps in a row were skipped.
    #[error("no progress: the loss of step {step} is {loss}; {cause}; try {advice}")]
    Diverged {
        /// The step, from 0 on.
        step: usize,
        /// The loss found.
        loss: f64,
        /// What the optimizer's last step saw.
        cause: String,
        /// Which of the run's options may help.
        advice: &'static str,
    },
    /// The loss over all examples is NaN or infinite at the end.
    #[error("the loss after epoch {epoch} is {loss}; {cause}; try {advice}")]
    NoLoss {
        /// The epoch, from 0 on.
        epoch: usize,
        /// The loss found.
        loss: f64,
        /// What the optimizer's last step saw.
        cause: String,
        /// Which of the run's options may help.
        advice: &'static str,
    },
    /// A gradient is NaN or infinite, and the run is told to stop then.
    #[error(
        "step {step}: a gradient of {tensor} is not finite, at {index}; try a smaller --lr, or --non-finite skip"
    )]
    NonFinite {
        /// The step, from 0 on.
        step: usize,
        /// The name of the tensor.
        tensor: String,
        /// The index within it.
        index: usize,
    },
    /// One of several runs.
    #[error("{label}: {source}")]
    OfRun {
        /// Its label.
        label: String,
        /// What became of it.
        source: Box<TrainError>,
    },
    /// An option does not fit the data.
    #[error("{argument} is {found}, expected {expected}")]
    Shape {
        /// What does not fit.
        argument: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The run needs more memory than there is.
    #[error(
        "{argument} needs {found} bytes of {place}, expected at most {expected}; make {options} smaller"
    )]
    Memory {
        /// What needs it.
        argument: &'static str,
        /// The bytes needed.
        found: u128,
        /// Where.
        place: &'static str,
        /// The bytes there are.
        expected: String,
        /// Which of the run's options make it smaller.
        options: &'static str,
    },
    /// The optimizer.
    #[error(transparent)]
    Optimizer(#[from] sonew_optimizers::Error),
    /// What is trained.
    #[error(transparent)]
    Workload(Box<dyn std::error::Error + Send + Sync>),
    /// A kernel or a transfer.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
    /// The first weights.
    #[error(transparent)]
    Init(#[from] crate::train::init::InitError),
    /// The batch order.
    #[error(transparent)]
    Order(#[from] crate::train::order::OrderError),
    /// The schedule.
    #[error(transparent)]
    Schedule(#[from] crate::train::schedule::ScheduleError),
    /// A checkpoint to go on from.
    #[error(transparent)]
    Checkpoint(#[from] crate::train::checkpoint::CheckpointError),
    /// The run folder.
    #[error(transparent)]
    Record(#[from] crate::train::record::RecordError),
    /// The plot.
    #[error(transparent)]
    Plot(#[from] crate::train::plot::PlotError),
}

impl TrainError {
    /// Whether the run itself came to nothing, rather than something that it needs.
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::OfRun { source, .. } => source.is_divergence(),
            Self::Diverged { .. } | Self::NoLoss { .. } | Self::NonFinite { .. } => true,
            _ => false,
        }
    }
}
