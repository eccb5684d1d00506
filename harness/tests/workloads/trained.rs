//! A run of a workload that the harness does not know.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, json};
use sonew_harness::process::interrupt::Interrupt;
use sonew_harness::train::plan::Plan;
use sonew_harness::train::record::{EpochRecord, LogLine, RunFolder, read_log, read_run};
use sonew_harness::train::schedule::Schedule;
use sonew_harness::train::summary::RunSummary;
use sonew_harness::train::{Ending, Run, Start, train};
use sonew_kernels::product::Multiplication;
use sonew_optimizers::{Context, NonFinite, Numerics, OptimizerConfig, PrecisionKind};
use sonew_runtime::Selector;

use crate::points::Points;

fn plan() -> Plan {
    let mut numerics = Numerics::from(PrecisionKind::F32);
    numerics.non_finite = NonFinite::Stop;
    Plan {
        recipe: OptimizerConfig::named("sgd").unwrap().into(),
        numerics,
        products: Multiplication::Auto,
        label: "sgd".into(),
        folder: "sgd".into(),
        lr: 0.5,
        schedule: Schedule::Constant,
        epochs: 5,
        steps: None,
        batch: 4,
        workload: Map::from_iter([("space".to_owned(), json!(3))]),
        seed: 0,
        init: None,
        save: None,
        order: None,
        checkpoint_every: None,
        log_steps: false,
        verbose: false,
    }
}

fn run(points: Points, plan: &Plan, folder: &Path) -> (RunSummary, Ending) {
    let device = sonew_runtime::open(Selector::Software)
        .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
    let start = Start::of(plan, Box::new(points)).unwrap();
    start.fits(plan, &device.info).unwrap();
    let context = Rc::new(Context::new(device.client.clone(), device.info.profile));
    let run = Run::new(context, &start, plan).unwrap();
    let mut folder = RunFolder::create(folder, false).unwrap();
    train(&device.info, run, &mut folder, &Interrupt::never(), true)
}

#[test]
fn a_workload_from_elsewhere_is_trained_and_recorded_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let points = Points::new(16);
    // The least possible: half the variance.
    let least: f64 = (0..3)
        .map(|axis| {
            let values = || points.points.iter().map(|it| f64::from(it[axis]));
            let mean = values().sum::<f64>() / 16.0;
            values().map(|x| (x - mean).powi(2)).sum::<f64>() / 32.0
        })
        .sum();
    let (summary, ending) = run(points, &plan(), &path);
    assert!(ending.error.is_none(), "{:?}", ending.error);
    let last = summary.final_loss().unwrap();
    // Steps on batches end near the middle, not in it.
    assert!(last >= least && last < 1.3 * least, "{last}, {least}");
    let config = read_run(&path).unwrap().config;
    assert_eq!(config["points"], 16);
    assert_eq!(config["space"], 3);
    assert_eq!(config["parameters"], 3);
    let plot = fs::read_to_string(path.join("loss.svg")).unwrap();
    assert!(plot.contains("The middle of points"));
    assert!(plot.contains("half a square per point"));
}

#[test]
fn a_gradient_that_is_not_finite_is_told_by_the_name_of_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let mut points = Points::new(4);
    points.points[1][2] = f32::NAN;
    let (_, ending) = run(points, &plan(), &folder.path().join("run"));
    let error = ending.error.unwrap().to_string();
    assert!(
        error.contains("a gradient of height is not finite"),
        "{error}"
    );
}

fn epochs(folder: &Path) -> Vec<EpochRecord> {
    let lines = read_log(folder).unwrap().into_iter();
    lines
        .filter_map(|line| match line {
            LogLine::Epoch(epoch) => Some(epoch),
            _ => None,
        })
        .collect()
}

#[test]
fn a_batch_whose_gradient_is_gathered_for_a_later_step_is_not_a_skipped_one() {
    let folder = tempfile::tempdir().unwrap();
    let gathered = Plan {
        recipe: plan().recipe.accumulate(3),
        // Of four steps a batch each; none may be skipped.
        epochs: 6,
        ..plan()
    };
    let path = folder.path().join("gathered");
    let (summary, ending) = run(Points::new(16), &gathered, &path);
    assert!(ending.error.is_none(), "{:?}", ending.error);
    assert!(summary.losses[5] < summary.losses[0]);
    let config = read_run(&path).unwrap().config;
    assert_eq!(config["gradients"]["accumulate"], 3);
    assert!(epochs(&path).iter().all(|it| it.skipped_steps == 0));
}

#[test]
fn the_average_of_the_weights_is_evaluated_where_one_is_kept_and_they_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, averaged] = ["plain", "averaged"].map(|name| folder.path().join(name));
    run(Points::new(16), &plan(), &plain);
    let keeps = Plan {
        recipe: plan().recipe.average(0.9),
        ..plan()
    };
    let (summary, ending) = run(Points::new(16), &keeps, &averaged);
    assert!(ending.error.is_none(), "{:?}", ending.error);
    let of_weights = epochs(&plain);
    assert_eq!(read_run(&averaged).unwrap().config["average"], 0.9);
    for ((epoch, alone), loss) in epochs(&averaged)
        .iter()
        .zip(&of_weights)
        .zip(summary.losses)
    {
        assert_eq!(alone.weights_loss, None);
        // JSON has all digits but the last.
        assert!((epoch.weights_loss.unwrap() - alone.loss).abs() < 1e-12);
        assert!((epoch.loss - loss).abs() < 1e-12);
    }
    // Behind the first step it is a copy, from then on behind on the way to the middle.
    assert!(epochs(&averaged)[0].loss > of_weights[0].loss + 1e-3);
}
