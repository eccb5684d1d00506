//! What must hold of the factor whatever computes it, and of the fused update beside the oracle. Long, as the
//! set-up of a fused update is here, which others use too.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::evidence::Evidence;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{PerTensor, Reduction};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::{self, Factor, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, FactorBuffers, Tolerance, UpdateBuffers,
    factor, largest_row_sum, update,
};

use crate::bench::*;
use crate::factor::{REMOVALS, ordinary, round, run_factor, tolerance};

/// How [`fused`] runs the update.
#[derive(Clone, Copy)]
pub struct Options {
    pub epsilon: f64,
    pub relative: bool,
    pub gamma: Tolerance,
    pub removal: EdgeRemoval,
    pub corrections: (f64, f64),
    pub lr: f64,
    pub weight_decay: f64,
    pub strategy: Strategy<Blueprint>,
}

pub const PLAIN: Options = Options {
    epsilon: 0.0,
    relative: false,
    gamma: Tolerance {
        absolute: 0.0,
        relative: 0.0,
    },
    removal: EdgeRemoval::Outgoing,
    corrections: (1.0, 1.0),
    lr: 1.0,
    weight_decay: 0.0,
    strategy: Strategy::Inferred,
};

/// Statistics on the device.
pub struct Uploaded {
    pub moment: Arena,
    pub diagonal: Arena,
    pub edges: Vec<Arena>,
}

pub fn upload(bench: &Bench, layout: &Layout, h: &[Statistics]) -> Uploaded {
    let pick = |f: &dyn Fn(&Statistics) -> Vec<f64>| {
        bench.arena(layout, &h.iter().map(f).collect::<Vec<_>>())
    };
    Uploaded {
        moment: pick(&|h| h.moment.clone()),
        diagonal: pick(&|h| h.diagonal.clone()),
        edges: (0..h[0].edges.len())
            .map(|k| pick(&|h| h.edges[k].clone()))
            .collect(),
    }
}

