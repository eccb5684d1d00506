//! Why the network cannot be made or run.

use crate::workloads::autoencoder::images::IdxError;

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
    /// The images.
    #[error(transparent)]
    Images(#[from] IdxError),
    /// A kernel, a product or a transfer.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
}
