use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::Profile;
use sonew_kernels::error::Error;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{F32, Native};
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, Ghosts, StepBuffers, StepRates, Tolerance, step,
};

use crate::bench::*;
use crate::factor::REMOVALS;

const STEPS: usize = 6;
const BETA: f64 = 0.9;
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 1e-7,
};

fn rates(t: usize) -> StepRates {
    StepRates {
        lr: 0.125,
        weight_decay: 0.25,
        beta1: BETA,
        decay: Decay::Average(BETA),
        epsilon: 0.05,
        corrections: (
            Hyper::correction(BETA, t as u64),
            Hyper::correction(BETA, t as u64),
        ),
    }
}

/// A model and its states on the device.
struct Model {
    layout: Layout,
    removal: EdgeRemoval,
    blueprint: Blueprint,
    params: Arena,
    moment: Arena,
    diagonal: Arena,
    edges: Vec<Arena>,
    non_finite: Slots,
    cut: Slots,
}

impl Model {
    fn new(
        bench: &Bench,
        weights: &[Vec<f64>],
        band: usize,
        removal: EdgeRemoval,
        blueprint: Blueprint,
    ) -> Self {
        let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
        let layout = Layout::new(&lengths).unwrap();
        let ghosts = Ghosts::new(&layout, band, removal, blueprint);
        let mut states = bench.states_in::<Native<f32>>(2 + band, &layout, ghosts);
        let edges = states.split_off(2);
        let diagonal = states.remove(1);
        Self {
            params: bench.arena(&layout, weights),
            moment: states.remove(0),
            diagonal,
            edges,
            non_finite: bench.slots(),
            cut: bench.slots(),
            layout,
            removal,
            blueprint,
        }
    }

    fn step(&self, bench: &Bench, g: &[Vec<f64>], rates: StepRates) -> Result<(), Error> {
        let grads = bench.arena(&self.layout, g);
        let buffers = StepBuffers {
            params: &self.params,
            graft: None,
            rates: None,
            rows: None,
            grads: &grads,
            moment: &self.moment,
            diagonal: &self.diagonal,
            edges: &self.edges,
            non_finite: &self.non_finite,
            cut: &self.cut,
        };
        step::<F32>(
            &bench.context,
            buffers,
            rates,
            GAMMA,
            self.removal,
            Strategy::Forced(self.blueprint),
        )
    }
}

/// Runs of eight columns, with 4 to 20 ghosts each.
fn short_runs(width: usize) -> Blueprint {
    Blueprint {
        sweep: Sweep {
            width,
            run: 8 / width,
            units: 16,
            cubes: 3,
            twins: false,
            team: false,
        },
        unroll: true,
    }
}

fn gradient(lengths: &[usize], step: usize) -> Vec<Vec<f64>> {
    tensors(lengths, |t, i| noise(step + 50 * t, i))
}

fn follows_its_oracle(bench: &Bench, band: usize, removal: EdgeRemoval, blueprint: Blueprint) {
    let what = format!("band {band}, {removal:?}, run of {}", blueprint.sweep.run);
    let mut weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    let model = Model::new(bench, &weights, band, removal, blueprint);
    let mut oracle: Vec<Statistics> = LENGTHS
        .iter()
        .map(|&n| Statistics::zeros(n, band))
        .collect();
    for t in 1..=STEPS {
        let g = gradient(LENGTHS, t);
        let rates = rates(t);
        model.step(bench, &g, rates).unwrap();
        let found = bench.read(&model.params);
        for (tensor, h) in oracle.iter_mut().enumerate() {
            h.accumulate(&g[tensor], exact(BETA), Decay::Average(exact(BETA)));
            let moment: Vec<f64> = h.moment.iter().map(|m| m * rates.corrections.0).collect();
            let damped = h.damped(rates.corrections.1, rates.epsilon);
            let u = reference::factor(&damped, GAMMA, removal).precondition(&moment);
            for (w, u) in weights[tensor].iter_mut().zip(&u) {
                *w -= rates.lr * (u + rates.weight_decay * *w);
            }
            // Condition at most 10³, a few roundings for each of the b² products of a column, in each step so far.
            let tolerance = 1e3 * t as f64 * (8.0 * (band + 1) as f64 + 4.0) * ROUNDING;
            let scale = rates.lr * largest(&u) + 1.0;
            assert_close(
                &found[tensor],
                &weights[tensor],
                tolerance,
                scale,
                &format!("{what}, step {t}, tensor {tensor}"),
            );
        }
    }
    assert_eq!(bench.evidence(&model.non_finite), Evidence::default());
}