/// One fused update of `weights` with given statistics; returns the weights and the pivots cut.
pub fn fused(
    bench: &Bench,
    layout: &Layout,
    h: &Uploaded,
    weights: &[Vec<f64>],
    options: Options,
) -> (Vec<Vec<f32>>, Evidence) {
    let params = bench.arena(layout, weights);
    let evidence = bench.slots();
    let table = bench.context.upload(&layout.tensor_of_block());
    let row_sums = bench.values(layout.tensors().len());
    if options.relative {
        largest_row_sum::<F32>(
            &bench.context,
            &Reduction::new(&bench.context, layout),
            &h.diagonal,
            &h.edges,
            &bench.values(layout.blocks() - 2),
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
    let damping = if options.relative {
        Damping::Relative {
            epsilon: options.epsilon,
            row_sums: PerTensor {
                values: &row_sums,
                tensor_of_block: &table,
            },
        }
    } else {
        Damping::Absolute(options.epsilon)
    };
    let descent = Descent::Apply {
        params: &params,
        lr: options.lr,
        weight_decay: options.weight_decay,
        rates: None,
    };
    update::<F32>(
        &bench.context,
        buffers,
        descent,
        damping,
        options.gamma,
        options.removal,
        options.corrections,
        options.strategy,
    )
    .unwrap();
    (bench.read(&params), bench.evidence(&evidence))
}

#[test]
fn the_fused_update_applies_a_matrix_zero_off_the_band_whose_inverse_is_the_statistics_on_it() {
    let bench = Bench::open();
    let n = 24;
    // Tensor t has the moment e_t, so its update is column t of X.
    let lengths = vec![n; n];
    let layout = Layout::new(&lengths).unwrap();
    let zeros = vec![vec![0.0; n]; n];
    for band in [0, 1, 2, 4] {
        let mut h = Statistics::zeros(n, band);
        for step in 0..30 {
            let g: Vec<f64> = (0..n).map(|i| noise(step, i)).collect();
            h.accumulate(&g, 0.9, Decay::Average(0.95));
        }
        let h = round(h.damped(1.0, 0.05));
        let columns: Vec<Statistics> = (0..n)
            .map(|t| {
                let mut column = h.clone();
                column.moment = (0..n).map(|i| if i == t { 1.0 } else { 0.0 }).collect();
                column
            })
            .collect();
        let uploaded = upload(&bench, &layout, &columns);
        // With edges cut, only incident removal is exact for every band.
        for (removal, relative) in [(EdgeRemoval::Outgoing, 0.0), (EdgeRemoval::Incident, 0.5)] {
            let gamma = Tolerance {
                absolute: 0.0,
                relative,
            };
            let options = Options {
                gamma,
                removal,
                ..PLAIN
            };
            let (found, evidence) = fused(&bench, &layout, &uploaded, &zeros, options);
            let what = format!("band {band}, {removal:?}");
            let cut = reference::factor(&h, gamma, removal).cut;
            assert_eq!(evidence.count, (n * cut.len()) as u64, "{what}: cut");
            // w = 0 − 1 · X e_t.
            let x: Vec<Vec<f64>> = found
                .iter()
                .map(|w| w.iter().map(|&w| -f64::from(w)).collect())
                .collect();
            for (t, column) in x.iter().enumerate() {
                for (i, value) in column.iter().enumerate() {
                    if i.abs_diff(t) > band {
                        assert_eq!(*value, 0.0, "{what}: X({i}, {t})");
                    }
                }
                let mut unit = vec![0.0; n];
                unit[t] = 1.0;
                // X is symmetric, so the rows that `solve` takes may be its columns.
                let inverse = reference::solve(x.clone(), unit);
                let band_end = n.min(t + band + 1);
                for (i, &found) in inverse.iter().enumerate().take(band_end).skip(t) {
                    if i != t && (cut.contains(&i) || cut.contains(&t)) {
                        continue; // an edge that was cut
                    }
                    let expected = match i - t {
                        0 => h.diagonal[i],
                        k => h.edges[k - 1][t],
                    };
                    let error = (found - expected).abs();
                    // Rounding X costs its condition once more, which `tolerance` bounds; H is at most about 1.
                    assert!(
                        error <= tolerance(band),
                        "{what}: X⁻¹({i}, {t}) = {found}, H = {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_band_of_one_is_the_tridiagonal_closed_form() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let h = ordinary(1);
    for removal in REMOVALS {
        let found = run_factor(
            &bench,
            &layout,
            &h,
            PLAIN.gamma,
            removal,
            Strategy::Inferred,
        );
        let (d, psi) = (bench.read(&found.d), bench.read(&found.psi[0]));
        for (t, h) in h.iter().enumerate() {
            let n = h.diagonal.len();
            let next = |j: usize| h.diagonal[(j + 1).min(n - 1)];
            let coupling: Vec<f64> = (0..n).map(|j| h.edges[0][j] / next(j)).collect();
            let pivots: Vec<f64> = (0..n)
                .map(|j| 1.0 / (h.diagonal[j] - h.edges[0][j] * coupling[j]))
                .collect();
            assert_close(&d[t], &pivots, tolerance(1), 0.0, "D");
            // A quotient formed as a product with a reciprocal: three roundings.
            assert_close(&psi[t], &coupling, 3.0 * ROUNDING, 0.0, "psi");
        }
    }
}

#[test]
fn two_interleaved_tridiagonal_chains_are_a_band_of_two_without_its_nearest_edges() {
    let bench = Bench::open();
    let lengths = [300usize, 17];
    let narrow = Layout::new(&lengths).unwrap();
    let doubled = Layout::new(&lengths.map(|n| 2 * n)).unwrap();
    let chain = |seed: usize, n: usize| {
        let mut h = Statistics::zeros(n, 1);
        for step in 0..20 {
            let g: Vec<f64> = (0..n).map(|i| noise(step + seed, i)).collect();
            h.accumulate(&g, 0.9, Decay::Average(0.95));
        }
        round(h.damped(1.0, 0.05))
    };
    let even: Vec<Statistics> = lengths.iter().map(|&n| chain(100, n)).collect();
    let odd: Vec<Statistics> = lengths.iter().map(|&n| chain(200, n)).collect();
    let zip = |a: &[f64], b: &[f64]| -> Vec<f64> {
        a.iter().zip(b).flat_map(|(&a, &b)| [a, b]).collect()
    };
    let both: Vec<Statistics> = (even.iter().zip(&odd))
        .map(|(a, b)| Statistics {
            moment: vec![0.0; 2 * a.diagonal.len()],
            diagonal: zip(&a.diagonal, &b.diagonal),
            edges: vec![
                vec![0.0; 2 * a.diagonal.len()],
                zip(&a.edges[0], &b.edges[0]),
            ],
        })
        .collect();
    for removal in REMOVALS {
        for relative in [0.0, 0.8] {
            let run = |layout: &Layout, h: &[Statistics]| {
                let gamma = Tolerance {
                    absolute: 0.0,
                    relative,
                };
                run_factor(&bench, layout, h, gamma, removal, Strategy::Inferred)
            };
            let (a, b, c) = (
                run(&narrow, &even),
                run(&narrow, &odd),
                run(&doubled, &both),
            );
            assert_eq!(c.cut.count, a.cut.count + b.cut.count);
            assert_eq!(a.cut.count > 0, relative > 0.0);
            let pairs = [(&a.d, &b.d, &c.d), (&a.psi[0], &b.psi[0], &c.psi[1])];
            for (a, b, c) in pairs {
                let (a, b) = (bench.read(a), bench.read(b));
                let expected: Vec<Vec<f32>> = (a.iter().zip(&b))
                    .map(|(a, b)| a.iter().zip(b).flat_map(|(&a, &b)| [a, b]).collect())
                    .collect();
                assert_eq!(bench.read(c), expected, "{removal:?}, γ {relative}");
            }
        }
    }
}

#[test]
fn the_factor_scales_and_damps_the_statistics_it_is_given() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let (correction, epsilon) = (2.5, 0.125);
    let h = ordinary(2);
    let uploaded = upload(&bench, &layout, &h);
    let psi = [bench.zeros(&layout), bench.zeros(&layout)];
    let (d, evidence) = (bench.zeros(&layout), bench.slots());
    let buffers = FactorBuffers {
        diagonal: &uploaded.diagonal,
        edges: &uploaded.edges,
        psi: &psi,
        d: &d,
        evidence: &evidence,
    };
    factor::<F32>(
        &bench.context,
        buffers,
        correction,
        epsilon,
        PLAIN.gamma,
        EdgeRemoval::Outgoing,
        Strategy::Inferred,
    )
    .unwrap();
    let expected: Vec<Factor> = h
        .iter()
        .map(|h| {
            reference::factor(
                &h.damped(correction, epsilon),
                PLAIN.gamma,
                EdgeRemoval::Outgoing,
            )
        })
        .collect();
    let found = bench.read(&d);
    for (t, factor) in expected.iter().enumerate() {
        assert_close(&found[t], &factor.d, tolerance(2), 0.0, "D");
    }
    for (k, psi) in psi.iter().enumerate() {
        let found = bench.read(psi);
        for (t, factor) in expected.iter().enumerate() {
            assert_close(&found[t], &factor.psi[k], tolerance(2), 1.0, "psi");
        }
    }
}

#[test]
fn the_fused_update_cuts_the_same_pivots_as_the_oracle_and_reports_them() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    for band in [1, 4] {
        let mut h = ordinary(band);
        for (t, h) in h.iter_mut().enumerate() {
            h.moment = (0..h.moment.len())
                .map(|i| exact(noise(t + 70, i)))
                .collect();
        }
        let uploaded = upload(&bench, &layout, &h);
        for removal in REMOVALS {
            // Among the pivots: some columns are cut and some are not.
            let gamma = Tolerance {
                absolute: 0.05,
                relative: 0.5,
            };
            let options = Options {
                gamma,
                removal,
                weight_decay: 0.25,
                lr: 0.125,
                ..PLAIN
            };
            let (found, evidence) = fused(&bench, &layout, &uploaded, &weights, options);
            let factors: Vec<Factor> = h
                .iter()
                .map(|h| reference::factor(h, gamma, removal))
                .collect();
            let cut: usize = factors.iter().map(|f| f.cut.len()).sum();
            let linked: usize = h.iter().map(|h| h.diagonal.len() - 1).sum();
            assert!(cut > 0 && cut < linked, "{cut} of {linked} are cut");
            assert_eq!(evidence.count, cut as u64, "band {band}, {removal:?}");
            let first = (factors.iter().enumerate()).find_map(|(t, f)| Some((t, *f.cut.first()?)));
            assert_eq!(evidence.first.and_then(|at| layout.locate(at)), first);
            for (t, factor) in factors.iter().enumerate() {
                let u = factor.precondition(&h[t].moment);
                let expected: Vec<f64> = (weights[t].iter().zip(&u))
                    .map(|(w, u)| w - 0.125 * (u + 0.25 * w))
                    .collect();
                let scale = 0.125 * largest(&u) + 1.0;
                let what = format!("band {band}, {removal:?}, tensor {t}");
                assert_close(&found[t], &expected, tolerance(band), scale, &what);
            }
        }
    }
}

#[test]
fn the_layout_of_the_fused_update_changes_no_bit() {
    let bench = Bench::open();
    let layout = Layout::new(LENGTHS).unwrap();
    let weights = tensors(LENGTHS, |t, i| noise(t + 3, i));
    let mut h = ordinary(2);
    for (t, h) in h.iter_mut().enumerate() {
        // Tensors of different size, so that a wrong row sum shows.
        h.moment = (0..h.moment.len())
            .map(|i| exact(noise(t + 70, i)))
            .collect();
        let scale = 4f64.powi(t as i32 % 5);
        for x in h.diagonal.iter_mut().chain(h.edges.iter_mut().flatten()) {
            *x *= scale;
        }
    }
    let uploaded = upload(&bench, &layout, &h);
    for removal in REMOVALS {
        let run = |strategy| {
            let options = Options {
                epsilon: 0.01,
                relative: true,
                gamma: Tolerance {
                    absolute: 0.0,
                    relative: 0.5,
                },
                removal,
                lr: 0.125,
                strategy,
                ..PLAIN
            };
            fused(&bench, &layout, &uploaded, &weights, options)
        };
        let expected = run(Strategy::Inferred);
        // Whole blocks and parts of one; fewer units than runs, so that a unit takes several.
        for (width, run_length, units, cubes, unroll) in [
            (4, 8, 64, 4, true),
            (2, 128, 1, 2, true),
            (1, 32, 16, 1, true),
            (1, 64, 32, 8, false),
        ] {
            let sweep = Sweep {
                width,
                run: run_length,
                units,
                cubes,
                twins: false,
                team: false,
            };
            let forced = Blueprint { sweep, unroll };
            assert_eq!(run(Strategy::Forced(forced)), expected, "{forced:?}");
        }
    }
}
