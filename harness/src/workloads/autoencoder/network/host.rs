//! The network in host memory.

use sonew_kernels::arena::Layout;
use sonew_kernels::network::elementwise::{loss, loss_and_gradient};
use sonew_kernels::precision::PrecisionKind;

use super::NetworkError;
use super::image_set::check_images;
use super::layout::NetworkLayout;
use crate::workloads::autoencoder::images::Images;
use crate::workloads::layers::HostLayers;

/// Layers, and room for the activations of one batch.
pub(super) struct HostNetwork {
    layers: HostLayers,
    pixels: usize,
    batch: usize,
}

impl HostNetwork {
    pub fn new(precision: PrecisionKind, layout: NetworkLayout, batch: usize) -> Self {
        let NetworkLayout { layout, layers } = layout;
        Self {
            pixels: layers.first().map_or(0, |layer| layer.inputs),
            layers: HostLayers::new(precision, layout, layers, batch),
            batch,
        }
    }

    pub fn layout(&self) -> &Layout {
        self.layers.layout()
    }

    /// The loss of a full batch and its gradient, times `scale`.
    pub fn gradients(
        &mut self,
        params: &[f32],
        images: &[f32],
        scale: f64,
    ) -> Result<(f64, &[f32]), NetworkError> {
        let pixels = self.pixels;
        check_images(images, self.batch, pixels)?;
        let images = &*self.layers.rounded(images);
        let of_logits = |logits: &mut [f32]| loss_and_gradient(logits, images, pixels, scale);
        let loss = self
            .layers
            .forward_and_back(params, images, of_logits, None)?;
        Ok((loss, self.layers.gradient()))
    }

    /// The mean loss over all images, in batches; the last may be short.
    pub fn evaluate(&mut self, params: &[f32], images: &Images) -> Result<f64, NetworkError> {
        let pixels = self.pixels;
        mean_over_batches(images, self.batch, pixels, |values, rows| {
            let values = &*self.layers.rounded(values);
            let logits = self.layers.logits(params, values, rows)?;
            Ok(loss(logits, values, pixels))
        })
    }
}

/// Calls `run` with all images in batches, the last of which may be short, and the number of images in each; returns
/// the mean of what it returns, weighted by that number.
fn mean_over_batches(
    images: &Images,
    batch: usize,
    pixels: usize,
    mut run: impl FnMut(&[f32], usize) -> Result<f64, NetworkError>,
) -> Result<f64, NetworkError> {
    if images.pixels_per_image() != pixels || images.count == 0 {
        return Err(NetworkError::Shape {
            argument: "images",
            found: format!("{} of {} pixels", images.count, images.pixels_per_image()),
            expected: format!("at least one of {pixels} pixels"),
        });
    }
    let mut values = vec![0.0; batch.min(images.count) * pixels];
    let mut total = 0.0;
    let indices: Vec<u32> = (0..images.count as u32).collect();
    for chunk in indices.chunks(batch) {
        let values = &mut values[..chunk.len() * pixels];
        images.fill_batch(chunk, values)?;
        total += run(values, chunk.len())? * chunk.len() as f64;
    }
    Ok(total / images.count as f64)
}
