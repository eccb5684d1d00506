//! Every kernel in every precision, against the f64 oracle on inputs that the format holds.

use cubecl::server::Handle;
use sonew_kernels::context::Processor;
use sonew_kernels::first_order::{
    self, Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::precision::{Bf16, HostFormat, Precision, Storage};
use sonew_kernels::segments::Segments;
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, Ghosts, Graft, GraftBuffers, PreconditionBuffers,
    Reduction, StatisticsBuffers, StepBuffers, StepRates, Tolerance, UpdateBuffers, apply_graft,
    factor, largest_row_sum, precondition, squared_norm, statistics, step, update,
};
use sonew_kernels::sonew::{Damping, Descent};
use sonew_kernels::sweep::{Strategy, Sweep};

use crate::bench::*;
use crate::factor::REMOVALS;

/// Runs a generic function in every precision.
macro_rules! in_every_precision {
    ($run:ident($($argument:expr),*)) => {
        $run::<sonew_kernels::precision::F32>($($argument),*);
        $run::<sonew_kernels::precision::Bf16>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Mixed>($($argument),*);
        $run::<sonew_kernels::precision::F16>($($argument),*);
        $run::<sonew_kernels::precision::F16Mixed>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Compact>($($argument),*);
        $run::<sonew_kernels::precision::Bf16States>($($argument),*);
    };
}
pub(crate) use in_every_precision;

/// The largest relative error of one operation or store: of the states' format, in which a pure precision also computes.
fn roundoff<P: Precision>() -> f64 {
    P::State::ROUNDOFF
}

/// Tensors of which the parameters' format holds every value, of sizes from ¼ to 1: the squares of smaller gradients would
/// underflow in f16.
fn exact_tensors<P: Precision>(seed: usize) -> Vec<Vec<f64>> {
    let value = |x: f64| x.signum() * (0.25 + 0.75 * x.abs());
    tensors(LENGTHS, |t, i| value(noise(seed + t, i)))
        .into_iter()
        .map(|t| {
            t.into_iter()
                .map(|x| f64::from(P::Params::rounded(x as f32)))
                .collect()
        })
        .collect()
}

fn arena<P: Precision>(bench: &Bench, segments: &Segments, values: &[Vec<f64>]) -> Handle {
    bench.arena_in::<P::Params>(segments, values)
}

/// Asserts |found − expected| ≤ u_p |expected| + u_s · `roundings` · `scale`: the store of a weight, and what went before.
#[track_caller]
pub fn assert_weights<P: Precision>(
    found: &[f32],
    expected: &[f64],
    stores: f64,
    roundings: f64,
    scale: f64,
    what: &str,
) {
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let allowed =
            stores * P::Params::ROUNDOFF * (e.abs() + scale) + roundings * roundoff::<P>() * scale;
        let error = (f64::from(f) - e).abs();
        assert!(
            error <= allowed,
            "{what}, {}: value {i} is {f:e} instead of {e:e}, off by {error:e} of {allowed:e}",
            P::NAME
        );
    }
}

const HYPER: Hyper = Hyper {
    lr: 0.5,
    beta1: 0.875,
    beta2: 0.9375,
    epsilon: 1.0 / 1024.0,
    weight_decay: 0.125,
    step: 1,
};

