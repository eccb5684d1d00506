//! Gradients at the ends of the number range.

use sonew_kernels::arena::Layout;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::Statistics;
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, GraftBuffers, StatisticsBuffers, Tolerance,
    UpdateBuffers, apply_graft, statistics, update,
};

use crate::bench::*;
use crate::identities::{Options, PLAIN, Uploaded, fused, upload};
use crate::statistics::accumulate;

const LR: f64 = 0.03;
const SHRINK: f64 = 0.1;

/// Steps of a rule on gradients given per step; returns the weights after each of them.
fn walk<L: FirstOrder>(
    bench: &Bench,
    weights: &[f64],
    gradients: &[Vec<f64>],
    epsilon: f64,
) -> Vec<Vec<f32>> {
    let layout = Layout::new(&[weights.len()]).unwrap();
    let params = bench.arena(&layout, &[weights.to_vec()]);
    let states: Vec<_> = L::STATES.iter().map(|_| bench.zeros(&layout)).collect();
    let evidence = bench.slots();
    let mut out = Vec::new();
    for (step, g) in gradients.iter().enumerate() {
        let grads = bench.arena(&layout, std::slice::from_ref(g));
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            rates: None,
            evidence: &evidence,
        };
        let hyper = Hyper {
            lr: LR,
            beta1: 0.9,
            beta2: 0.99,
            epsilon,
            weight_decay: SHRINK,
            step: step as u64 + 1,
        };
        descend::<L, F32>(&bench.context, buffers, hyper, Strategy::Inferred).unwrap();
        assert_eq!(bench.evidence(&evidence), Evidence::default());
        out.push(bench.read(&params).remove(0));
    }
    out
}

fn huge_then_ordinary<L: FirstOrder>(bench: &Bench) {
    let n = 61;
    let weights: Vec<f64> = (0..n).map(|i| exact(noise(1, i))).collect();
    let mut gradients = vec![(0..n).map(|i| 1e30 * noise(2, i)).collect::<Vec<f64>>()];
    gradients.extend((0..3).map(|s| (0..n).map(|i| noise(s + 3, i)).collect()));
    for (step, w) in walk::<L>(bench, &weights, &gradients, 1e-8)
        .iter()
        .enumerate()
    {
        assert!(
            w.iter().all(|w| w.is_finite()),
            "{} after step {step}",
            L::NAME
        );
    }
}

#[test]
fn a_huge_gradient_leaves_every_first_order_rule_with_finite_weights() {
    let bench = Bench::open();
    huge_then_ordinary::<Sgd>(&bench);
    huge_then_ordinary::<Momentum>(&bench);
    huge_then_ordinary::<Nesterov>(&bench);
    huge_then_ordinary::<Adagrad>(&bench);
    huge_then_ordinary::<RmsProp>(&bench);
    huge_then_ordinary::<Adam>(&bench);
}

/// Weights that only decayed.
fn decayed(weights: &[f64], steps: usize) -> Vec<f64> {
    let kept = 1.0 - exact(LR * SHRINK);
    weights
        .iter()
        .map(|w| w * kept.powi(steps as i32))
        .collect()
}

fn zero_moves_nothing<L: FirstOrder>(bench: &Bench) {
    let n = 61;
    let weights: Vec<f64> = (0..n).map(|i| exact(noise(1, i))).collect();
    for epsilon in [0.0, 1e-8] {
        let found = walk::<L>(bench, &weights, &vec![vec![0.0; n]; 3], epsilon);
        for (step, w) in found.iter().enumerate() {
            // Two roundings a step.
            let tolerance = 2.0 * (step + 1) as f64 * ROUNDING;
            assert_close(w, &decayed(&weights, step + 1), tolerance, 0.0, L::NAME);
        }
    }
}

#[test]
fn zero_gradients_move_no_weight_of_a_first_order_rule_but_for_the_decay() {
    let bench = Bench::open();
    zero_moves_nothing::<Sgd>(&bench);
    zero_moves_nothing::<Momentum>(&bench);
    zero_moves_nothing::<Nesterov>(&bench);
    zero_moves_nothing::<Adagrad>(&bench);
    zero_moves_nothing::<RmsProp>(&bench);
    zero_moves_nothing::<Adam>(&bench);
}

fn tiny_moves_little<L: FirstOrder>(bench: &Bench) {
    let n = 61;
    let weights: Vec<f64> = (0..n).map(|i| exact(noise(1, i))).collect();
    let decayed = decayed(&weights, 1);
    for scale in [1e-18, 1e-20, 1e-22, 1e-30, 1e-40] {
        let g: Vec<f64> = (0..n).map(|i| scale * noise(2, i)).collect();
        let found = walk::<L>(bench, &weights, &[g], 0.0).remove(0);
        for (w, expected) in found.iter().zip(&decayed) {
            // |g|/√((1−β₂) g²) = 10 is the longest step of any of them, and half of the least denormal may round g²
            // to two thirds of itself.
            let moved = (f64::from(*w) - expected).abs();
            assert!(
                moved <= 10.0 * 1.25 * LR + 4.0 * ROUNDING,
                "{} at {scale:e}: moved by {moved:e}",
                L::NAME
            );
        }
    }
}

