//! The network in host memory: products and elementwise parts of one batch.

use std::borrow::Cow;

use sonew_kernels::arena::Layout;
use sonew_kernels::network::elementwise::{
    activate, backward_tanh, column_sums, loss, loss_and_gradient,
};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::{HostMatrix, host as product};

use super::NetworkError;
use super::image_set::check_images;
use super::layout::{Layer, NetworkLayout};
use crate::workloads::autoencoder::images::Images;

/// Layers, and room for the activations of one batch.
pub(super) struct HostNetwork {
    precision: PrecisionKind,
    layout: Layout,
    layers: Vec<Layer>,
    batch: usize,
    /// The output of each layer, [batch, outputs]; of the last the logits, then δ.
    activations: Vec<Vec<f32>>,
    /// δ of a hidden layer, two buffers that take turns.
    deltas: [Vec<f32>; 2],
    /// The gradient, an arena whose gaps stay zero.
    gradient: Vec<f32>,
}

impl HostNetwork {
    pub fn new(precision: PrecisionKind, layout: NetworkLayout, batch: usize) -> Self {
        let buffers = |layer: &Layer| vec![0.0; layer.outputs * batch];
        let widest = layout.widest_hidden() * batch;
        Self {
            precision,
            activations: layout.layers.iter().map(buffers).collect(),
            deltas: [vec![0.0; widest], vec![0.0; widest]],
            gradient: vec![0.0; layout.layout.arena_len()],
            layout: layout.layout,
            layers: layout.layers,
            batch,
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Images in the format of the precision.
    fn rounded<'a>(&self, images: &'a [f32]) -> Cow<'a, [f32]> {
        let mut images = Cow::Borrowed(images);
        if self.precision.parameter_bytes() < 4 {
            self.precision.round_all(images.to_mut());
        }
        images
    }

    /// Fills the activations of the first `rows` rows; the last layer's are logits.
    fn forward(&mut self, params: &[f32], images: &[f32], rows: usize) -> Result<(), NetworkError> {
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = self.activations.split_at_mut(l);
            let input = match before.last() {
                Some(activation) => &activation[..rows * layer.inputs],
                None => images,
            };
            let out = &mut after[0][..rows * layer.outputs];
            let weight = &params[layer.weight.clone()];
            // Z = X Wᵀ
            product(
                out,
                HostMatrix::row_major(input, rows, layer.inputs)?,
                HostMatrix::row_major(weight, layer.outputs, layer.inputs)?.transposed(),
                false,
            )?;
            self.precision.round_all(out);
            activate(out, &params[layer.bias.clone()], layer.linear);
            self.precision.round_all(out);
        }
        Ok(())
    }

    /// The loss of a full batch and its gradient, times `scale`.
    pub fn gradients(
        &mut self,
        params: &[f32],
        images: &[f32],
        scale: f64,
    ) -> Result<(f64, &[f32]), NetworkError> {
        let pixels = self.layers[0].inputs;
        check_images(images, self.batch, pixels)?;
        let images = &*self.rounded(images);
        self.forward(params, images, self.batch)?;
        let last = self.layers.len() - 1;
        let rows = self.batch;
        let mut logits = std::mem::take(&mut self.activations[last]);
        let loss = loss_and_gradient(&mut logits, images, pixels, scale);
        self.precision.round_all(&mut logits);
        let [mut delta, mut next] = std::mem::take(&mut self.deltas);
        for l in (0..=last).rev() {
            let layer = &self.layers[l];
            let own = if l == last {
                &mut logits[..]
            } else {
                &mut delta[..rows * layer.outputs]
            };
            if !layer.linear {
                backward_tanh(own, &self.activations[l]);
                self.precision.round_all(own);
            }
            let own = &*own;
            column_sums(own, &mut self.gradient[layer.bias.clone()]);
            let input = match l {
                0 => images,
                _ => &self.activations[l - 1][..],
            };
            let errors = HostMatrix::row_major(own, rows, layer.outputs)?;
            // dW = δᵀ X
            product(
                &mut self.gradient[layer.weight.clone()],
                errors.transposed(),
                HostMatrix::row_major(input, rows, layer.inputs)?,
                false,
            )?;
            if l > 0 {
                // δ of the layer before = δ W
                let weight = &params[layer.weight.clone()];
                product(
                    &mut next[..rows * layer.inputs],
                    errors,
                    HostMatrix::row_major(weight, layer.outputs, layer.inputs)?,
                    false,
                )?;
                self.precision.round_all(&mut next[..rows * layer.inputs]);
                std::mem::swap(&mut delta, &mut next);
            }
        }
        self.activations[last] = logits;
        self.deltas = [delta, next];
        Ok((loss, &self.gradient))
    }

    /// The mean loss over all images, in batches; the last may be short.
    pub fn evaluate(&mut self, params: &[f32], images: &Images) -> Result<f64, NetworkError> {
        let pixels = self.layers[0].inputs;
        mean_over_batches(images, self.batch, pixels, |values, rows| {
            let values = &*self.rounded(values);
            self.forward(params, values, rows)?;
            let logits = &self.activations[self.layers.len() - 1][..rows * pixels];
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