fn rule_follows_its_oracle<L: FirstOrder, P: Precision>(bench: &Bench) {
    let segments = Segments::new(LENGTHS).unwrap();
    let mut weights = exact_tensors::<P>(0);
    let params = arena::<P>(bench, &segments, &weights);
    let n = segments.arena_len();
    let states: Vec<_> = L::STATES
        .iter()
        .map(|_| bench.values_in::<P::State>(n))
        .collect();
    let mut oracle: Vec<Vec<Vec<f64>>> = LENGTHS
        .iter()
        .map(|&n| vec![vec![0.0; n]; L::STATES.len()])
        .collect();
    let evidence = bench.slots();
    for t in 1..=3 {
        let gradient = exact_tensors::<P>(100 * t);
        let grads = arena::<P>(bench, &segments, &gradient);
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            evidence: &evidence,
        };
        let h = Hyper {
            step: t as u64,
            ..HYPER
        };
        descend::<L, P, R>(&bench.context, &segments, buffers, h, Strategy::Inferred).unwrap();
        let found = bench.read_in::<P::Params>(&segments, &params);
        for (tensor, w) in weights.iter_mut().enumerate() {
            let before = w.clone();
            first_order::reference(L::NAME, w, &gradient[tensor], &mut oracle[tensor], h);
            let moves: Vec<f64> = before.iter().zip(&*w).map(|(a, b)| a - b).collect();
            // A step of a dozen operations, each relative to the step; what is lost in a state or a weight stays lost.
            let scale = largest(&moves).max(largest(w));
            let (stores, roundings) = (t as f64, 12.0 * t as f64);
            assert_weights::<P>(&found[tensor], w, stores, roundings, scale, L::NAME);
        }
    }
    assert_eq!(bench.evidence(&evidence).count, 0);
}

fn rules<P: Precision>(bench: &Bench) {
    rule_follows_its_oracle::<Sgd, P>(bench);
    rule_follows_its_oracle::<Momentum, P>(bench);
    rule_follows_its_oracle::<Nesterov, P>(bench);
    rule_follows_its_oracle::<Adagrad, P>(bench);
    rule_follows_its_oracle::<RmsProp, P>(bench);
    rule_follows_its_oracle::<Adam, P>(bench);
}

#[test]
fn every_first_order_rule_follows_its_oracle_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(rules(&bench));
}

const BETA: f64 = 0.875;
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0078,
};
const RATES: StepRates = StepRates {
    lr: 0.5,
    weight_decay: 0.125,
    beta1: BETA,
    decay: Decay::Average(BETA),
    // At least a quarter of the statistics, so that no pivot is small.
    epsilon: 0.25,
    corrections: (1.0, 1.0),
};

/// The states of SONew in a precision.
struct States {
    moment: Handle,
    diagonal: Handle,
    edges: Vec<Handle>,
}

impl States {
    fn zeros<P: Precision>(bench: &Bench, values: usize, band: usize) -> Self {
        let state = || bench.values_in::<P::State>(values);
        Self {
            moment: state(),
            diagonal: state(),
            edges: (0..band).map(|_| state()).collect(),
        }
    }
}

/// Roundings behind a component of u: in the statistics, in the elimination of a column of b, in the two sweeps, each
/// amplified by a condition of at most 5.
fn roundings(band: usize, t: usize) -> f64 {
    let column = (3 * band * band + 4 * band + 8) as f64;
    4.0 * t as f64 + 5.0 * column
}

fn fused_step_follows_its_oracle<P: Precision>(bench: &Bench, band: usize, removal: EdgeRemoval) {
    let segments = Segments::new(LENGTHS).unwrap();
    let blueprint = Blueprint::infer::<P>(Processor::Cpu, band);
    let values = Ghosts::new(&segments, band, removal, blueprint).state_len();
    let states = States::zeros::<P>(bench, values, band);
    let mut weights = exact_tensors::<P>(3);
    let params = arena::<P>(bench, &segments, &weights);
    let (non_finite, cut) = (bench.slots(), bench.slots());
    let mut oracle: Vec<Statistics> = LENGTHS
        .iter()
        .map(|&n| Statistics::zeros(n, band))
        .collect();
    for t in 1..=3 {
        let g = exact_tensors::<P>(50 * t);
        let buffers = StepBuffers {
            params: &params,
            grads: &arena::<P>(bench, &segments, &g),
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            non_finite: &non_finite,
            cut: &cut,
        };
        let strategy = Strategy::Forced(blueprint);
        step::<P, R>(
            &bench.context,
            &segments,
            buffers,
            RATES,
            GAMMA,
            removal,
            strategy,
        )
        .unwrap();
        let found = bench.read_in::<P::Params>(&segments, &params);
        for (tensor, h) in oracle.iter_mut().enumerate() {
            h.accumulate(&g[tensor], BETA, Decay::Average(BETA));
            let u = reference::factor(&h.damped(1.0, RATES.epsilon), GAMMA, removal)
                .precondition(&h.moment);
            let w = &mut weights[tensor];
            for (w, u) in w.iter_mut().zip(&u) {
                *w -= RATES.lr * (u + RATES.weight_decay * *w);
            }
            let scale = RATES.lr * largest(&u);
            let what = format!("band {band}, {removal:?}, step {t}");
            let roundings = t as f64 * (roundings(band, t) + 4.0 * largest(w) / scale);
            assert_weights::<P>(&found[tensor], w, t as f64, roundings, scale, &what);
        }
    }
}

