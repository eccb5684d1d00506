//! The autoencoder's loss on a device.

use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;

use super::network::{ImageSet, Network, NetworkError, Order};
use crate::train::TrainError;
use crate::workloads::Objective;

/// The network, the images, and their order.
pub(super) struct Reconstruction<'a> {
    pub network: Network,
    pub images: ImageSet<'a>,
    /// None before the first is taken in.
    pub order: Option<Order>,
}

impl Objective for Reconstruction<'_> {
    fn set_order(&mut self, context: &Context, indices: Vec<u32>) -> Result<(), TrainError> {
        self.order = Some(self.network.order(context, &self.images, indices)?);
        Ok(())
    }

    fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        number: usize,
        scale: f64,
    ) -> Result<Arena, TrainError> {
        let order = self.order.as_ref().ok_or_else(|| NetworkError::Shape {
            argument: "the order of a batch",
            found: "none".into(),
            expected: "one that was taken in before".into(),
        })?;
        let batch = (&self.images, order);
        let network = &mut self.network;
        Ok(network.gradients_of(context, params, batch, number, scale)?)
    }

    fn losses(&mut self, context: &Context) -> Result<Vec<f64>, TrainError> {
        Ok(self.network.losses(context)?)
    }

    fn tells_at_once(&self) -> bool {
        self.network.tells_at_once()
    }

    fn evaluate(&mut self, context: &Context, params: &Arena) -> Result<f64, TrainError> {
        Ok(self.network.evaluate(context, params, &self.images)?)
    }
}
