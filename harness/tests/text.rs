//! The model of text against the f64 oracle, through a real device, on both routes.

use sonew_harness::train::init::draw;
use sonew_harness::workloads::text::{Contexts, Gathered, Text, moby_dick};
use sonew_harness::workloads::{Objective, Workload};
use sonew_kernels::arena::Arena;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::network::reference::{self, Layer};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;
use sonew_runtime::Selector;

const LENGTH: usize = 5;
const WIDTH: usize = 6;
const HIDDEN: [usize; 2] = [20, 11];
const BATCH: usize = 10;
/// Contexts: two batches and a short one.
const COUNT: usize = 23;
const ORDER: [u32; 20] = [
    7, 3, 22, 0, 1, 9, 11, 4, 15, 20, 2, 3, 3, 8, 21, 19, 6, 17, 5, 13,
];

fn contexts() -> Contexts {
    let text = moby_dick().unwrap();
    Contexts::new(&text, COUNT + LENGTH, LENGTH).unwrap()
}

fn text() -> Text {
    Text::new(contexts(), WIDTH, &HIDDEN).unwrap()
}

fn objective<'a>(
    text: &'a Text,
    context: &Context,
    precision: PrecisionKind,
    batch: usize,
) -> Box<dyn Objective + 'a> {
    let auto = Multiplication::Auto;
    text.objective(context, precision, batch, auto).unwrap()
}

/// The software driver, as a CPU adapter or in the place of a graphics processor.
fn open(profile: Profile) -> Context {
    let device = sonew_runtime::open(Selector::Software)
        .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
    Context::new(device.client, profile)
}

/// First values in the format of a precision, biases too.
fn values(text: &Text, precision: PrecisionKind) -> Vec<Vec<f32>> {
    let mut values = draw(text.tensors(), 3);
    for (at, tensor) in values.iter_mut().enumerate() {
        if text.tensors()[at].name.starts_with('b') {
            let bias = |i: usize| ((i + at) as f32).sin() * 0.3;
            tensor
                .iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = bias(i));
        }
        precision.round_all(tensor);
    }
    values
}

/// The loss of contexts and the gradient of every tensor.
fn oracle(values: &[Vec<f32>], batch: &Gathered) -> (f64, Vec<Vec<f64>>) {
    let wide: Vec<Vec<f64>> = values
        .iter()
        .map(|tensor| tensor.iter().map(|&x| x.into()).collect())
        .collect();
    let pairs = wide[1..].chunks(2);
    let count = pairs.len();
    let layer = |(l, pair): (usize, &[Vec<f64>])| Layer {
        inputs: pair[0].len() / pair[1].len(),
        weight: pair[0].clone(),
        bias: pair[1].clone(),
        linear: l + 1 == count,
    };
    let layers: Vec<Layer> = pairs.enumerate().map(layer).collect();
    let Gathered { codes, next } = batch;
    let found = reference::coded_loss_and_gradients(&wide[0], WIDTH, &layers, codes, next);
    let of_layers = found.layers.into_iter().flat_map(|(w, b)| [w, b]);
    let gradients = [found.input].into_iter().chain(of_layers).collect();
    (found.loss, gradients)
}

