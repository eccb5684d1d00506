//! The network in device memory, the route of graphics processors.

use std::ops::Range;

use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::matmul::{Blueprint, DeviceMatrix, device as product};
use sonew_kernels::network::activation::{activate, backward_tanh};
use sonew_kernels::network::dense::{column_sums, column_sums_scratch};
use sonew_kernels::network::loss::{LANES, loss, mean_loss};
use sonew_kernels::network::rounding::round;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::segments::Segments;
use sonew_kernels::sweep::Strategy;

use super::{Gradients, Layer, Layout, NetworkError, check_images, mean_over_batches};
use crate::data::Images;

/// Layers, and room for the activations of one batch.
pub(super) struct DeviceNetwork {
    precision: PrecisionKind,
    /// Parameters in f32 and the gradient in the parameters' format, where that is another.
    narrow: Option<[Handle; 2]>,
    segments: Segments,
    layers: Vec<Layer>,
    batch: usize,
    products: Strategy<Blueprint>,
    /// The output of each layer, [batch, outputs]; of the last the logits, then δ.
    activations: Vec<Handle>,
    /// δ of a hidden layer, two buffers that take turns.
    deltas: [Handle; 2],
    /// The partial losses of each row.
    partials: Handle,
    /// Column sums of chunks of rows.
    scratch: Handle,
    /// The gradient, an arena whose gaps stay zero.
    gradient: Handle,
}

impl DeviceNetwork {
    pub fn new(
        context: &Context,
        precision: PrecisionKind,
        layout: Layout,
        batch: usize,
        products: Strategy<Blueprint>,
    ) -> Self {
        let values = |count: usize| context.client().empty(4 * count);
        let Layout { segments, layers } = &layout;
        let delta = || values(layout.widest_hidden() * batch);
        let sums = |layer: &Layer| column_sums_scratch(batch, layer.outputs);
        let wide = || context.upload(&vec![0f32; segments.arena_len()]);
        let narrow = (precision.parameter_bytes() < 4).then(|| {
            let zeros = precision.encode(&vec![0.0; segments.arena_len()]);
            [wide(), context.upload(&zeros)]
        });
        Self {
            precision,
            narrow,
            activations: layers.iter().map(|l| values(l.outputs * batch)).collect(),
            deltas: [delta(), delta()],
            partials: values(batch * LANES),
            scratch: values(layers.iter().map(sums).max().unwrap_or(1)),
            gradient: wide(),
            segments: layout.segments,
            layers: layout.layers,
            batch,
            products,
        }
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Fills the activations of the first `rows` rows; the last layer's are logits.
    fn forward(
        &self,
        context: &Context,
        params: &Handle,
        images: &Handle,
        rows: usize,
    ) -> Result<(), NetworkError> {
        let mut input = images.clone();
        for (layer, activation) in self.layers.iter().zip(&self.activations) {
            let out = part(activation, 0..rows * layer.outputs);
            // Z = X Wᵀ
            product(
                context,
                &DeviceMatrix::row_major(out.clone(), rows, layer.outputs)?,
                &DeviceMatrix::row_major(input, rows, layer.inputs)?,
                &layer.weight_in(params)?.transposed(),
                self.products,
            )?;
            self.round(context, &out, rows, layer.outputs)?;
            let bias = part(params, layer.bias.clone());
            activate(context, &out, &bias, rows, layer.outputs, layer.linear)?;
            self.round(context, &out, rows, layer.outputs)?;
            input = out;
        }
        Ok(())
    }

    /// The loss of a full batch and its gradient, times `scale`.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Handle,
        images: &[f32],
        scale: f64,
    ) -> Result<Gradients, NetworkError> {
        let pixels = self.layers[0].inputs;
        let rows = self.batch;
        check_images(images, rows, pixels)?;
        let params = &self.wide_params(context, params)?;
        let images = context.upload(images);
        self.round(context, &images, rows, pixels)?;
        self.forward(context, params, &images, rows)?;
        let last = self.layers.len() - 1;
        let logits = &self.activations[last];
        let partials = &self.partials;
        loss(
            context,
            logits,
            &images,
            partials,
            rows,
            pixels,
            Some(scale),
        )?;
        self.round(context, logits, rows, pixels)?;
        let [mut delta, mut next] = self.deltas.clone();
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let own = if l == last { logits } else { &delta };
            let own = part(own, 0..rows * layer.outputs);
            if !layer.linear {
                backward_tanh(context, &own, &self.activations[l], rows, layer.outputs)?;
                self.round(context, &own, rows, layer.outputs)?;
            }
            let bias = part(&self.gradient, layer.bias.clone());
            column_sums(context, &own, &self.scratch, &bias, rows, layer.outputs)?;
            let input = match l {
                0 => &images,
                _ => &self.activations[l - 1],
            };
            let errors = DeviceMatrix::row_major(own, rows, layer.outputs)?;
            // dW = δᵀ X
            product(
                context,
                &layer.weight_in(&self.gradient)?,
                &errors.clone().transposed(),
                &DeviceMatrix::row_major(input.clone(), rows, layer.inputs)?,
                self.products,
            )?;
            if l > 0 {
                // δ of the layer before = δ W
                let before = part(&next, 0..rows * layer.inputs);
                product(
                    context,
                    &DeviceMatrix::row_major(before.clone(), rows, layer.inputs)?,
                    &errors,
                    &layer.weight_in(params)?,
                    self.products,
                )?;
                self.round(context, &before, rows, layer.inputs)?;
                std::mem::swap(&mut delta, &mut next);
            }
        }
        let mut grads = &self.gradient;
        if let Some([_, narrow]) = &self.narrow {
            self.precision
                .narrow(context, &self.segments, grads, narrow)?;
            grads = narrow;
        }
        Ok(Gradients {
            loss: mean_loss(context, &self.partials, rows)?,
            grads: grads.clone(),
        })
    }

    /// The parameters in f32.
    fn wide_params(&self, context: &Context, params: &Handle) -> Result<Handle, NetworkError> {
        let Some([wide, _]) = &self.narrow else {
            return Ok(params.clone());
        };
        self.precision
            .widen(context, &self.segments, params, wide)?;
        Ok(wide.clone())
    }

    fn round(
        &self,
        context: &Context,
        values: &Handle,
        rows: usize,
        columns: usize,
    ) -> Result<(), NetworkError> {
        let values = part(values, 0..rows * columns);
        Ok(round(context, self.precision, &values, rows, columns)?)
    }

    /// The mean loss over all images, in batches; the last may be short.
    pub fn evaluate(
        &self,
        context: &Context,
        params: &Handle,
        images: &Images,
    ) -> Result<f64, NetworkError> {
        let pixels = self.layers[0].inputs;
        let params = &self.wide_params(context, params)?;
        mean_over_batches(images, self.batch, pixels, |values, rows| {
            let targets = context.upload(values);
            self.round(context, &targets, rows, pixels)?;
            self.forward(context, params, &targets, rows)?;
            let logits = &self.activations[self.layers.len() - 1];
            let logits = part(logits, 0..rows * pixels);
            let partials = part(&self.partials, 0..rows * LANES);
            loss(context, &logits, &targets, &partials, rows, pixels, None)?;
            Ok(mean_loss(context, &partials, rows)?)
        })
    }
}