#[test]
fn a_step_in_one_launch_follows_its_oracle_step_after_step() {
    let bench = Bench::open();
    for band in [0, 1, 2, 4] {
        for removal in REMOVALS {
            let inferred = Blueprint::infer::<F32>(Profile::LLVMPIPE, band);
            follows_its_oracle(&bench, band, removal, inferred);
        }
    }
}

#[test]
fn short_runs_with_many_ghosts_follow_the_oracle_too() {
    let bench = Bench::open();
    for (band, removal, width) in [
        (1, EdgeRemoval::Outgoing, 4),
        (1, EdgeRemoval::Incident, 1),
        (2, EdgeRemoval::Incident, 2),
        (10, EdgeRemoval::Outgoing, 1),
    ] {
        follows_its_oracle(&bench, band, removal, short_runs(width));
    }
}

#[test]
fn ghost_columns_stay_copies_of_the_columns_they_stand_for() {
    let bench = Bench::open();
    for removal in REMOVALS {
        let blueprint = short_runs(4);
        let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
        let model = Model::new(&bench, &weights, 2, removal, blueprint);
        for t in 1..=20 {
            model.step(&bench, &gradient(LENGTHS, t), rates(t)).unwrap();
        }
        let ghosts = Ghosts::new(&model.layout, 2, removal, blueprint);
        for state in [&model.moment, &model.diagonal, &model.edges[1]] {
            let values: Vec<f32> = bench.context.download("test", state.handle()).unwrap();
            let (copies, owned): (Vec<f32>, Vec<f64>) = ghosts
                .copies()
                .map(|(ghost, column)| (values[ghost], f64::from(values[column])))
                .unzip();
            assert!(largest(&owned) > 0.0);
            // A compiler may contract the two places of the same formula differently: a rounding a step, relative to
            // the gradients in [−1, 1).
            assert_close(&copies, &owned, 20.0 * ROUNDING, 1.0, "copies");
        }
    }
}

#[test]
fn a_step_counts_non_finite_gradients_once_and_keeps_them_in_their_tensor() {
    let bench = Bench::open();
    let lengths = [300usize, 100, 257];
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    for blueprint in [Blueprint::infer::<F32>(Profile::LLVMPIPE, 2), short_runs(4)] {
        let run = |value: Option<f64>| {
            let model = Model::new(&bench, &weights, 2, EdgeRemoval::Incident, blueprint);
            for t in 1..=3 {
                let mut g = gradient(&lengths, t);
                if let (2, Some(value)) = (t, value) {
                    for i in [7, 8, 64, 99] {
                        g[1][i] = value;
                    }
                }
                model.step(&bench, &g, rates(t)).unwrap();
                let seen = bench.evidence(&model.non_finite);
                match value.filter(|value| t == 2 && !value.is_finite()) {
                    Some(_) => {
                        assert_eq!(seen.count, 4);
                        let first = model.layout.locate(seen.first.unwrap());
                        assert_eq!(first, Some((1, 7)));
                    }
                    None => assert_eq!(seen, Evidence::default()),
                }
            }
            bench.read(&model.params)
        };
        let clean = run(None);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
            let found = run(Some(value));
            assert_eq!((&found[0], &found[2]), (&clean[0], &clean[2]), "{value}");
            if value.is_finite() {
                assert!(found[1].iter().all(|w| w.is_finite()), "{value}");
            }
        }
    }
}

