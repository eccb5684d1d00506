use sonew_kernels::arena::Layout;
use sonew_kernels::context::Profile;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::Strategy;
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, GraftBuffers, Tolerance, UpdateBuffers,
    apply_graft, largest_row_sum, update,
};

use crate::bench::*;
use crate::factor::REMOVALS;
use crate::statistics::{Accumulated, accumulate};

const EPSILON: f64 = 0.05;
const LR: f64 = 0.125;
const DECAY: f64 = 0.25;
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 1e-7,
};

/// Condition at most 10³, a few roundings for each of the b² products of a column, statistics of `STEPS` steps.
fn tolerance(band: usize) -> f64 {
    1e3 * (8.0 * (band + 1) as f64 + 4.0 * STEPS as f64) * ROUNDING
}

const STEPS: usize = 20;

fn ordinary(bench: &Bench, lengths: &[usize], band: usize) -> Accumulated {
    accumulate(
        bench,
        lengths,
        band,
        STEPS,
        Decay::Average(0.9),
        |s, t, i| noise(s + 50 * t, i),
    )
}

fn corrections() -> (f64, f64) {
    let t = STEPS as u64;
    (Hyper::correction(0.9, t), Hyper::correction(0.9, t))
}

fn direction(h: &Statistics, epsilon: f64, removal: EdgeRemoval) -> Vec<f64> {
    let (first, second) = corrections();
    let moment: Vec<f64> = h.moment.iter().map(|m| m * first).collect();
    reference::factor(&h.damped(second, epsilon), GAMMA, removal).precondition(&moment)
}

/// One update; returns the parameters and the pivots cut.
fn apply(
    bench: &Bench,
    h: &Accumulated,
    weights: &[Vec<f64>],
    removal: EdgeRemoval,
    relative: bool,
) -> Vec<Vec<f32>> {
    let layout = &h.layout;
    let params = bench.arena(layout, weights);
    let evidence = bench.slots();
    let table = bench.context.upload(&layout.tensor_of_block());
    let tensors = layout.tensors().len();
    let row_sums = bench.values(tensors);
    if relative {
        let reduction = Reduction::new(&bench.context, layout);
        let partials = bench.values(layout.blocks() - 2);
        largest_row_sum::<F32>(
            &bench.context,
            &reduction,
            &h.diagonal,
            &h.edges,
            &partials,
            &row_sums,
        )
        .unwrap();
    }
    let buffers = UpdateBuffers {
        moment: &h.moment,
        diagonal: &h.diagonal,
        edges: &h.edges,
        evidence: &evidence,
    };
    let damping = if relative {
        Damping::Relative {
            epsilon: EPSILON,
            row_sums: PerTensor {
                values: &row_sums,
                tensor_of_block: &table,
            },
        }
    } else {
        Damping::Absolute(EPSILON)
    };
    let descent = Descent::Apply {
        params: &params,
        lr: LR,
        weight_decay: DECAY,
        rates: None,
    };
    update::<F32>(
        &bench.context,
        buffers,
        descent,
        damping,
        GAMMA,
        removal,
        corrections(),
        Strategy::Inferred,
    )
    .unwrap();
    bench.read(&params)
}

#[test]
fn the_fused_update_follows_its_oracle_for_every_band_removal_and_damping() {
    let bench = Bench::open();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    for band in [0, 1, 2, 4, 10] {
        let h = ordinary(&bench, LENGTHS, band);
        for removal in REMOVALS {
            for relative in [false, true] {
                if band == 10 && (relative || removal == EdgeRemoval::Outgoing) {
                    continue; // the widest band compiles slowly; one variant covers its width
                }
                let found = apply(&bench, &h, &weights, removal, relative);
                for (t, oracle) in h.oracle.iter().enumerate() {
                    let epsilon = if relative {
                        EPSILON * oracle.largest_row_sum() * corrections().1
                    } else {
                        EPSILON
                    };
                    let u = direction(oracle, epsilon, removal);
                    let expected: Vec<f64> = weights[t]
                        .iter()
                        .zip(&u)
                        .map(|(w, u)| w - LR * (u + DECAY * w))
                        .collect();
                    let scale = LR * largest(&u) + 1.0;
                    let what = format!("band {band}, {removal:?}, relative {relative}, tensor {t}");
                    assert_close(&found[t], &expected, tolerance(band), scale, &what);
                }
            }
        }
    }
}

#[test]
fn the_order_of_tensors_in_the_arena_changes_no_bit() {
    let bench = Bench::open();
    let lengths = [300usize, 5, 257, 40];
    let order = [2usize, 0, 3, 1];
    let permuted: Vec<usize> = order.iter().map(|&t| lengths[t]).collect();
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    let permuted_weights: Vec<Vec<f64>> = order.iter().map(|&t| weights[t].clone()).collect();
    for removal in REMOVALS {
        let h = ordinary(&bench, &lengths, 4);
        let found = apply(&bench, &h, &weights, removal, false);
        let h = accumulate(
            &bench,
            &permuted,
            4,
            STEPS,
            Decay::Average(0.9),
            |s, t, i| noise(s + 50 * order[t], i),
        );
        let other = apply(&bench, &h, &permuted_weights, removal, false);
        for (position, &t) in order.iter().enumerate() {
            assert_eq!(other[position], found[t]);
        }
    }
}