impl Layer {
    /// The layer's weights in an arena.
    fn weight_in(&self, arena: &Handle) -> Result<DeviceMatrix, NetworkError> {
        let weight = part(arena, self.weight.clone());
        Ok(DeviceMatrix::row_major(weight, self.outputs, self.inputs)?)
    }
}

/// The values `range` of a buffer of f32.
fn part(buffer: &Handle, range: Range<usize>) -> Handle {
    let left = buffer.size_in_used() - 4 * range.end as u64;
    buffer
        .clone()
        .offset_start(4 * range.start as u64)
        .offset_end(left)
}

#[cfg(test)]
mod tests {
    use sonew_kernels::context::Processor;
    use sonew_kernels::network::reference::{Layer as Oracle, loss_and_gradients};
    use sonew_runtime::{Device, Selector};

    use super::*;
    use crate::init::Weights;
    use crate::network::{Network, Route};

    const SIZES: [usize; 5] = [7, 5, 3, 5, 7];
    const BATCH: usize = 4;

    struct Found {
        loss: f64,
        evaluated: f64,
        gradients: Vec<Vec<f32>>,
        gaps_are_zero: bool,
    }

    /// Both routes, each asked twice, with the last layer's weights `scale` times as large.
    struct BothRoutes {
        scale: f32,
        precision: PrecisionKind,
    }

    impl BothRoutes {
        fn weights(&self) -> Weights {
            let mut weights = Weights::glorot_uniform(&SIZES, 3).unwrap();
            for (l, layer) in weights.layers.iter_mut().enumerate() {
                for (i, bias) in layer.bias.iter_mut().enumerate() {
                    *bias = ((i + l) as f32).sin() * 0.3;
                }
            }
            for w in &mut weights.layers[3].weight {
                *w *= self.scale;
            }
            for layer in &mut weights.layers {
                self.precision.round_all(&mut layer.weight);
                self.precision.round_all(&mut layer.bias);
            }
            weights
        }
    }

