use sonew_kernels::arena::Layout;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend, reference,
};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;

use crate::bench::*;

/// At most about a dozen roundings act on a weight in a step, and the steps add up.
const ROUNDINGS_PER_STEP: f64 = 16.0;

fn hyper(step: u64) -> Hyper {
    Hyper {
        lr: 0.03,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-6,
        weight_decay: 0.1,
        step,
    }
}

fn follows_the_oracle<L: FirstOrder>(bench: &Bench, scale: f64) {
    let layout = Layout::new(LENGTHS).unwrap();
    let mut weights = tensors(LENGTHS, noise);
    let params = bench.arena(&layout, &weights);
    let states: Vec<_> = L::STATES.iter().map(|_| bench.zeros(&layout)).collect();
    let mut oracle: Vec<Vec<Vec<f64>>> = LENGTHS
        .iter()
        .map(|&n| vec![vec![0.0; n]; L::STATES.len()])
        .collect();
    let evidence = bench.slots();
    let steps = 5;
    for step in 1..=steps {
        let gradient = tensors(LENGTHS, |t, i| scale * noise(t + 100 * step as usize, i));
        let grads = bench.arena(&layout, &gradient);
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            rates: None,
            evidence: &evidence,
        };
        // Hyperparameters as the kernel sees them: rounded to f32.
        let h = hyper(step);
        descend::<L, F32>(&bench.context, buffers, h, Strategy::Inferred).unwrap();
        let rounded = Hyper {
            lr: exact(h.lr),
            beta1: exact(h.beta1),
            beta2: exact(h.beta2),
            epsilon: exact(h.epsilon),
            ..h
        };
        for (t, w) in weights.iter_mut().enumerate() {
            reference::<L>(w, &gradient[t], &mut oracle[t], rounded);
        }
    }
    let found = bench.read(&params);
    // β₁ and β₂ enter the bias corrections at full precision, which differs from their rounded powers by t roundings.
    let tolerance = ROUNDINGS_PER_STEP * steps as f64 * ROUNDING;
    for (t, w) in weights.iter().enumerate() {
        // Weights are of order 1, so an absolute part of the same size.
        assert_close(&found[t], w, tolerance, 1.0_f64.max(largest(w)), L::NAME);
    }
    assert_eq!(bench.evidence(&evidence).count, 0);
}

#[test]
fn every_rule_follows_its_oracle_at_ordinary_and_extreme_scales() {
    let bench = Bench::open();
    for scale in [1.0, 1e-6, 1e4] {
        follows_the_oracle::<Sgd>(&bench, scale);
        follows_the_oracle::<Momentum>(&bench, scale);
        follows_the_oracle::<Nesterov>(&bench, scale);
        follows_the_oracle::<Adagrad>(&bench, scale);
        follows_the_oracle::<RmsProp>(&bench, scale);
        follows_the_oracle::<Adam>(&bench, scale);
    }
}

fn adam_step(
    bench: &Bench,
    gradient: &[Vec<f64>],
    sweep: Strategy<Sweep>,
) -> (Vec<Vec<f32>>, u64, Option<usize>) {
    let lengths: Vec<usize> = gradient.iter().map(Vec::len).collect();
    let layout = Layout::new(&lengths).unwrap();
    let params = bench.arena(&layout, &tensors(&lengths, noise));
    let states = [bench.zeros(&layout), bench.zeros(&layout)];
    let evidence = bench.slots();
    let grads = bench.arena(&layout, gradient);
    let buffers = Buffers {
        params: &params,
        grads: &grads,
        states: &states,
        rates: None,
        evidence: &evidence,
    };
    descend::<Adam, F32>(&bench.context, buffers, hyper(1), sweep).unwrap();
    let seen = bench.evidence(&evidence);
    (bench.read(&params), seen.count, seen.first)
}

#[test]
fn non_finite_gradients_are_counted_and_stay_in_their_tensor() {
    let bench = Bench::open();
    let lengths = [300, 40, 257];
    let clean = tensors(&lengths, noise);
    let mut spoiled = clean.clone();
    spoiled[1][7] = f64::NAN;
    spoiled[1][9] = f64::INFINITY;
    spoiled[1][39] = f64::NEG_INFINITY;
    let (expected, none, _) = adam_step(&bench, &clean, Strategy::Inferred);
    let (found, count, first) = adam_step(&bench, &spoiled, Strategy::Inferred);
    assert_eq!((none, count), (0, 3));
    let layout = Layout::new(&lengths).unwrap();
    assert_eq!(layout.locate(first.unwrap()), Some((1, 7)));
    assert_eq!((&found[0], &found[2]), (&expected[0], &expected[2]));
    assert!(found[1][7].is_nan());
    assert_eq!(found[1][8], expected[1][8]);
}

#[test]
fn what_a_launch_saw_is_gone_after_one_that_sees_nothing() {
    let bench = Bench::open();
    let layout = Layout::new(&[300]).unwrap();
    let params = bench.zeros(&layout);
    let evidence = bench.slots();
    assert_eq!(bench.evidence(&evidence), Evidence::default());
    for (value, count) in [(f64::NAN, 300), (1.0, 0), (f64::INFINITY, 300), (0.0, 0)] {
        let grads = bench.arena(&layout, &[vec![value; 300]]);
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &[],
            rates: None,
            evidence: &evidence,
        };
        let inferred = Strategy::Inferred;
        descend::<Sgd, F32>(&bench.context, buffers, hyper(1), inferred).unwrap();
        assert_eq!(bench.evidence(&evidence).count, count, "{value}");
    }
}

#[test]
fn a_forced_blueprint_changes_no_bit() {
    let bench = Bench::open();
    let gradient = tensors(LENGTHS, noise);
    let (expected, ..) = adam_step(&bench, &gradient, Strategy::Inferred);
    for (width, run, units, cubes, twins) in [
        (1, 1, 64, 3, false),
        (2, 128, 8, 1, false),
        (4, 16, 256, 2, false),
        (2, 2, 16, 5, true),
        (8, 32, 64, 2, true),
    ] {
        let sweep = Sweep {
            width,
            run,
            units,
            cubes,
            twins,
            team: false,
        };
        let (found, ..) = adam_step(&bench, &gradient, Strategy::Forced(sweep));
        assert_eq!(found, expected, "{sweep:?}");
    }
}