#[test]
fn a_step_with_zero_or_denormal_gradients_only_decays() {
    let bench = Bench::open();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    for (scale, epsilon) in [(0.0, 0.0), (0.0, 1e-8), (1e-40, 1e-8)] {
        let blueprint = Blueprint::infer::<F32>(Profile::LLVMPIPE, 1);
        let model = Model::new(&bench, &weights, 1, EdgeRemoval::Outgoing, blueprint);
        let g = tensors(LENGTHS, |t, i| scale * noise(50 * t, i));
        let rates = StepRates {
            epsilon,
            ..rates(1)
        };
        model.step(&bench, &g, rates).unwrap();
        let found = bench.read(&model.params);
        for (found, w) in found.iter().zip(&weights) {
            let expected: Vec<f64> = w.iter().map(|w| w - 0.125 * 0.25 * w).collect();
            // A product with a power of two and a difference; the denormal step of 1e-32 is far below.
            assert_close(found, &expected, ROUNDING, 0.0, "decayed weights");
        }
    }
}

#[test]
fn a_step_counts_the_pivots_it_cuts_once() {
    let bench = Bench::open();
    let lengths = [600usize];
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    for blueprint in [Blueprint::infer::<F32>(Profile::LLVMPIPE, 1), short_runs(4)] {
        let model = Model::new(&bench, &weights, 1, EdgeRemoval::Outgoing, blueprint);
        let rates = StepRates {
            epsilon: 0.0,
            ..rates(1)
        };
        // Equal neighbours have the correlation 1: every pivot but the last is 0.
        let g = vec![vec![0.5; 600]];
        model.step(&bench, &g, rates).unwrap();
        let cut = bench.evidence(&model.cut);
        assert_eq!(cut.count, 599);
        assert_eq!(model.layout.locate(cut.first.unwrap()), Some((0, 0)));
    }
}

#[test]
fn a_step_refuses_states_without_ghosts_and_rates_out_of_range() {
    let bench = Bench::open();
    let weights = tensors(&[300], |t, i| noise(t + 3, i));
    let blueprint = Blueprint::infer::<F32>(Profile::LLVMPIPE, 1);
    let mut model = Model::new(&bench, &weights, 1, EdgeRemoval::Outgoing, blueprint);
    let g = gradient(&[300], 0);
    for (argument, rates) in [
        (
            "lr",
            StepRates {
                lr: -1.0,
                ..rates(1)
            },
        ),
        (
            "weight-decay",
            StepRates {
                weight_decay: f64::NAN,
                ..rates(1)
            },
        ),
        (
            "beta1",
            StepRates {
                beta1: 1.0,
                ..rates(1)
            },
        ),
        (
            "beta2",
            StepRates {
                decay: Decay::Average(-0.5),
                ..rates(1)
            },
        ),
        (
            "lambda",
            StepRates {
                decay: Decay::Sum(0.0),
                ..rates(1)
            },
        ),
        (
            "epsilon",
            StepRates {
                epsilon: f64::INFINITY,
                ..rates(1)
            },
        ),
    ] {
        match model.step(&bench, &g, rates) {
            Err(Error::Range {
                argument: found, ..
            }) => assert_eq!(found, argument),
            other => panic!("{argument}: {other:?}"),
        }
    }
    model.diagonal = bench.zeros(&model.layout);
    let error = model.step(&bench, &g, rates(1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Shape {
                argument: "diagonal",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn words_of_64_bits_change_no_bit_of_a_step() {
    let bench = Bench::open();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    for (band, removal) in [
        (0, EdgeRemoval::Outgoing),
        (1, EdgeRemoval::Outgoing),
        (4, EdgeRemoval::Incident),
    ] {
        let found = [false, true].map(|twins| {
            let mut blueprint = Blueprint::infer::<F32>(Profile::LLVMPIPE, band);
            blueprint.sweep.twins = twins;
            let model = Model::new(&bench, &weights, band, removal, blueprint);
            for t in 1..=3 {
                model.step(&bench, &gradient(LENGTHS, t), rates(t)).unwrap();
            }
            let states = [&model.moment, &model.diagonal];
            let states: Vec<Vec<u32>> = states
                .iter()
                .map(|it| bench.context.download("test", it.handle()).unwrap())
                .collect();
            let params: Vec<u32> = bench
                .context
                .download("test", model.params.handle())
                .unwrap();
            (params, states)
        });
        assert_eq!(found[0], found[1], "band {band}");
    }
}
