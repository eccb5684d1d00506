//! SONew's factor and what it is applied to, beside the oracle. Long, as bands, rules of removal and formats are combined in each test.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Profile;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::{self, Factor, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, PreconditionBuffers, Tolerance, factor,
    precondition,
};

use crate::bench::*;
use crate::statistics::accumulate;

pub const REMOVALS: [EdgeRemoval; 2] = [EdgeRemoval::Outgoing, EdgeRemoval::Incident];

pub struct Factored {
    pub psi: Vec<Arena>,
    pub d: Arena,
    pub cut: Evidence,
}

/// Factors statistics given as oracle values, rounded to f32.
pub fn run_factor(
    bench: &Bench,
    layout: &Layout,
    h: &[Statistics],
    gamma: Tolerance,
    removal: EdgeRemoval,
    strategy: Strategy<Blueprint>,
) -> Factored {
    let band = h[0].edges.len();
    let pick = |f: &dyn Fn(&Statistics) -> Vec<f64>| {
        let parts: Vec<Vec<f64>> = h.iter().map(f).collect();
        bench.arena(layout, &parts)
    };
    let diagonal = pick(&|h| h.diagonal.clone());
    let edges: Vec<Arena> = (0..band).map(|k| pick(&|h| h.edges[k].clone())).collect();
    let psi: Vec<Arena> = (0..band).map(|_| bench.zeros(layout)).collect();
    let d = bench.zeros(layout);
    let evidence = bench.slots();
    let buffers = FactorBuffers {
        diagonal: &diagonal,
        edges: &edges,
        psi: &psi,
        d: &d,
        evidence: &evidence,
    };
    factor::<F32>(&bench.context, buffers, 1.0, 0.0, gamma, removal, strategy).unwrap();
    Factored {
        cut: bench.evidence(&evidence),
        psi,
        d,
    }
}

/// Statistics of unstructured gradients, damped, with every entry exact in f32.
pub fn ordinary(band: usize) -> Vec<Statistics> {
    LENGTHS
        .iter()
        .enumerate()
        .map(|(t, &n)| {
            let mut h = Statistics::zeros(n, band);
            for step in 0..4 * band + 8 {
                let g: Vec<f64> = (0..n).map(|i| noise(step + 50 * t, i)).collect();
                h.accumulate(&g, 0.9, Decay::Average(0.95));
            }
            round(h.damped(1.0, 0.05))
        })
        .collect()
}

pub fn round(mut h: Statistics) -> Statistics {
    for x in h.diagonal.iter_mut().chain(h.edges.iter_mut().flatten()) {
        *x = exact(*x);
    }
    h
}

fn assert_factor(
    bench: &Bench,
    layout: &Layout,
    found: &Factored,
    expected: &[Factor],
    tolerance: f64,
    what: &str,
) {
    let d = bench.read(&found.d);
    for (t, factor) in expected.iter().enumerate() {
        assert_close(
            &d[t],
            &factor.d,
            tolerance,
            0.0,
            &format!("{what}: D of tensor {t}"),
        );
    }
    for (k, psi) in found.psi.iter().enumerate() {
        let psi = bench.read(psi);
        for (t, factor) in expected.iter().enumerate() {
            let what = format!("{what}: psi {k} of tensor {t}");
            // ψ is of order 1; its error is relative to the condition of G, not to ψ itself.
            assert_close(&psi[t], &factor.psi[k], tolerance, 1.0, &what);
            for (f, e) in psi[t].iter().zip(&factor.psi[k]) {
                assert_eq!(*f == 0.0, *e == 0.0, "{what}: cut in one and not the other");
            }
        }
    }
    let cut: usize = expected.iter().map(|f| f.cut.len()).sum();
    assert_eq!(found.cut.count, cut as u64, "{what}: pivots cut");
    let first = expected
        .iter()
        .enumerate()
        .find_map(|(t, f)| Some((t, *f.cut.first()?)));
    assert_eq!(
        found.cut.first.and_then(|at| layout.locate(at)),
        first,
        "{what}: first cut"
    );
}

/// Statistics of condition κ ≤ 10³ (ε is 0.05 and entries are at most a few), times a few roundings per elimination
/// step.
pub fn tolerance(band: usize) -> f64 {
    1e3 * 4.0 * (band + 1) as f64 * ROUNDING
}