#[test]
fn both_routes_follow_the_oracle_in_every_precision() {
    let text = text();
    let batch = contexts().gather(&ORDER[BATCH..]).unwrap();
    let all = contexts().all().unwrap();
    // Three layers forward and back: some 100 roundings of f32, and three or four a layer of 16 bits.
    for (precision, loss_error, error) in [
        (PrecisionKind::F32, 1e-6, 2e-6),
        (PrecisionKind::Bf16, 0.02, 0.05),
        (PrecisionKind::Bf16Mixed, 0.02, 0.05),
        (PrecisionKind::F16, 0.0025, 0.006),
        (PrecisionKind::F16Mixed, 0.0025, 0.006),
    ] {
        let values = values(&text, precision);
        let (loss, gradients) = oracle(&values, &batch);
        let of_all = oracle(&values, &all).0;
        for profile in [Profile::LLVMPIPE, Profile::GPU] {
            let context = open(profile);
            let what = format!("{precision}, {profile:?}");
            let format = precision.format();
            let params = Arena::of(&context, text.layout(), format, &values).unwrap();
            let mut objective = objective(&text, &context, precision, BATCH);
            objective.set_order(&context, ORDER.to_vec()).unwrap();
            let found = objective.gradients(&context, &params, 1, 1.0).unwrap();
            let found = found.view(&context, "test", <[f32]>::to_vec).unwrap();
            let told = objective.losses(&context).unwrap();
            assert!(
                (told[0] - loss).abs() < loss_error * loss,
                "{what}: {told:?}, {loss}"
            );
            let mean = objective.evaluate(&context, &params).unwrap();
            assert!(
                (mean - of_all).abs() < loss_error * of_all,
                "{what}: {mean}, {of_all}"
            );
            let found = text.layout().scatter(&found);
            for ((found, expected), tensor) in found.iter().zip(&gradients).zip(text.tensors()) {
                let largest = expected.iter().fold(0.0f64, |most, g| most.max(g.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    let off = (f64::from(*found) - expected).abs();
                    assert!(
                        off < error * largest,
                        "{what}, {}: {found:e}, expected {expected:e}",
                        tensor.name
                    );
                }
            }
        }
    }
}

#[test]
fn a_step_on_the_device_launches_as_much_for_any_batch_and_uploads_and_waits_for_nothing() {
    let text = text();
    let cost = |batch: usize, precision| {
        let context = open(Profile::GPU);
        let values = values(&text, precision);
        let format = precision.format();
        let params = Arena::of(&context, text.layout(), format, &values).unwrap();
        let mut objective = objective(&text, &context, precision, batch);
        objective.set_order(&context, ORDER.to_vec()).unwrap();
        let counts = || [context.launches(), context.uploads(), context.waits()];
        let mut step = |number: usize| {
            let before = counts();
            objective.gradients(&context, &params, number, 1.0).unwrap();
            let after = counts();
            [0, 1, 2].map(|i| after[i] - before[i])
        };
        // All launches of the first are waited for, to be told what they refuse.
        step(0);
        let second = step(1);
        assert_eq!(step(0), second);
        let losses = objective.losses(&context).unwrap();
        assert_eq!(losses.len(), 3);
        assert_eq!(losses[0].to_bits(), losses[2].to_bits());
        second
    };
    // Rows of the table, three layers forward, their loss, two back, all gradients at once, and two launches to the table.
    for batch in [1, 4, 10] {
        assert_eq!(cost(batch, PrecisionKind::F32), [10, 0, 0], "{batch}");
    }
    // To f32, and back.
    assert_eq!(cost(4, PrecisionKind::F16), [12, 0, 0]);
}

#[test]
fn both_routes_train_to_the_same_losses_whatever_was_asked_between() {
    let text = text();
    let precision = PrecisionKind::F32;
    let losses = |profile| {
        let context = open(profile);
        let mut values = values(&text, precision);
        let mut objective = objective(&text, &context, precision, BATCH);
        objective.set_order(&context, ORDER.to_vec()).unwrap();
        let mut losses = Vec::new();
        // More than the device keeps the losses of.
        for step in 0..70 {
            let params = Arena::of(&context, text.layout(), precision.format(), &values).unwrap();
            let found = objective
                .gradients(&context, &params, step % 2, 1.0)
                .unwrap();
            let found = found.view(&context, "test", <[f32]>::to_vec).unwrap();
            for (tensor, gradient) in values.iter_mut().zip(text.layout().scatter(&found)) {
                for (w, g) in tensor.iter_mut().zip(gradient) {
                    *w -= 0.3 * g;
                }
            }
            if step == 30 {
                losses.push(objective.evaluate(&context, &params).unwrap());
            }
        }
        losses.extend(objective.losses(&context).unwrap());
        losses
    };
    let (host, on_device) = (losses(Profile::LLVMPIPE), losses(Profile::GPU));
    assert_eq!((host.len(), on_device.len()), (71, 71));
    assert!(host[70] < 0.5 * host[1], "{} {}", host[1], host[70]);
    for (host, on_device) in host.iter().zip(&on_device) {
        assert!((host - on_device).abs() < 1e-4 * host, "{host} {on_device}");
    }
}