#[test]
fn gradients_whose_squares_underflow_move_no_weight_further_than_larger_ones_would() {
    let bench = Bench::open();
    tiny_moves_little::<Sgd>(&bench);
    tiny_moves_little::<Momentum>(&bench);
    tiny_moves_little::<Nesterov>(&bench);
    tiny_moves_little::<Adagrad>(&bench);
    tiny_moves_little::<RmsProp>(&bench);
    tiny_moves_little::<Adam>(&bench);
}

#[test]
fn non_finite_gradients_are_counted_by_the_statistics_and_reach_only_their_neighbours() {
    let bench = Bench::open();
    let lengths = [300usize, 40, 257];
    let band = 2;
    let layout = Layout::new(&lengths).unwrap();
    let run = |g: &[Vec<f64>]| {
        let grads = bench.arena(&layout, g);
        let (moment, diagonal) = (bench.zeros(&layout), bench.zeros(&layout));
        let edges: Vec<_> = (0..band).map(|_| bench.zeros(&layout)).collect();
        let evidence = bench.slots();
        let buffers = StatisticsBuffers {
            grads: &grads,
            moment: &moment,
            diagonal: &diagonal,
            edges: &edges,
            rows: None,
            evidence: &evidence,
        };
        statistics::<F32>(
            &bench.context,
            buffers,
            0.9,
            Decay::Average(0.9),
            Strategy::Inferred,
        )
        .unwrap();
        let mut arenas: Vec<Vec<Vec<f32>>> = vec![bench.read(&moment), bench.read(&diagonal)];
        arenas.extend(edges.iter().map(|e| bench.read(e)));
        (arenas, bench.evidence(&evidence))
    };
    let clean = tensors(&lengths, noise);
    let (expected, none) = run(&clean);
    assert_eq!(none, Evidence::default());
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut spoiled = clean.clone();
        spoiled[1][39] = value;
        spoiled[1][20] = value;
        let (found, seen) = run(&spoiled);
        assert_eq!(seen.count, 2);
        assert_eq!(layout.locate(seen.first.unwrap()), Some((1, 20)));
        for (arena, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!((&found[0], &found[2]), (&expected[0], &expected[2]));
            // Moment and diagonal (arenas 0 and 1) couple nothing, edge k reaches k + 1 back.
            let back = arena.saturating_sub(1);
            for i in 0..40 {
                let touched = [20, 39]
                    .iter()
                    .any(|&s| i == s || (back > 0 && i + back == s));
                if !touched {
                    assert_eq!(found[1][i], expected[1][i], "arena {arena}, value {i}");
                }
            }
        }
    }
}

#[test]
fn statistics_of_zero_gradients_move_no_weight_but_for_the_decay() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    for band in [0, 1, 4] {
        let h: Vec<Statistics> = LENGTHS
            .iter()
            .map(|&n| Statistics::zeros(n, band))
            .collect();
        let uploaded = upload(&bench, &layout, &h);
        for (removal, epsilon, relative) in [
            (EdgeRemoval::Outgoing, 0.0, false),
            (EdgeRemoval::Outgoing, 1e-8, false),
            (EdgeRemoval::Incident, 0.0, false),
            (EdgeRemoval::Incident, 1e-8, true),
        ] {
            let options = Options {
                epsilon,
                relative,
                removal,
                lr: 0.5,
                weight_decay: 0.5,
                corrections: (10.0, 10.0),
                ..PLAIN
            };
            let (found, evidence) = fused(&bench, &layout, &uploaded, &weights, options);
            assert_eq!(evidence, Evidence::default());
            for (found, w) in found.iter().zip(&weights) {
                let expected: Vec<f64> = w.iter().map(|w| 0.75 * w).collect();
                // A product with a power of two and a difference: one rounding, and one in reserve for w itself.
                assert_close(found, &expected, ROUNDING, 0.0, "decayed weights");
            }
        }
    }
}

