//! The autoencoder: dense layers with bias, tanh after every hidden layer except the code, logits at the end, sigmoid
//! cross-entropy summed over pixels and averaged over the batch.
//!
//! Parameters and gradients lie in one arena, w0, b0, w1, b1, … in this order, each W row-major [out, in]: the incoming
//! weights of an output unit follow each other, which is the order of SONew's chains.

mod host;

use cubecl::Runtime;
use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::segments::Segments;

use crate::data::Images;

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
    Images(#[from] crate::data::IdxError),
    /// A kernel, a product or a transfer.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
}

/// The loss of a batch and its gradient.
pub struct Gradients {
    /// Nats per image, before the update.
    pub loss: f64,
    /// The gradient, an arena.
    pub grads: Handle,
}

/// The network, with room for one batch.
pub struct Network {
    host: host::HostNetwork,
}

impl Network {
    /// A network of the given layer sizes, input and output included, for batches of `batch` images.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for fewer than two layers, an empty layer or an empty batch.
    pub fn new(sizes: &[usize], batch: usize) -> Result<Self, NetworkError> {
        if sizes.len() < 3 || sizes.contains(&0) {
            return Err(NetworkError::Shape {
                argument: "sizes",
                found: format!("{sizes:?}"),
                expected: "at least three sizes, none of them 0".into(),
            });
        }
        if batch == 0 {
            return Err(NetworkError::Shape {
                argument: "batch",
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        Ok(Self {
            host: host::HostNetwork::new(sizes, batch)?,
        })
    }

    /// Where the tensors lie in the arena.
    pub fn segments(&self) -> &Segments {
        self.host.segments()
    }

    /// The loss of a batch and its gradient; `images` is [batch, pixels] in [0, 1].
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for a batch of another size; launch failures found when the parameters are read.
    pub fn gradients<R: Runtime>(
        &mut self,
        context: &Context<R>,
        params: &Handle,
        images: &[f32],
    ) -> Result<Gradients, NetworkError> {
        let params = context.download("reading parameters", params)?;
        let (loss, grads) = self.host.gradients(&params, images)?;
        Ok(Gradients {
            loss,
            grads: context.upload(grads),
        })
    }

    /// The mean loss per image over a whole set.
    ///
    /// # Errors
    /// As [`Network::gradients`].
    pub fn evaluate<R: Runtime>(
        &mut self,
        context: &Context<R>,
        params: &Handle,
        images: &Images,
    ) -> Result<f64, NetworkError> {
        let params = context.download("reading parameters", params)?;
        self.host.evaluate(&params, images)
    }
}