    /// Five images in batches of four: the last batch is short.
    fn images() -> Images {
        Images {
            count: BATCH + 1,
            rows: 1,
            cols: SIZES[0],
            pixels: (0..(BATCH + 1) * SIZES[0])
                .map(|i| (i * 37) as u8)
                .collect(),
        }
    }

    fn values(count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count * SIZES[0]];
        let indices: Vec<u32> = (0..count as u32).collect();
        images().fill_batch(&indices, &mut values).unwrap();
        values
    }

    impl BothRoutes {
        fn run(self, device: Device) -> [Found; 2] {
            let context = Context::new(device.client, Processor::Cpu);
            let weights = self.weights();
            let tensors: Vec<&[f32]> = weights
                .layers
                .iter()
                .flat_map(|layer| [&layer.weight[..], &layer.bias[..]])
                .collect();
            [Route::Host, Route::Device].map(|route| {
                let naive = Strategy::Forced(Blueprint::Naive);
                let mut network =
                    Network::with_products(&context, self.precision, &SIZES, BATCH, route, naive)
                        .unwrap();
                let segments = network.segments().clone();
                let arena = segments.gather(&tensors).unwrap();
                let params = context.upload(&self.precision.encode(&arena));
                let evaluated = network.evaluate(&context, &params, &images()).unwrap();
                // What a call leaves behind does not show in the next.
                let mut ask = || {
                    network
                        .gradients(&context, &params, &values(BATCH), 1.0)
                        .unwrap()
                };
                let first = ask().loss;
                let gradients = ask();
                assert_eq!(first.to_bits(), gradients.loss.to_bits());
                let bytes: Vec<u8> = context.download("test", &gradients.grads).unwrap();
                let arena = self.precision.decode(&bytes);
                let gaps_are_zero = arena
                    .iter()
                    .enumerate()
                    .all(|(at, &g)| g == 0.0 || segments.locate(at).is_some());
                Found {
                    loss: gradients.loss,
                    evaluated,
                    gradients: segments.scatter(&arena),
                    gaps_are_zero,
                }
            })
        }
    }

    #[test]
    fn both_routes_follow_the_oracle_even_for_large_logits() {
        for scale in [1.0, 60.0] {
            // f32 through four layers: some 100 roundings.
            follow_the_oracle(scale, PrecisionKind::F32, 1e-5, 2e-5);
        }
    }

    #[test]
    fn both_routes_follow_the_oracle_in_formats_of_16_bits() {
        // Four layers forward and back with three roundings each.
        for (precision, digits) in [
            (PrecisionKind::Bf16, 8),
            (PrecisionKind::F16, 11),
            (PrecisionKind::Bf16Mixed, 8),
        ] {
            let roundoff = 0.5f64.powi(digits);
            follow_the_oracle(1.0, precision, 6.0 * roundoff, 12.0 * roundoff);
        }
    }

    fn follow_the_oracle(scale: f32, precision: PrecisionKind, loss_error: f64, error: f64) {
        let check = BothRoutes { scale, precision };
        let oracle: Vec<Oracle> = check
            .weights()
            .layers
            .iter()
            .enumerate()
            .map(|(l, layer)| Oracle {
                inputs: layer.inputs,
                weight: layer.weight.iter().map(|&w| w.into()).collect(),
                bias: layer.bias.iter().map(|&b| b.into()).collect(),
                linear: l == 1 || l == 3,
            })
            .collect();
        let mut x = values(BATCH + 1);
        precision.round_all(&mut x);
        let x: Vec<f64> = x.iter().map(|&p| p.into()).collect();
        let all = loss_and_gradients(&oracle, &x, &x, BATCH + 1).0;
        let x = &x[..BATCH * SIZES[0]];
        let (loss, expected) = loss_and_gradients(&oracle, x, x, BATCH);
        let device = sonew_runtime::open(Selector::Software)
            .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
        for (found, route) in check.run(device).iter().zip(["host", "device"]) {
            assert!((found.loss - loss).abs() < loss_error * loss, "{route}");
            assert!((found.evaluated - all).abs() < loss_error * all, "{route}");
            assert!(found.gaps_are_zero, "{route}");
            let expected = expected.iter().flat_map(|(dw, db)| [dw, db]);
            for (t, (found, expected)) in found.gradients.iter().zip(expected).enumerate() {
                let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                for (f, e) in found.iter().zip(expected) {
                    let off = (f64::from(*f) - e).abs();
                    assert!(
                        off < error * largest,
                        "{route}, {precision}, tensor {t}: {f:e}, expected {e:e}"
                    );
                }
            }
        }
    }
}
