//! Every workload of the list: its gradients are those of its losses, and its mean loss is that of its batches.

use clap::Command;
use sonew_harness::train::init::draw;
use sonew_harness::workloads::{ALL, Objective, Workload};
use sonew_kernels::arena::Arena;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;
use sonew_runtime::Selector;

use crate::points::Points;

/// Options that make a workload small enough for a test; the others are small as they are.
const SMALL: &[(&str, &str)] = &[
    (
        "autoencoder",
        "--train-images 12 --sizes 784,12,5,3,5,12,784",
    ),
    (
        "text",
        "--text-characters 28 --text-context 4 --text-embedding 3 --text-hidden 9,7",
    ),
];
const PRECISION: PrecisionKind = PrecisionKind::F32;

/// Every workload of the list, and the one of these tests.
fn workloads() -> Vec<(&'static str, Box<dyn Workload>)> {
    let listed = ALL.iter().map(|entry| {
        let small = SMALL.iter().find(|(name, _)| *name == entry.name);
        let arguments = small.map_or("", |(_, arguments)| arguments);
        let command = entry.augment(Command::new("sonew").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments.split_whitespace());
        let options = entry.read(&matches.unwrap()).unwrap();
        (entry.name, options.open().unwrap())
    });
    let own: Box<dyn Workload> = Box::new(Points::new(12));
    listed.chain([("points", own)]).collect()
}

/// A workload on the software driver, which stands in for both processors.
struct Check<'a> {
    name: String,
    context: Context,
    workload: &'a dyn Workload,
    batch: usize,
}

impl Check<'_> {
    fn objective(&self) -> Box<dyn Objective + '_> {
        let products = Multiplication::Auto;
        let workload = self.workload;
        workload
            .objective(&self.context, PRECISION, self.batch, products)
            .unwrap()
    }

    /// All batches in the order of the data.
    fn all(&self) -> Vec<u32> {
        (0..self.workload.examples().count as u32).collect()
    }

    fn params(&self, values: &[Vec<f32>]) -> Arena {
        let layout = self.workload.layout();
        Arena::of(&self.context, layout, PRECISION.format(), values).unwrap()
    }

    /// The loss of the first batch, and its gradient, an arena.
    fn ask(
        &self,
        objective: &mut dyn Objective,
        values: &[Vec<f32>],
        scale: f64,
    ) -> (f64, Vec<f32>) {
        let params = self.params(values);
        let found = objective
            .gradients(&self.context, &params, 0, scale)
            .unwrap();
        let gradient = found.view(&self.context, "test", <[f32]>::to_vec).unwrap();
        let losses = objective.losses(&self.context).unwrap();
        assert_eq!(losses.len(), 1, "{}", self.name);
        (losses[0], gradient)
    }
}

