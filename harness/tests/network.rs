//! The autoencoder's loss and gradient against the f64 oracle, through a real device.

use sonew_harness::workloads::autoencoder::images::Images;
use sonew_harness::workloads::autoencoder::network::{Network, Route};
use sonew_harness::workloads::autoencoder::weights::Weights;
use sonew_kernels::arena::Arena;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::network::reference::{Layer, loss_and_gradients};
use sonew_kernels::precision::{Format, PrecisionKind};
use sonew_runtime::{Device, Selector};

const SIZES: [usize; 5] = [12, 9, 4, 7, 12];
const BATCH: usize = 6;

fn pixels() -> Vec<f32> {
    (0..BATCH * SIZES[0])
        .map(|i| ((i * 37) % 256) as f32 / 255.0)
        .collect()
}

struct Check {
    weights: Weights,
    route: Route,
}

struct Found {
    loss: f64,
    evaluated: f64,
    gradients: Vec<Vec<f32>>,
    gaps_are_zero: bool,
}

impl Check {
    fn run(self, device: Device) -> Found {
        let context = Context::new(device.client, Profile::LLVMPIPE);
        let mut network =
            Network::new(&context, PrecisionKind::F32, &SIZES, BATCH, self.route).unwrap();
        let layout = network.layout().clone();
        let tensors = self.weights.values();
        let params = Arena::of(&context, &layout, Format::F32, &tensors).unwrap();
        let gradients = network
            .gradients(&context, &params, &pixels(), 1.0)
            .unwrap();
        let all = gradients.grads.view(&context, "test", <[f32]>::to_vec);
        let arena = all.unwrap();
        // Seven images in batches of six: the last batch is short.
        let mut bytes: Vec<u8> = pixels().iter().map(|p| (p * 255.0).round() as u8).collect();
        bytes.extend_from_within(..SIZES[0]);
        let images = Images {
            count: BATCH + 1,
            rows: 3,
            cols: 4,
            pixels: bytes,
        };
        let gaps_are_zero = arena
            .iter()
            .enumerate()
            .all(|(at, &g)| g == 0.0 || layout.locate(at).is_some());
        Found {
            loss: gradients.loss,
            evaluated: {
                let set = network.image_set(&context, &images).unwrap();
                network.evaluate(&context, &params, &set).unwrap()
            },
            gradients: layout.scatter(&arena),
            gaps_are_zero,
        }
    }
}

#[test]
fn both_routes_follow_the_oracle_even_for_large_logits() {
    for (scale, route) in [1.0, 40.0]
        .into_iter()
        .flat_map(|scale| [(scale, Route::Host), (scale, Route::Device)])
    {
        let mut weights = Weights::glorot_uniform(&SIZES, 3).unwrap();
        for (l, layer) in weights.layers.iter_mut().enumerate() {
            for (i, bias) in layer.bias.iter_mut().enumerate() {
                *bias = ((i + l) as f32).sin() * 0.3;
            }
        }
        for w in &mut weights.layers[3].weight {
            *w *= scale;
        }
        let layers: Vec<Layer> = weights
            .layers
            .iter()
            .enumerate()
            .map(|(l, layer)| Layer {
                inputs: layer.inputs,
                weight: layer.weight.iter().map(|&w| w.into()).collect(),
                bias: layer.bias.iter().map(|&b| b.into()).collect(),
                linear: l == 1 || l == 3,
            })
            .collect();
        let x: Vec<f64> = pixels().iter().map(|&p| p.into()).collect();
        let (loss, gradients) = loss_and_gradients(&layers, &x, &x, BATCH);
        let device = sonew_runtime::open(Selector::Software)
            .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
        let found = Check { weights, route }.run(device);
        // f32 forward and backward passes of four layers: some 100 roundings, far below 10⁻⁵ relative.
        assert!(
            (found.loss - loss).abs() < 1e-5 * loss,
            "{} {loss}",
            found.loss
        );
        let first = loss_and_gradients(&layers, &x[..SIZES[0]], &x[..SIZES[0]], 1).0;
        let all = (loss * BATCH as f64 + first) / (BATCH + 1) as f64;
        assert!(
            (found.evaluated - all).abs() < 1e-5 * all,
            "{} {all}",
            found.evaluated
        );
        assert!(found.gaps_are_zero);
        for (l, (dw, db)) in gradients.iter().enumerate() {
            for (tensor, expected) in [(2 * l, dw), (2 * l + 1, db)] {
                let size = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                for (f, e) in found.gradients[tensor].iter().zip(expected) {
                    assert!(
                        (f64::from(*f) - e).abs() < 2e-5 * size,
                        "layer {l}: {f} {e}"
                    );
                }
            }
        }
    }
}
