//! The network on host memory, the route of CPU adapters.

use sonew_kernels::matmul::{HostMatrix, host as product};
use sonew_kernels::network::host::{activate, backward_tanh, column_sums, loss, loss_and_gradient};
use sonew_kernels::segments::Segments;

use super::NetworkError;
use crate::data::Images;

/// One layer's part of the arena.
struct Layer {
    inputs: usize,
    outputs: usize,
    linear: bool,
    weight: std::ops::Range<usize>,
    bias: std::ops::Range<usize>,
}

/// Layers, and room for the activations of one batch.
pub(super) struct HostNetwork {
    segments: Segments,
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
    pub fn new(sizes: &[usize], batch: usize) -> Result<Self, NetworkError> {
        let lengths: Vec<usize> = sizes
            .windows(2)
            .flat_map(|pair| [pair[0] * pair[1], pair[1]])
            .collect();
        let segments = Segments::new(&lengths)?;
        let count = sizes.len() - 1;
        let layers: Vec<Layer> = sizes
            .windows(2)
            .enumerate()
            .map(|(l, pair)| Layer {
                inputs: pair[0],
                outputs: pair[1],
                // The code, in the middle, and the logits.
                linear: l + 1 == count || l + 1 == count / 2,
                weight: segments.tensors()[2 * l].clone(),
                bias: segments.tensors()[2 * l + 1].clone(),
            })
            .collect();
        let widest = sizes[1..count].iter().max().copied().unwrap_or(0);
        Ok(Self {
            activations: sizes[1..].iter().map(|n| vec![0.0; n * batch]).collect(),
            deltas: [vec![0.0; widest * batch], vec![0.0; widest * batch]],
            gradient: vec![0.0; segments.arena_len()],
            segments,
            layers,
            batch,
        })
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
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
            activate(out, &params[layer.bias.clone()], layer.linear);
        }
        Ok(())
    }

    /// The loss of a full batch and its gradient.
    pub fn gradients(
        &mut self,
        params: &[f32],
        images: &[f32],
    ) -> Result<(f64, &[f32]), NetworkError> {
        let pixels = self.layers[0].inputs;
        if images.len() != self.batch * pixels {
            return Err(NetworkError::Shape {
                argument: "images",
                found: format!("{} values", images.len()),
                expected: format!("{} images of {pixels} pixels", self.batch),
            });
        }
        self.forward(params, images, self.batch)?;
        let last = self.layers.len() - 1;
        let rows = self.batch;
        let mut logits = std::mem::take(&mut self.activations[last]);
        let loss = loss_and_gradient(&mut logits, images, pixels);
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
        let mut batch = vec![0.0; self.batch * pixels];
        let mut total = 0.0;
        let indices: Vec<u32> = (0..images.count as u32).collect();
        for chunk in indices.chunks(self.batch) {
            let rows = chunk.len();
            let batch = &mut batch[..rows * pixels];
            images.fill_batch(chunk, batch)?;
            self.forward(params, batch, rows)?;
            let logits = &self.activations[self.layers.len() - 1][..rows * pixels];
            total += loss(logits, batch, pixels) * rows as f64;
        }
        Ok(total / images.count as f64)
    }
}