#[test]
fn non_finite_gradients_stay_in_their_tensor_and_huge_ones_leave_finite_weights() {
    let bench = Bench::open();
    let lengths = [300usize, 100, 257];
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    for (band, removal) in [(1, EdgeRemoval::Outgoing), (4, EdgeRemoval::Incident)] {
        let run = |value: Option<f64>| {
            let h = accumulate(
                &bench,
                &lengths,
                band,
                3,
                Decay::Average(0.9),
                |s, t, i| match value {
                    Some(value) if s == 1 && t == 1 && i % 33 == 0 => value,
                    _ => noise(s + 50 * t, i),
                },
            );
            apply(&bench, &h, &weights, removal, false)
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
fn a_graft_gives_the_direction_the_length_of_the_other_update() {
    let bench = Bench::open();
    let lengths = [300usize, 1, 1009];
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    let gradient = tensors(&lengths, |t, i| noise(STEPS - 1 + 50 * t, i));
    let h = ordinary(&bench, &lengths, 1);
    let layout = &h.layout;
    let table = bench.context.upload(&layout.tensor_of_block());
    let reduction = Reduction::new(&bench.context, layout);
    let sweep = Blueprint::infer::<F32>(Profile::LLVMPIPE, 1).sweep;
    let graft_epsilon = 1e-3;
    for graft in [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp] {
        let (params, grads) = (
            bench.arena(layout, &weights),
            bench.arena(layout, &gradient),
        );
        let (staged, second) = (bench.zeros(layout), bench.zeros(layout));
        let (block_norms, norms) = (
            bench.values(sweep.norms(layout)),
            bench.values(2 * lengths.len()),
        );
        let grad_norms = bench.values(lengths.len());
        let evidence = bench.slots();
        let rmsprop = graft == Graft::RmsProp;
        if rmsprop {
            let partials = bench.values(layout.blocks() - 2);
            norm_per_tensor::<F32>(&bench.context, &reduction, &grads, &partials, &grad_norms)
                .unwrap();
        }
        let stage = GraftBuffers {
            graft,
            epsilon: graft_epsilon,
            decay: 0.9,
            direction: &staged,
            norms: &block_norms,
            grads: (rmsprop || graft == Graft::Sgd).then_some(&grads),
            grad_norms: rmsprop.then_some(PerTensor {
                values: &grad_norms,
                tensor_of_block: &table,
            }),
            second: rmsprop.then_some(&second),
        };
        let buffers = UpdateBuffers {
            moment: &h.moment,
            diagonal: &h.diagonal,
            edges: &h.edges,
            evidence: &evidence,
        };
        update::<F32>(
            &bench.context,
            buffers,
            Descent::Stage(stage),
            Damping::Absolute(EPSILON),
            GAMMA,
            EdgeRemoval::Outgoing,
            corrections(),
            Strategy::Inferred,
        )
        .unwrap();
        reduction
            .pairs_of_norms(&bench.context, &block_norms, sweep, &norms)
            .unwrap();
        apply_graft::<F32>(
            &bench.context,
            &params,
            &staged,
            &norms,
            &table,
            LR,
            DECAY,
            None,
            Strategy::Inferred,
        )
        .unwrap();
        let found = bench.read(&params);
        for (t, oracle) in h.oracle.iter().enumerate() {
            let u = direction(oracle, EPSILON, EdgeRemoval::Outgoing);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let g = &gradient[t];
            let (first, correction) = corrections();
            let other: Vec<f64> = (0..g.len())
                .map(|i| match graft {
                    Graft::Sgd => g[i],
                    Graft::Momentum | Graft::None => oracle.moment[i] * first,
                    Graft::Adam => {
                        oracle.moment[i] * first
                            / ((oracle.diagonal[i] * correction).sqrt() + graft_epsilon)
                    }
                    Graft::RmsProp => {
                        let scaled = g[i] / (norm(g) + 1e-16);
                        scaled / ((0.1 * scaled * scaled).sqrt() + graft_epsilon)
                    }
                })
                .collect();
            let scale = norm(&other) / (norm(&u) + 1e-12);
            let expected: Vec<f64> = weights[t]
                .iter()
                .zip(&u)
                .map(|(w, u)| w - LR * (scale * u + DECAY * w))
                .collect();
            let size = LR * scale * largest(&u) + 1.0;
            assert_close(
                &found[t],
                &expected,
                tolerance(1),
                size,
                &format!("{graft:?}, tensor {t}"),
            );
        }
    }
}

#[test]
fn the_same_update_twice_gives_the_same_bits() {
    let bench = Bench::open();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    let h = ordinary(&bench, LENGTHS, 4);
    let [a, b] = [0, 1].map(|_| apply(&bench, &h, &weights, EdgeRemoval::Incident, true));
    assert_eq!(a, b);
    assert_eq!(Layout::new(LENGTHS).unwrap(), h.layout);
}
