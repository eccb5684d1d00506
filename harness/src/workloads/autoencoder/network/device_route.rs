//! The network in device memory, the route of graphics processors.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::network::{DenseLayers, ImageOrder, Layer as Dense, PackedImages};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::image_set::check_images;
use super::layout::NetworkLayout;
use super::{Gradients, NetworkError};
use crate::workloads::layers::DeviceLayers;

/// Layers, and room for the values of one batch.
pub(super) struct DeviceRoute {
    layers: DeviceLayers,
    pixels: usize,
    batch: usize,
}

impl DeviceRoute {
    pub fn new(
        context: &Context,
        precision: PrecisionKind,
        layout: NetworkLayout,
        batch: usize,
        products: Multiplication,
    ) -> Result<Self, NetworkError> {
        let NetworkLayout { layout, layers } = layout;
        let arena = layout.arena_len();
        let dense: Vec<Dense> = layers.iter().map(Dense::from).collect();
        let pixels = layers.first().map_or(0, |layer| layer.inputs);
        let layers = DenseLayers::new(context, dense, precision, arena, batch, products)?;
        Ok(Self {
            layers: DeviceLayers::new(context, precision, layout, layers, batch)?,
            pixels,
            batch,
        })
    }

    pub fn layout(&self) -> &Layout {
        self.layers.layout()
    }

    /// The loss of a full batch and its gradient, times `scale`.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        images: &[f32],
        scale: f64,
    ) -> Result<Gradients, NetworkError> {
        check_images(images, self.batch, self.pixels)?;
        let images = context.upload(images);
        let batch = self.batch;
        let grads = self.layers.gradients(context, params, scale, |layers, _| {
            layers.place(context, &images, batch)
        })?;
        let loss = self.layers.last_loss(context)?;
        Ok(Gradients { loss, grads })
    }

    /// The gradient, times `scale`, of the batch that begins at image `first` of an order; its loss stays on the device.
    pub fn gradients_of(
        &mut self,
        context: &Context,
        params: &Arena,
        (images, order): (&PackedImages, &ImageOrder),
        first: usize,
        scale: f64,
    ) -> Result<Arena, NetworkError> {
        let batch = self.batch;
        self.layers.gradients(context, params, scale, |layers, _| {
            layers.gather(context, images, order, first, batch)
        })
    }

    /// The losses of the batches since this was last asked; waits for them.
    pub fn losses(&mut self, context: &Context) -> Result<Vec<f64>, NetworkError> {
        self.layers.losses(context)
    }

    /// The mean loss over all images, in batches; the last may be short.
    pub fn evaluate(
        &mut self,
        context: &Context,
        params: &Arena,
        (images, order): (&PackedImages, &ImageOrder),
    ) -> Result<f64, NetworkError> {
        let take_in = |layers: &mut DenseLayers, _: &Arena, first: usize, rows: usize| {
            layers.gather(context, images, order, first, rows)
        };
        self.layers
            .mean_loss(context, params, images.count(), take_in)
    }
}

#[cfg(test)]
mod tests {
    use sonew_kernels::context::Profile;
    use sonew_kernels::network::reference::{Layer as Oracle, loss_and_gradients};
    use sonew_runtime::{Device, Selector};

    use super::*;
    use crate::workloads::autoencoder::images::Images;
    use crate::workloads::autoencoder::network::{Network, Route};
    use crate::workloads::autoencoder::weights::Weights;

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
            let context = Context::new(device.client, Profile::LLVMPIPE);
            let weights = self.weights();
            let tensors = weights.values();
            [Route::Host, Route::Device].map(|route| {
                let mut network =
                    Network::new(&context, self.precision, &SIZES, BATCH, route).unwrap();
                let layout = network.layout().clone();
                let format = self.precision.format();
                let params = Arena::of(&context, &layout, format, &tensors).unwrap();
                let evaluated = {
                    let images = images();
                    let set = network.image_set(&context, &images).unwrap();
                    network.evaluate(&context, &params, &set).unwrap()
                };
                // What a call leaves behind does not show in the next.
                let mut ask = || {
                    network
                        .gradients(&context, &params, &values(BATCH), 1.0)
                        .unwrap()
                };
                let first = ask().loss;
                let gradients = ask();
                assert_eq!(first.to_bits(), gradients.loss.to_bits());
                let all = gradients.grads.view(&context, "test", <[f32]>::to_vec);
                let arena = all.unwrap();
                let gaps_are_zero = arena
                    .iter()
                    .enumerate()
                    .all(|(at, &g)| g == 0.0 || layout.locate(at).is_some());
                Found {
                    loss: gradients.loss,
                    evaluated,
                    gradients: layout.scatter(&arena),
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