fn fused_steps<P: Precision>(bench: &Bench) {
    // 6 is the first band whose vectors are no wider than a word.
    for band in [0, 1, 4, 6] {
        for removal in REMOVALS {
            fused_step_follows_its_oracle::<P>(bench, band, removal);
        }
    }
}

#[test]
fn a_step_in_one_launch_follows_its_oracle_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(fused_steps(&bench));
}

/// Statistics of which the states' format holds every entry, with a condition of at most 5.
fn held_statistics<P: Precision>(band: usize) -> Vec<Statistics> {
    let held = |x: &mut f64| *x = f64::from(P::State::rounded(*x as f32));
    LENGTHS
        .iter()
        .enumerate()
        .map(|(t, &n)| {
            let mut h = Statistics::zeros(n, band);
            for step in 0..8 {
                let g: Vec<f64> = (0..n).map(|i| noise(step + 50 * t, i)).collect();
                h.accumulate(&g, BETA, Decay::Average(BETA));
            }
            let mut h = h.damped(1.0, RATES.epsilon);
            h.diagonal.iter_mut().for_each(held);
            h.edges.iter_mut().flatten().for_each(held);
            h.moment.iter_mut().for_each(held);
            h
        })
        .collect()
}

fn factor_and_precondition_follow_their_oracle<P: Precision>(bench: &Bench) {
    let segments = Segments::new(LENGTHS).unwrap();
    let context = &bench.context;
    for band in [0, 1, 4, 6] {
        let h = held_statistics::<P>(band);
        let upload = |f: &dyn Fn(&Statistics) -> Vec<f64>| {
            let parts: Vec<Vec<f64>> = h.iter().map(f).collect();
            bench.arena_in::<P::State>(&segments, &parts)
        };
        let (diagonal, moment) = (
            upload(&|h| h.diagonal.clone()),
            upload(&|h| h.moment.clone()),
        );
        let edges: Vec<Handle> = (0..band).map(|k| upload(&|h| h.edges[k].clone())).collect();
        let empty = || bench.values_in::<P::State>(segments.arena_len());
        let psi: Vec<Handle> = (0..band).map(|_| empty()).collect();
        let (d, direction) = (empty(), empty());
        let buffers = FactorBuffers {
            diagonal: &diagonal,
            edges: &edges,
            psi: &psi,
            d: &d,
            evidence: &bench.slots(),
        };
        let removal = EdgeRemoval::Incident;
        factor::<P, R>(
            context,
            &segments,
            buffers,
            1.0,
            0.0,
            GAMMA,
            removal,
            Strategy::Inferred,
        )
        .unwrap();
        let buffers = PreconditionBuffers {
            psi: &psi,
            d: &d,
            moment: &moment,
            direction: &direction,
        };
        precondition::<P, R>(context, &segments, buffers, Strategy::Inferred).unwrap();
        let read = |arena: &Handle| bench.read_in::<P::State>(&segments, arena);
        let (found_d, found_u) = (read(&d), read(&direction));
        let found_psi: Vec<_> = psi.iter().map(read).collect();
        for (tensor, h) in h.iter().enumerate() {
            let expected = reference::factor(h, GAMMA, removal);
            let allowed = roundings(band, 0) * roundoff::<P>();
            let what = format!("{}, band {band}", P::NAME);
            assert_close(&found_d[tensor], &expected.d, allowed, 0.0, &what);
            for (found, expected) in found_psi.iter().zip(&expected.psi) {
                // ψ is relative to 1, the weight of a column itself.
                assert_close(&found[tensor], expected, allowed, 1.0, &what);
            }
            let u = expected.precondition(&h.moment);
            assert_close(&found_u[tensor], &u, 2.0 * allowed, largest(&u), &what);
        }
    }
}

