//! The route of CPU adapters: parameters are read from the device and gradients written to it; all between happens in host memory.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::precision::PrecisionKind;

use super::host::HostNetwork;
use super::layout::NetworkLayout;
use super::{Gradients, NetworkError};
use crate::workloads::autoencoder::images::Images;

const READING: &str = "reading parameters";

/// The network in host memory, and the losses it found.
pub(super) struct HostRoute {
    network: HostNetwork,
    batch: usize,
    /// Of batches that were not asked for yet.
    losses: Vec<f64>,
    /// A batch.
    values: Vec<f32>,
}

impl HostRoute {
    pub fn new(precision: PrecisionKind, layout: NetworkLayout, batch: usize) -> Self {
        Self {
            network: HostNetwork::new(precision, layout, batch),
            batch,
            losses: Vec::new(),
            values: Vec::new(),
        }
    }

    pub fn layout(&self) -> &Layout {
        self.network.layout()
    }

    /// The loss of a full batch and its gradient, times `scale`.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        images: &[f32],
        scale: f64,
    ) -> Result<Gradients, NetworkError> {
        let network = &mut self.network;
        let (loss, grads) = params.view(context, READING, move |params| {
            network.gradients(params, images, scale)
        })??;
        let (layout, format) = (params.layout(), params.format());
        let grads = Arena::from_values(context, layout, format, grads)?;
        Ok(Gradients { loss, grads })
    }

    /// The gradient, times `scale`, of a batch of these images; its loss is kept.
    pub fn gradients_of(
        &mut self,
        context: &Context,
        params: &Arena,
        (images, indices): (&Images, &[u32]),
        scale: f64,
    ) -> Result<Arena, NetworkError> {
        let mut values = std::mem::take(&mut self.values);
        values.resize(self.batch * images.pixels_per_image(), 0.0);
        images.fill_batch(indices, &mut values)?;
        let found = self.gradients(context, params, &values, scale);
        self.values = values;
        let found = found?;
        self.losses.push(found.loss);
        Ok(found.grads)
    }

    /// The losses of the batches since this was last asked.
    pub fn losses(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.losses)
    }

    /// The mean loss over all images, in batches; the last may be short.
    pub fn evaluate(
        &mut self,
        context: &Context,
        params: &Arena,
        images: &Images,
    ) -> Result<f64, NetworkError> {
        let run = |params: &[f32]| self.network.evaluate(params, images);
        params.view(context, READING, run)?
    }
}