/// Has `check` look at every workload, on the route of CPU adapters and on that of graphics processors.
fn each(check: impl Fn(&Check<'_>)) {
    for (name, workload) in workloads() {
        for profile in [Profile::LLVMPIPE, Profile::GPU] {
            let device = sonew_runtime::open(Selector::Software)
                .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
            let count = workload.examples().count;
            check(&Check {
                name: format!("{name}, {profile:?}"),
                context: Context::new(device.client, profile),
                workload: &*workload,
                batch: (1..=4).rev().find(|it| count.is_multiple_of(*it)).unwrap(),
            });
        }
    }
}

#[test]
fn tensors_have_names_of_their_own_and_lie_in_the_arena_in_their_order() {
    for (name, workload) in workloads() {
        let tensors = workload.tensors();
        let shapes: Vec<_> = tensors.iter().map(|it| it.shape.clone()).collect();
        assert_eq!(workload.layout().shapes(), shapes, "{name}");
        let mut names: Vec<_> = tensors.iter().map(|it| &it.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tensors.len(), "{name}");
    }
}

#[test]
fn the_gradient_of_every_tensor_is_the_slope_of_the_loss() {
    each(|check| {
        let mut objective = check.objective();
        objective.set_order(&check.context, check.all()).unwrap();
        let values = draw(check.workload.tensors(), 3);
        let (loss, arena) = check.ask(&mut *objective, &values, 1.0);
        let gradients = check.workload.layout().scatter(&arena);
        for (at, tensor) in check.workload.tensors().iter().enumerate() {
            let gradient = &gradients[at];
            let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
            assert!(square > 0.0, "{}, {}", check.name, tensor.name);
            // To first order the loss changes by a few hundred times what f32 rounds, and little enough for what is not of first
            // order.
            let step = 3e-5 * loss / square;
            let [up, down] = [step, -step].map(|step| {
                let mut moved = values.clone();
                for (value, &g) in moved[at].iter_mut().zip(gradient) {
                    *value += (step * f64::from(g)) as f32;
                }
                check.ask(&mut *objective, &moved, 1.0).0
            });
            let slope = (up - down) / (2.0 * step * square);
            assert!(
                (slope - 1.0).abs() < 0.02,
                "{}, {}: {slope}",
                check.name,
                tensor.name
            );
        }
    });
}

#[test]
fn a_scale_is_that_of_the_gradient_only_and_the_gaps_of_the_arena_stay_zero() {
    each(|check| {
        let mut objective = check.objective();
        objective.set_order(&check.context, check.all()).unwrap();
        let values = draw(check.workload.tensors(), 3);
        let (loss, plain) = check.ask(&mut *objective, &values, 1.0);
        let (same, scaled) = check.ask(&mut *objective, &values, 8.0);
        assert_eq!(loss.to_bits(), same.to_bits(), "{}", check.name);
        let largest = plain.iter().fold(0f32, |most, g| most.max(g.abs()));
        for (at, (g, scaled)) in plain.iter().zip(&scaled).enumerate() {
            assert!(
                (8.0 * g - scaled).abs() <= 1e-5 * 8.0 * largest,
                "{}",
                check.name
            );
            let inside = check.workload.layout().locate(at).is_some();
            assert!(inside || (*g == 0.0 && *scaled == 0.0), "{}", check.name);
        }
    });
}

#[test]
fn the_loss_over_all_examples_is_the_mean_of_those_of_the_batches() {
    each(|check| {
        let mut objective = check.objective();
        let context = &check.context;
        objective.set_order(context, check.all()).unwrap();
        let values = draw(check.workload.tensors(), 3);
        let params = check.params(&values);
        let batches = check.workload.examples().count / check.batch;
        for number in 0..batches {
            objective.gradients(context, &params, number, 1.0).unwrap();
        }
        let losses = objective.losses(context).unwrap();
        assert_eq!(losses.len(), batches, "{}", check.name);
        let mean = losses.iter().sum::<f64>() / batches as f64;
        let found = objective.evaluate(context, &params).unwrap();
        assert!(
            (found - mean).abs() < 1e-5 * mean,
            "{}: {found}, {mean}",
            check.name
        );
        // What was told is not told again.
        assert!(
            objective.losses(context).unwrap().is_empty(),
            "{}",
            check.name
        );
    });
}

#[test]
fn examples_and_batches_that_are_not_there_are_refused() {
    each(|check| {
        let mut objective = check.objective();
        let context = &check.context;
        let values = draw(check.workload.tensors(), 3);
        let params = check.params(&values);
        let name = &check.name;
        let none = objective.gradients(context, &params, 0, 1.0);
        assert!(none.is_err(), "{name}: no order");
        let outside = vec![check.workload.examples().count as u32; check.batch];
        let found = objective
            .set_order(context, outside)
            .and_then(|()| objective.gradients(context, &params, 0, 1.0));
        assert!(found.is_err(), "{name}: an example too many");
        objective.set_order(context, check.all()).unwrap();
        let batches = check.workload.examples().count / check.batch;
        let past = objective.gradients(context, &params, batches, 1.0);
        assert!(past.is_err(), "{name}: a batch too many");
    });
}