#[test]
fn a_graft_of_zero_statistics_and_gradients_moves_no_weight_but_for_the_decay() {
    let bench = Bench::open();
    let lengths = [300usize, 5];
    let layout = Layout::new(&lengths).unwrap();
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    let h = upload(&bench, &layout, &lengths.map(|n| Statistics::zeros(n, 1)));
    for graft in [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp] {
        for epsilon in [0.0, 1e-8] {
            let found = staged(&bench, &layout, &h, &weights, graft, epsilon);
            for (found, w) in found.iter().zip(&weights) {
                let expected: Vec<f64> = w.iter().map(|w| 0.75 * w).collect();
                assert_close(found, &expected, ROUNDING, 0.0, &format!("{graft:?}"));
            }
        }
    }
}

/// A staged and grafted update with zero gradients, η = λ = ½.
fn staged(
    bench: &Bench,
    layout: &Layout,
    h: &Uploaded,
    weights: &[Vec<f64>],
    graft: Graft,
    epsilon: f64,
) -> Vec<Vec<f32>> {
    let count = layout.tensors().len();
    let params = bench.arena(layout, weights);
    let table = bench.context.upload(&layout.tensor_of_block());
    let reduction = Reduction::new(&bench.context, layout);
    // Two runs a block, so that the sums are over runs and not over blocks.
    let sweep = Sweep {
        width: 4,
        run: 32,
        units: 32,
        cubes: 4,
        twins: false,
        team: false,
    };
    let (part_norms, norms) = (bench.values(sweep.norms(layout)), bench.values(2 * count));
    let (grads, direction, second) = (
        bench.zeros(layout),
        bench.zeros(layout),
        bench.zeros(layout),
    );
    let (grad_norms, evidence) = (bench.values(count), bench.slots());
    let rmsprop = graft == Graft::RmsProp;
    if rmsprop {
        norm_per_tensor::<F32>(
            &bench.context,
            &reduction,
            &grads,
            &bench.values(layout.blocks() - 2),
            &grad_norms,
        )
        .unwrap();
    }
    let stage = GraftBuffers {
        graft,
        epsilon,
        decay: 0.9,
        direction: &direction,
        norms: &part_norms,
        grads: (rmsprop || graft == Graft::Sgd).then_some(&grads),
        grad_norms: rmsprop.then_some(PerTensor {
            values: &grad_norms,
            tensor_of_block: &table,
        }),
        second: rmsprop.then_some(&second),
    };
    update::<F32>(
        &bench.context,
        UpdateBuffers {
            moment: &h.moment,
            diagonal: &h.diagonal,
            edges: &h.edges,
            evidence: &evidence,
        },
        Descent::Stage(stage),
        Damping::Absolute(0.0),
        PLAIN.gamma,
        EdgeRemoval::Outgoing,
        (10.0, 10.0),
        Strategy::Forced(Blueprint {
            sweep,
            unroll: true,
        }),
    )
    .unwrap();
    reduction
        .pairs_of_norms(&bench.context, &part_norms, sweep, &norms)
        .unwrap();
    apply_graft::<F32>(
        &bench.context,
        &params,
        &direction,
        &norms,
        &table,
        0.5,
        0.5,
        None,
        Strategy::Inferred,
    )
    .unwrap();
    bench.read(&params)
}

#[test]
fn gradients_at_either_end_of_the_range_leave_finite_weights_for_every_band() {
    let bench = Bench::open();
    let lengths = [1usize, 2, 50];
    let weights = tensors(&lengths, |t, i| noise(t + 3, i));
    for (band, removal) in [
        (0, EdgeRemoval::Outgoing),
        (1, EdgeRemoval::Outgoing),
        (4, EdgeRemoval::Incident),
    ] {
        for scale in [1e30, 1e19, 1e-18, 1e-22, 1e-30, 1e-40] {
            // Random, constant, and alternating between the scale and zero.
            for shape in 0..3 {
                let h =
                    accumulate(
                        &bench,
                        &lengths,
                        band,
                        3,
                        Decay::Average(0.9),
                        |s, t, i| match shape {
                            0 => scale * noise(s + 50 * t, i),
                            1 => scale,
                            _ => scale * (i % 2) as f64,
                        },
                    );
                let uploaded = Uploaded {
                    moment: h.moment,
                    diagonal: h.diagonal,
                    edges: h.edges,
                };
                for (epsilon, relative) in [(1e-8, false), (1e-8, true)] {
                    let options = Options {
                        epsilon,
                        relative,
                        removal,
                        gamma: Tolerance {
                            absolute: 0.0,
                            relative: 1e-7,
                        },
                        lr: 1e-3,
                        corrections: (Hyper::correction(0.9, 3), Hyper::correction(0.9, 3)),
                        ..PLAIN
                    };
                    let (found, _) = fused(&bench, &h.layout, &uploaded, &weights, options);
                    assert!(
                        found.iter().flatten().all(|w| w.is_finite()),
                        "band {band}, scale {scale:e}, shape {shape}, relative {relative}"
                    );
                }
            }
        }
    }
}
