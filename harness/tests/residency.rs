//! What a training step on a device costs beside its work: launches, uploads, waits and memory.

use std::rc::Rc;

use sonew_harness::workloads::autoencoder::images::Images;
use sonew_harness::workloads::autoencoder::network::{Network, Route};
use sonew_harness::workloads::autoencoder::weights::Weights;
use sonew_optimizers::{Arena, Context, OptimizerConfig, PrecisionKind, Profile};
use sonew_runtime::Selector;

/// As many layers as the paper's autoencoder.
const SIZES: [usize; 9] = [12, 10, 9, 7, 3, 7, 9, 10, 12];
const BATCH: usize = 4;

fn images() -> Images {
    let count = 3 * BATCH + 1;
    Images {
        count,
        rows: 3,
        cols: 4,
        pixels: (0..count * 12).map(|i| (i * 37) as u8).collect(),
    }
}

/// What a step launched, uploaded and waited for, after the first two; the same in each.
fn cost_of_a_step(context: &Rc<Context>, name: &str, precision: PrecisionKind) -> [u64; 3] {
    let mut network = Network::new(context, precision, &SIZES, BATCH, Route::Device).unwrap();
    let weights = Weights::glorot_uniform(&SIZES, 1).unwrap();
    let tensors = weights.values();
    let layout = network.layout();
    let params = Arena::of(context, layout, precision.format(), &tensors).unwrap();
    let config = OptimizerConfig::named(name).unwrap();
    let layout = network.layout().clone();
    let mut optimizer = config.build(precision, context.clone(), &layout).unwrap();
    let images = images();
    let set = network.image_set(context, &images).unwrap();
    let order = network
        .order(context, &set, (0..12).rev().collect())
        .unwrap();
    let mut step = |number: usize| {
        let before = [context.launches(), context.uploads(), context.waits()];
        let scale = optimizer.loss_scale();
        let grads = network
            .gradients_of(context, &params, (&set, &order), number % 3, scale)
            .unwrap();
        optimizer.step(&params, &grads, 1e-3).unwrap();
        let after = [context.launches(), context.uploads(), context.waits()];
        [0, 1, 2].map(|i| after[i] - before[i])
    };
    step(0);
    let second = step(1);
    let reserved = || context.client().memory_usage().unwrap().bytes_reserved;
    let before = reserved();
    for number in 2..60 {
        assert_eq!(step(number), second, "{name} in {precision}, step {number}");
    }
    assert_eq!(reserved(), before, "{name} in {precision}");
    // The losses are there, in order: the same batch, trained on, has another.
    let losses = network.losses(context).unwrap();
    assert_eq!(losses.len(), 60);
    assert!(losses.iter().all(|loss| loss.is_finite()));
    assert!(losses[57] < losses[0], "{} {}", losses[57], losses[0]);
    second
}

#[test]
fn a_step_on_the_device_launches_few_kernels_and_uploads_and_waits_for_nothing() {
    let device = sonew_runtime::open(Selector::Software)
        .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
    let context = Rc::new(Context::new(device.client, Profile::LLVMPIPE));
    // The batch, eight layers forward, seven back, all gradients at once, and the optimizer; with 16 bits also to f32 and back.
    for (name, precision, launches) in [
        ("adam", PrecisionKind::F32, 18),
        ("tridiag-sonew", PrecisionKind::F32, 18),
        ("band-4-sonew", PrecisionKind::F32, 18),
        ("tridiag-sonew", PrecisionKind::Bf16, 20),
        ("adam", PrecisionKind::Bf16Mixed, 20),
    ] {
        let cost = cost_of_a_step(&context, name, precision);
        assert_eq!(cost, [launches, 0, 0], "{name} in {precision}");
    }
}

#[test]
fn losses_of_more_steps_than_the_device_keeps_are_all_told_and_those_of_the_host_route() {
    let device = sonew_runtime::open(Selector::Software)
        .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
    let context = Context::new(device.client, Profile::LLVMPIPE);
    let images = images();
    let weights = Weights::glorot_uniform(&SIZES, 1).unwrap();
    let losses = |route| {
        let kind = PrecisionKind::F32;
        let mut network = Network::new(&context, kind, &SIZES, BATCH, route).unwrap();
        let tensors = weights.values();
        let layout = network.layout();
        let params = Arena::of(&context, layout, kind.format(), &tensors).unwrap();
        let set = network.image_set(&context, &images).unwrap();
        let order = network.order(&context, &set, (0..12).collect()).unwrap();
        for number in 0..150 {
            let batch = (&set, &order);
            network
                .gradients_of(&context, &params, batch, number % 3, 1.0)
                .unwrap();
            // An evaluation between does not lose any.
            if number == 70 {
                network.evaluate(&context, &params, &set).unwrap();
            }
        }
        assert!(
            network
                .gradients_of(&context, &params, (&set, &order), 3, 1.0)
                .is_err()
        );
        let losses = network.losses(&context).unwrap();
        assert!(network.losses(&context).unwrap().is_empty());
        losses
    };
    let (host, on_device) = (losses(Route::Host), losses(Route::Device));
    assert_eq!((host.len(), on_device.len()), (150, 150));
    for (host, on_device) in host.iter().zip(&on_device) {
        assert!((host - on_device).abs() < 1e-5 * host, "{host} {on_device}");
    }
}
