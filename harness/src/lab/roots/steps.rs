//! Steps of training whose gradients are looked at.

use std::rc::Rc;

use sonew_optimizers::{Arena, Context, Layout, Optimizer, OptimizerConfig, PrecisionKind};

use crate::train::TrainError;
use crate::train::order::BatchOrder;
use crate::workloads::autoencoder::images::Images;
use crate::workloads::autoencoder::network::{Network, Route};
use crate::workloads::autoencoder::weights::Weights;

/// A run of the autoencoder in f32 at the optimizer's own learning rate.
pub(super) struct Steps<'a> {
    context: Rc<Context>,
    images: &'a Images,
    order: BatchOrder,
    network: Network,
    params: Arena,
    optimizer: Box<dyn Optimizer>,
    lr: f64,
    /// A batch.
    pixels: Vec<f32>,
}

impl<'a> Steps<'a> {
    /// Begins with the weights and the batches of a run with this seed, of at most 1000 images each.
    pub fn new(
        context: &Rc<Context>,
        (images, sizes): (&'a Images, &[usize]),
        seed: u64,
        optimizer: OptimizerConfig,
    ) -> Result<Self, TrainError> {
        let precision = PrecisionKind::F32;
        let batch = images.count.min(1000);
        let network = Network::new(context, precision, sizes, batch, Route::Auto)?;
        let layout = network.layout();
        let weights = Weights::glorot_uniform(sizes, seed)?;
        Ok(Self {
            images,
            order: BatchOrder::shuffled(images.examples(), batch, seed)?,
            params: Arena::of(context, layout, precision.format(), &weights.values())?,
            lr: optimizer.default_lr(),
            optimizer: optimizer.build(precision, context.clone(), layout)?,
            context: context.clone(),
            network,
            pixels: vec![0.0; batch * images.pixels_per_image()],
        })
    }

    pub fn layout(&self) -> &Layout {
        self.network.layout()
    }

    /// Takes a step; `see` is given its gradient, an arena.
    pub fn take(
        &mut self,
        step: usize,
        see: impl FnOnce(&[f32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let indices = self.order.batch(step)?;
        self.images.fill_batch(indices, &mut self.pixels)?;
        let (context, params) = (&self.context, &self.params);
        let found = self.network.gradients(context, params, &self.pixels, 1.0)?;
        found.grads.view(context, "reading gradients", see)??;
        Ok(self.optimizer.step(params, &found.grads, self.lr)?)
    }
}