#[test]
fn the_factor_follows_its_oracle_for_every_band_removal_and_tolerance() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    for band in [0, 1, 2, 4, 10] {
        let h = ordinary(band);
        for (_, removal) in EdgeRemoval::ALL {
            // The last one lies among the pivots, so that some columns are cut and some are not.
            for gamma in [(0.0, 0.0), (0.0, 1e-7), (0.3, 0.0), (0.0, 0.5)] {
                if band == 10 && gamma.0 == 0.0 && gamma.1 < 0.5 && removal != EdgeRemoval::Incident
                {
                    continue; // its variant is compiled once; the other tolerances are scalars
                }
                let gamma = Tolerance {
                    absolute: gamma.0,
                    relative: gamma.1,
                };
                let found = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
                let expected: Vec<Factor> = h
                    .iter()
                    .map(|h| reference::factor(h, gamma, removal))
                    .collect();
                let what = format!("band {band}, {removal:?}, {gamma:?}");
                assert_factor(&bench, &layout, &found, &expected, tolerance(band), &what);
            }
        }
    }
}

#[test]
fn the_inverse_of_the_stored_factor_agrees_with_the_statistics_on_the_band() {
    let bench = Bench::open();
    let n = 24;
    let layout = Layout::new(&[n]).unwrap();
    for band in [0, 1, 2, 4] {
        for (removal, gamma) in [(EdgeRemoval::Outgoing, 0.0), (EdgeRemoval::Incident, 0.5)] {
            let mut h = Statistics::zeros(n, band);
            for step in 0..30 {
                let g: Vec<f64> = (0..n).map(|i| noise(step, i)).collect();
                h.accumulate(&g, 0.9, Decay::Average(0.95));
            }
            let h = round(h.damped(1.0, 0.05));
            let gamma = Tolerance {
                absolute: 0.0,
                relative: gamma,
            };
            let found = run_factor(
                &bench,
                &layout,
                std::slice::from_ref(&h),
                gamma,
                removal,
                Strategy::Inferred,
            );
            let widen = |arena: &Arena| -> Vec<f64> {
                bench.read(arena)[0].iter().map(|&x| f64::from(x)).collect()
            };
            let device = Factor {
                psi: found.psi.iter().map(widen).collect(),
                d: widen(&found.d),
                cut: Vec::new(),
            };
            let kept = reference::factor(&h, gamma, removal).cut;
            let x = device.dense();
            for i in 0..n {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                let inverse = reference::solve(x.clone(), unit);
                for (j, &found) in inverse.iter().enumerate().take(n.min(i + band + 1)).skip(i) {
                    if i != j && (kept.contains(&i) || kept.contains(&j)) {
                        continue; // that edge was cut
                    }
                    let expected = if i == j {
                        h.diagonal[i]
                    } else {
                        h.edges[j - i - 1][i]
                    };
                    let error = (found - expected).abs();
                    assert!(
                        error <= tolerance(band) * 2.0,
                        "band {band} {removal:?}: X⁻¹({i}, {j}) = {found}, H = {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn perfectly_correlated_gradients_cut_every_edge() {
    let bench = Bench::open();
    let n = 300;
    for band in [1, 4] {
        for removal in REMOVALS {
            // One constant gradient: every pivot but the last is exactly 0.
            let found = accumulate(&bench, &[n], band, 1, Decay::Sum(1.0), |_, _, _| 2.0);
            let gamma = Tolerance {
                absolute: 0.0,
                relative: 1e-6,
            };
            let h = found.oracle;
            let layout = found.layout;
            let factored = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
            assert_eq!(factored.cut.count, n as u64 - 1);
            assert_eq!(bench.read(&factored.d)[0], vec![0.25f32; n]);
            for psi in &factored.psi {
                assert_eq!(bench.read(psi)[0], vec![0f32; n]);
            }
        }
    }
}

#[test]
fn clamping_and_reweighting_leave_no_pivot_below_the_tolerance() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let relative = 0.8;
    let gamma = Tolerance {
        absolute: 0.0,
        relative,
    };
    for band in [1, 4] {
        let h = ordinary(band);
        for removal in [EdgeRemoval::Clamp, EdgeRemoval::Reweight] {
            let found = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
            assert!(found.cut.count > 100, "{}", found.cut.count);
            let d = bench.read(&found.d);
            for (d, h) in d.iter().zip(&h) {
                for (d, h) in d.iter().zip(&h.diagonal) {
                    let product = f64::from(*d) * h;
                    assert!(
                        product <= (1.0 + 1e-5) / relative,
                        "{removal:?}: H D = {product}"
                    );
                }
            }
            if band == 1 {
                // Where a pair is too strongly coupled its entry becomes that of the correlation √(1 − γ).
                let psi = bench.read(&found.psi[0]);
                let strongest = h.iter().zip(&psi).flat_map(|(h, psi)| {
                    let next = h.diagonal.iter().skip(1);
                    let pairs = psi.iter().zip(&h.diagonal).zip(next);
                    pairs.map(|((psi, own), next)| f64::from(*psi).powi(2) * next / own)
                });
                let strongest = strongest.fold(0.0, f64::max);
                let reweighted = removal == EdgeRemoval::Reweight;
                assert_eq!(
                    strongest <= 1.0 - relative + 1e-5,
                    reweighted,
                    "{strongest}"
                );
            }
        }
    }
}

#[test]
fn without_a_tolerance_no_policy_leaves_a_pivot_of_zero() {
    let bench = Bench::open();
    let n = 300;
    let gamma = Tolerance {
        absolute: 0.0,
        relative: 0.0,
    };
    for band in [1, 4] {
        for (name, removal) in EdgeRemoval::ALL {
            // One constant gradient: every pivot but the last is exactly 0, and γ is too.
            let found = accumulate(&bench, &[n], band, 1, Decay::Sum(1.0), |_, _, _| 2.0);
            let h = found.oracle;
            let layout = found.layout;
            let factored = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
            assert_eq!(factored.cut.count, n as u64 - 1, "{name}");
            let d = bench.read(&factored.d);
            assert!(d[0].iter().all(|&d| d == 0.25), "{name}, band {band}");
        }
    }
}

#[test]
fn a_nan_in_the_statistics_does_not_reach_the_couplings_under_any_policy() {
    let bench = Bench::open();
    let layout = Layout::new(&[40]).unwrap();
    let gamma = Tolerance {
        absolute: 0.0,
        relative: 0.01,
    };
    let mut h = Statistics::zeros(40, 1);
    h.diagonal.fill(1.0);
    h.edges[0].fill(0.5);
    h.edges[0][7] = f64::NAN;
    for (name, removal) in EdgeRemoval::ALL {
        let strategy = Strategy::Inferred;
        let own = std::slice::from_ref(&h);
        let factored = run_factor(&bench, &layout, own, gamma, removal, strategy);
        let psi = &bench.read(&factored.psi[0])[0];
        assert!(psi.iter().all(|x| x.is_finite()), "{name}: {psi:?}");
        assert_eq!(bench.read(&factored.d)[0][7], 1.0, "{name}");
    }
}

#[test]
fn removing_edges_never_raises_the_bound_of_the_condition() {
    // The componentwise condition of D_j is of the order of H_jj / S_j (for a chain 1 / (1 − β²)).
    let bound = |h: &Statistics, factor: &Factor| -> f64 {
        let products = h.diagonal.iter().zip(&factor.d).map(|(h, d)| h * d);
        products.fold(0.0, f64::max)
    };
    let uncut = Tolerance {
        absolute: 0.0,
        relative: 0.0,
    };
    for seed in 0..60 {
        let band = 1 + seed % 4;
        let coupling = 0.5f64.powi((seed % 7) as i32);
        let mut h = Statistics::zeros(50, band);
        for step in 0..band + 2 {
            let g: Vec<f64> = (0..50)
                .map(|i| noise(900 + step, seed) + coupling * noise(31 * seed + step, i))
                .collect();
            h.accumulate(&g, 0.9, Decay::Average(0.8));
        }
        let before = bound(&h, &reference::factor(&h, uncut, EdgeRemoval::Outgoing));
        for removal in REMOVALS {
            for relative in [1e-3, 0.03, 0.3] {
                let gamma = Tolerance {
                    absolute: 0.0,
                    relative,
                };
                let after = bound(&h, &reference::factor(&h, gamma, removal));
                assert!(
                    after <= before * (1.0 + 1e-9),
                    "seed {seed}: {before} to {after}"
                );
                assert!(
                    after <= 1.0 / relative,
                    "seed {seed}: {after} at {relative}"
                );
            }
        }
    }
}

#[test]
fn zero_statistics_give_a_zero_factor_and_cut_nothing() {
    let bench = Bench::open();
    let layout = Layout::new(&[100, 3]).unwrap();
    let h = [Statistics::zeros(100, 4), Statistics::zeros(3, 4)];
    let gamma = Tolerance {
        absolute: 1e-3,
        relative: 1e-7,
    };
    let found = run_factor(
        &bench,
        &layout,
        &h,
        gamma,
        EdgeRemoval::Incident,
        Strategy::Inferred,
    );
    assert_eq!(found.cut, Evidence::default());
    for values in found.psi.iter().chain([&found.d]) {
        assert!(bench.read(values).concat().iter().all(|&x| x == 0.0));
    }
}

#[test]
fn preconditioning_with_a_stored_factor_follows_its_oracle() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    for band in [0, 1, 4] {
        let h = ordinary(band);
        let gamma = Tolerance {
            absolute: 0.0,
            relative: 0.5,
        };
        let found = run_factor(
            &bench,
            &layout,
            &h,
            gamma,
            EdgeRemoval::Incident,
            Strategy::Inferred,
        );
        let moment = tensors(LENGTHS, |t, i| noise(t + 9, i));
        let (m, u) = (bench.arena(&layout, &moment), bench.zeros(&layout));
        let buffers = PreconditionBuffers {
            psi: &found.psi,
            d: &found.d,
            moment: &m,
            direction: &u,
        };
        precondition::<F32>(&bench.context, buffers, Strategy::Inferred).unwrap();
        let u = bench.read(&u);
        for (t, h) in h.iter().enumerate() {
            let expected =
                reference::factor(h, gamma, EdgeRemoval::Incident).precondition(&moment[t]);
            let scale = largest(&expected);
            assert_close(
                &u[t],
                &expected,
                tolerance(band),
                scale,
                &format!("band {band}, tensor {t}"),
            );
        }
    }
}

#[test]
fn forced_blueprints_agree_to_the_bit() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let h = ordinary(4);
    let gamma = Tolerance {
        absolute: 0.0,
        relative: 0.5,
    };
    for (_, removal) in EdgeRemoval::ALL {
        let inferred = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
        let expected = bench.read(&inferred.d);
        for (width, run, unroll) in [(4, 4, true), (2, 8, true), (1, 64, false)] {
            let base = Blueprint::infer::<F32>(Profile::LLVMPIPE, 4);
            let blueprint = Blueprint {
                sweep: Sweep {
                    width,
                    run,
                    ..base.sweep
                },
                unroll,
            };
            let found = run_factor(
                &bench,
                &layout,
                &h,
                gamma,
                removal,
                Strategy::Forced(blueprint),
            );
            assert_eq!(bench.read(&found.d), expected, "{blueprint:?}");
            assert_eq!(found.cut, inferred.cut, "{blueprint:?}");
        }
    }
}
#[test]
fn a_band_too_wide_for_the_software_driver_is_refused_and_not_computed_wrongly() {
    let bench = Bench::open();
    let layout = Layout::new(&[64]).unwrap();
    let h = [Statistics::zeros(64, 32)];
    let diagonal = bench.arena(&layout, &[h[0].diagonal.clone()]);
    let edges: Vec<Arena> = (0..32).map(|_| diagonal.clone()).collect();
    let psi: Vec<Arena> = (0..32).map(|_| bench.zeros(&layout)).collect();
    let (d, evidence) = (bench.zeros(&layout), bench.slots());
    let buffers = FactorBuffers {
        diagonal: &diagonal,
        edges: &edges,
        psi: &psi,
        d: &d,
        evidence: &evidence,
    };
    let gamma = Tolerance {
        absolute: 0.0,
        relative: 0.0,
    };
    let error = factor::<F32>(
        &bench.context,
        buffers,
        1.0,
        0.0,
        gamma,
        EdgeRemoval::Incident,
        Strategy::Inferred,
    )
    .unwrap_err();
    assert!(
        matches!(error, sonew_kernels::error::Error::Unsupported { .. }),
        "{error}"
    );
}