#[test]
fn a_stored_factor_and_its_application_follow_their_oracle_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(factor_and_precondition_follow_their_oracle(&bench));
}

fn grafted_step_follows_its_oracle<P: Precision>(bench: &Bench, graft: Graft) {
    let band = 1;
    let removal = EdgeRemoval::Outgoing;
    let segments = Segments::new(LENGTHS).unwrap();
    let n = segments.arena_len();
    let states = States::zeros::<P>(bench, n, band);
    let mut weights = exact_tensors::<P>(3);
    let params = arena::<P>(bench, &segments, &weights);
    let g = exact_tensors::<P>(50);
    let grads = arena::<P>(bench, &segments, &g);
    let buffers = StatisticsBuffers {
        grads: &grads,
        moment: &states.moment,
        diagonal: &states.diagonal,
        edges: &states.edges,
        evidence: &bench.slots(),
    };
    let context = &bench.context;
    let average = Decay::Average(BETA);
    statistics::<P, R>(
        context,
        &segments,
        buffers,
        BETA,
        average,
        Strategy::Inferred,
    )
    .unwrap();
    let reduction = Reduction::new(context, &segments);
    let partials = bench.values(segments.blocks() - 2);
    let norms = bench.values(LENGTHS.len());
    squared_norm::<P, R>(context, &segments, &reduction, &grads, &partials, &norms).unwrap();
    let blueprint = Blueprint::infer::<P>(Processor::Cpu, band);
    let runs = blueprint.sweep.runs_per_block();
    let direction = bench.values_in::<P::State>(n);
    let squares = bench.values(2 * runs * (segments.blocks() - 2));
    let second = (graft == Graft::RmsProp).then(|| bench.values_in::<P::State>(n));
    let table = context.upload(&segments.tensor_of_block());
    let epsilon = 1.0 / 64.0;
    let stage = GraftBuffers {
        graft,
        epsilon,
        decay: BETA,
        direction: &direction,
        squares: &squares,
        grads: matches!(graft, Graft::RmsProp | Graft::Sgd).then_some(&grads),
        grad_squares: (graft == Graft::RmsProp).then_some(&norms),
        second: second.as_ref(),
    };
    update::<P, R>(
        context,
        &segments,
        UpdateBuffers {
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            evidence: &bench.slots(),
            tensor_of_block: &table,
        },
        Descent::Stage(stage),
        Damping::Absolute(RATES.epsilon),
        GAMMA,
        removal,
        (1.0, 1.0),
        Strategy::Forced(blueprint),
    )
    .unwrap();
    let tensor_squares = bench.values(2 * LENGTHS.len());
    reduction
        .sum_pairs(context, &squares, runs, &tensor_squares)
        .unwrap();
    apply_graft::<P, R>(
        context,
        &segments,
        &params,
        &direction,
        &tensor_squares,
        &table,
        RATES.lr,
        RATES.weight_decay,
        Strategy::<Sweep>::Inferred,
    )
    .unwrap();
    let found = bench.read_in::<P::Params>(&segments, &params);
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (tensor, w) in weights.iter_mut().enumerate() {
        let g = &g[tensor];
        let mut h = Statistics::zeros(g.len(), band);
        h.accumulate(g, BETA, average);
        let u = reference::factor(&h.damped(1.0, RATES.epsilon), GAMMA, removal)
            .precondition(&h.moment);
        let r: Vec<f64> = match graft {
            Graft::None => u.clone(),
            Graft::Sgd => g.clone(),
            Graft::Momentum => h.moment.clone(),
            Graft::Adam => (h.moment.iter().zip(&h.diagonal))
                .map(|(m, v)| m / (v.sqrt() + epsilon))
                .collect(),
            Graft::RmsProp => g
                .iter()
                .map(|x| {
                    let x = x / norm(g);
                    x / (((1.0 - BETA) * x * x).sqrt() + epsilon)
                })
                .collect(),
        };
        let length = norm(&r) / norm(&u);
        for (w, u) in w.iter_mut().zip(&u) {
            *w -= RATES.lr * (length * u + RATES.weight_decay * *w);
        }
        let scale = RATES.lr * length * largest(&u);
        let what = format!("{graft:?}");
        let roundings = roundings(band, 1) + 20.0 + 4.0 * largest(w) / scale;
        assert_weights::<P>(&found[tensor], w, 1.0, roundings, scale, &what);
    }
}

