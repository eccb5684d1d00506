//! Why the network cannot be made or run.

use std::error::Error as StdError;

use crate::train::TrainError;

/// Why the network cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Something does not have the shape that the layers ask for.
    #[error("network: {argument} is {found}, expected {expected}")]
    Shape {
        /// What.
        argument: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The data that it is trained on.
    #[error(transparent)]
    Data(Box<dyn StdError + Send + Sync>),
    /// A kernel, a product or a transfer.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
}

impl From<NetworkError> for TrainError {
    fn from(error: NetworkError) -> Self {
        Self::Workload(Box::new(error))
    }
}
