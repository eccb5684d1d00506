//! Dense layers in host memory: products and elementwise parts of one batch.

use std::borrow::Cow;

use sonew_kernels::arena::Layout;
use sonew_kernels::network::elementwise::{activate, backward_tanh, column_sums};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::{HostMatrix, host as product};

use super::{Layer, NetworkError};

/// Layers, and room for the activations of one batch.
pub(in crate::workloads) struct HostLayers {
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

impl HostLayers {
    pub fn new(precision: PrecisionKind, layout: Layout, layers: Vec<Layer>, batch: usize) -> Self {
        let buffers = |layer: &Layer| vec![0.0; layer.outputs * batch];
        let hidden = layers.iter().skip(1).map(|layer| layer.inputs);
        let widest = hidden.max().unwrap_or(0) * batch;
        Self {
            precision,
            activations: layers.iter().map(buffers).collect(),
            deltas: [vec![0.0; widest], vec![0.0; widest]],
            gradient: vec![0.0; layout.arena_len()],
            layout,
            layers,
            batch,
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Values in the format of the precision.
    pub fn rounded<'a>(&self, values: &'a [f32]) -> Cow<'a, [f32]> {
        let mut values = Cow::Borrowed(values);
        if self.precision.parameter_bytes() < 4 {
            self.precision.round_all(values.to_mut());
        }
        values
    }

    /// The logits of `rows` rows, which `input` has in the format of the precision.
    pub fn logits(
        &mut self,
        params: &[f32],
        input: &[f32],
        rows: usize,
    ) -> Result<&[f32], NetworkError> {
        self.forward(params, input, rows)?;
        let last = self.layers.len() - 1;
        Ok(&self.activations[last][..rows * self.layers[last].outputs])
    }

    /// Fills the activations of the first `rows` rows; the last layer's are logits.
    fn forward(&mut self, params: &[f32], input: &[f32], rows: usize) -> Result<(), NetworkError> {
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = self.activations.split_at_mut(l);
            let input = match before.last() {
                Some(activation) => &activation[..rows * layer.inputs],
                None => input,
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

    /// Forward and back with a full batch, which `input` has in the format of the precision. `loss` finds the loss of logits and makes
    /// its gradient of them; [`HostLayers::gradient`] then has that of the layers, and `back`, if there is one, that of `input`.
    pub fn forward_and_back(
        &mut self,
        params: &[f32],
        input: &[f32],
        loss: impl FnOnce(&mut [f32]) -> f64,
        mut back: Option<&mut [f32]>,
    ) -> Result<f64, NetworkError> {
        self.forward(params, input, self.batch)?;
        let last = self.layers.len() - 1;
        let rows = self.batch;
        let mut logits = std::mem::take(&mut self.activations[last]);
        let loss = loss(&mut logits);
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
            let taken_in = match l {
                0 => input,
                _ => &self.activations[l - 1][..],
            };
            let errors = HostMatrix::row_major(own, rows, layer.outputs)?;
            // dW = δᵀ X
            product(
                &mut self.gradient[layer.weight.clone()],
                errors.transposed(),
                HostMatrix::row_major(taken_in, rows, layer.inputs)?,
                false,
            )?;
            // δ of the layer before = δ W
            let before = match (l, &mut back) {
                (0, None) => continue,
                (0, Some(back)) => &mut **back,
                _ => &mut next[..rows * layer.inputs],
            };
            let weight = &params[layer.weight.clone()];
            product(
                before,
                errors,
                HostMatrix::row_major(weight, layer.outputs, layer.inputs)?,
                false,
            )?;
            self.precision.round_all(before);
            std::mem::swap(&mut delta, &mut next);
        }
        self.activations[last] = logits;
        self.deltas = [delta, next];
        Ok(loss)
    }

    /// The gradient, an arena whose gaps are zero.
    pub fn gradient(&mut self) -> &mut [f32] {
        &mut self.gradient
    }
}
