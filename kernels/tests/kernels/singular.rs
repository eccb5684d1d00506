//! Statistics at the edge of singularity.

use sonew_kernels::arena::Layout;
use sonew_kernels::launch::Strategy;
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{Decay, EdgeRemoval, Tolerance};

use crate::bench::*;
use crate::factor::{REMOVALS, round, run_factor};
use crate::identities::PLAIN;

#[test]
fn proportional_neighbours_are_all_cut_and_left_with_the_damped_diagonal() {
    let bench = Bench::open();
    let layout = Layout::new(&[24, 2]).unwrap();
    for band in [1, 2, 4] {
        let h = [24usize, 2].map(|n| {
            let mut h = Statistics::zeros(n, band);
            // g_i = −½ g_{i+1}, exact in f32 with its products.
            let g: Vec<f64> = (0..n).map(|i| (-2.0f64).powi(i as i32)).collect();
            h.accumulate(&g, 0.9, Decay::Sum(1.0));
            round(h.damped(1.0, 1e-6))
        });
        // γ lies above the 10⁻⁶ that damping leaves of the first pivot, 10⁻³ of the pivots without neighbours.
        let gamma = Tolerance {
            absolute: 1e-4,
            relative: 1e-4,
        };
        for removal in REMOVALS {
            let found = run_factor(&bench, &layout, &h, gamma, removal, Strategy::Inferred);
            assert_eq!(found.cut.count, 23 + 1);
            assert_eq!(layout.locate(found.cut.first.unwrap()), Some((0, 0)));
            let d = bench.read(&found.d);
            for (d, h) in d.iter().zip(&h) {
                let expected: Vec<f64> = h.diagonal.iter().map(|h| 1.0 / h).collect();
                // One division; Vulkan allows it 2.5 ulp, 5 roundings.
                assert_close(d, &expected, 5.0 * ROUNDING, 0.0, "D");
            }
            for psi in &found.psi {
                let psi = bench.read(psi).concat();
                assert_eq!(psi, vec![0f32; 26], "band {band}, {removal:?}");
            }
        }
    }
}

/// κ₁ of the statistics of column j and its later neighbours.
fn condition(h: &Statistics, j: usize) -> f64 {
    let n = h.diagonal.len();
    let last = (j + h.edges.len()).min(n - 1);
    let entry = |a: usize, b: usize| match a.abs_diff(b) {
        0 => h.diagonal[a],
        k => h.edges[k - 1][a.min(b)],
    };
    let matrix: Vec<Vec<f64>> = (j..=last)
        .map(|a| (j..=last).map(|b| entry(a, b)).collect())
        .collect();
    let norm = |rows: &[Vec<f64>]| {
        rows.iter()
            .map(|row| row.iter().map(|x| x.abs()).sum())
            .fold(0.0, f64::max)
    };
    let inverse: Vec<Vec<f64>> = (0..matrix.len())
        .map(|i| {
            let mut unit = vec![0.0; matrix.len()];
            unit[i] = 1.0;
            reference::solve(matrix.clone(), unit)
        })
        .collect();
    norm(&matrix) * norm(&inverse)
}

#[test]
fn nearly_singular_statistics_lose_no_more_digits_than_their_condition_says() {
    let bench = Bench::open();
    let lengths = [1usize, 2, 5, 101];
    let layout = Layout::new(&lengths).unwrap();
    for band in [1, 2, 4] {
        for closeness in [0.1, 0.01] {
            let h: Vec<Statistics> = lengths
                .iter()
                .enumerate()
                .map(|(t, &n)| {
                    let mut h = Statistics::zeros(n, band);
                    for step in 0..40 {
                        let common = noise(step + 900, t);
                        let g: Vec<f64> = (0..n)
                            .map(|i| common + closeness * noise(step + 50 * t, i))
                            .collect();
                        h.accumulate(&g, 0.9, Decay::Average(0.95));
                    }
                    round(h)
                })
                .collect();
            let found = run_factor(
                &bench,
                &layout,
                &h,
                PLAIN.gamma,
                EdgeRemoval::Outgoing,
                Strategy::Inferred,
            );
            let d = bench.read(&found.d);
            let psi: Vec<_> = found.psi.iter().map(|p| bench.read(p)).collect();
            let mut worst: f64 = 0.0;
            for (t, h) in h.iter().enumerate() {
                let expected = reference::factor(h, PLAIN.gamma, EdgeRemoval::Outgoing);
                for j in 0..lengths[t] {
                    // The elimination is backward stable: its result is exact for H with each entry off by a few
                    // roundings for each of its b + 1 pivots, and what follows from that is multiplied by κ.
                    let condition = condition(h, j);
                    worst = worst.max(condition);
                    let bound = 4.0 * (band + 1) as f64 * condition * ROUNDING;
                    let what = format!("band {band}, tensor {t}, column {j}, κ = {condition:.0}");
                    assert_close(&d[t][j..=j], &expected.d[j..=j], bound, 0.0, &what);
                    let size = (0..band).map(|k| expected.psi[k][j].abs()).sum();
                    for (found, expected) in psi.iter().zip(&expected.psi) {
                        assert_close(&found[t][j..=j], &expected[j..=j], bound, size, &what);
                    }
                }
            }
            assert!(worst > 1e2, "κ = {worst} is not nearly singular");
        }
    }
}