fn grafted_steps<P: Precision>(bench: &Bench) {
    for graft in [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp] {
        grafted_step_follows_its_oracle::<P>(bench, graft);
    }
}

#[test]
fn a_grafted_step_follows_its_oracle_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(grafted_steps(&bench));
}

fn norms_follow_f64<P: Precision>(bench: &Bench) {
    let segments = Segments::new(LENGTHS).unwrap();
    let reduction = Reduction::new(&bench.context, &segments);
    let partials = bench.values(segments.blocks() - 2);
    let out = bench.values(LENGTHS.len());
    let values = exact_tensors::<P>(9);
    let context = &bench.context;
    let params = arena::<P>(bench, &segments, &values);
    squared_norm::<P, R>(context, &segments, &reduction, &params, &partials, &out).unwrap();
    let found: Vec<f32> = context.download("test", &out).unwrap();
    let expected: Vec<f64> = values
        .iter()
        .map(|t| t.iter().map(|x| x * x).sum())
        .collect();
    // Summed in f32 whatever the format.
    assert_close(&found, &expected, 270.0 * ROUNDING, 0.0, P::NAME);

    let held: Vec<Vec<f64>> = values
        .iter()
        .map(|t| {
            t.iter()
                .map(|&x| f64::from(P::State::rounded(x as f32)))
                .collect()
        })
        .collect();
    let states = bench.arena_in::<P::State>(&segments, &held);
    // The last value of an edge couples nothing.
    let mut edge = held.clone();
    for values in &mut edge {
        if let Some(last) = values.last_mut() {
            *last = 0.0;
        }
    }
    let edges = [bench.arena_in::<P::State>(&segments, &edge)];
    largest_row_sum::<P, R>(
        context, &segments, &reduction, &states, &edges, &partials, &out,
    )
    .unwrap();
    let found: Vec<f32> = context.download("test", &out).unwrap();
    let expected: Vec<f64> = held
        .into_iter()
        .zip(edge)
        .map(|(diagonal, edge)| {
            let h = Statistics {
                moment: Vec::new(),
                diagonal,
                edges: vec![edge],
            };
            h.largest_row_sum()
        })
        .collect();
    assert_close(&found, &expected, 4.0 * ROUNDING, 0.0, P::NAME);
}

#[test]
fn norms_are_summed_in_f32_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(norms_follow_f64(&bench));
}

#[test]
fn a_vector_of_one_value_is_refused_where_a_word_holds_two() {
    let bench = Bench::open();
    let segments = Segments::new(&[8]).unwrap();
    let values = |_: usize| bench.values_in::<<Bf16 as Precision>::Params>(segments.arena_len());
    let sweep = Sweep {
        width: 1,
        run: 64,
        units: 32,
        cubes: 1,
    };
    let buffers = Buffers {
        params: &values(0),
        grads: &values(1),
        states: &[],
        evidence: &bench.slots(),
    };
    let strategy = Strategy::Forced(sweep);
    let refused = descend::<Sgd, Bf16, R>(&bench.context, &segments, buffers, HYPER, strategy);
    assert!(refused.is_err());
    assert_eq!(<Bf16 as Precision>::Params::BYTES, 2);
}
