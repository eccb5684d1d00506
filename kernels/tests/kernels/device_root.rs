//! Inverse roots on the device. One file, for all of it needs the same tables of matrices.

use cubecl::server::Handle;
use sonew_kernels::error::Error;
use sonew_kernels::kronecker::{DeviceRoots, Ridge, RootHistory, RootProblem, Stop, reference};
use sonew_kernels::launch::Strategy;

use crate::bench::*;
use crate::matrices::*;

/// Matrices on the device, their roots (which start as 7 everywhere), and what computes them.
struct Roots<'a> {
    bench: &'a Bench,
    problems: Vec<RootProblem>,
    statistics: Handle,
    roots: Handle,
    device: DeviceRoots,
}

const BEFORE: f32 = 7.0;

impl<'a> Roots<'a> {
    fn of(bench: &'a Bench, matrices: &[(&[f32], u32)]) -> Self {
        let mut values = Vec::new();
        let mut problems = Vec::new();
        for &(matrix, p) in matrices {
            problems.push(RootProblem {
                start: values.len(),
                n: matrix.len().isqrt(),
                p,
            });
            values.extend_from_slice(matrix);
        }
        let device = DeviceRoots::new(&bench.context, &problems, Strategy::Inferred).unwrap();
        Self {
            bench,
            statistics: bench.context.upload(&values),
            roots: bench.context.upload(&vec![BEFORE; values.len()]),
            problems,
            device,
        }
    }

    fn compute(&self, which: std::ops::Range<usize>, ridge: Ridge) -> Vec<RootHistory> {
        let context = &self.bench.context;
        self.device
            .compute(context, &self.statistics, &self.roots, which, ridge, 0.1)
            .unwrap();
        self.device.evidence(context).unwrap()
    }

    fn root(&self, k: usize) -> Vec<f32> {
        let all: Vec<f32> = self.bench.context.download("test", &self.roots).unwrap();
        let RootProblem { start, n, .. } = self.problems[k];
        all[start..start + n * n].to_vec()
    }
}

fn on_diagonal(n: usize, value: impl Fn(usize) -> f32) -> Vec<f32> {
    let entry = |at: usize| {
        if at.is_multiple_of(n + 1) {
            value(at / (n + 1))
        } else {
            0.0
        }
    };
    (0..n * n).map(entry).collect()
}

#[test]
fn roots_of_all_sizes_orders_and_conditions_at_once_follow_the_oracle() {
    let bench = Bench::open();
    // The bounds that are promised; at 10⁸ an f32 root would be wrong by a fifth and more without the finer sums.
    let bounds = [
        (1.0, 1e-5),
        (1e2, 1e-4),
        (1e4, 1e-4),
        (1e6, 5e-4),
        (1e8, 1e-2),
    ];
    let mut cases = Vec::new();
    for n in [2, 5, 40, 70] {
        for (condition, bound) in bounds {
            for p in [1, 2, 3, 4, 6] {
                cases.push((conditioned(n, condition), p, condition, bound));
            }
        }
    }
    let matrices: Vec<(&[f32], u32)> = cases.iter().map(|case| (&case.0[..], case.1)).collect();
    let roots = Roots::of(&bench, &matrices);
    let evidence = roots.compute(0..cases.len(), Ridge::Absolute(0.0));
    let all: Vec<f32> = bench.context.download("test", &roots.roots).unwrap();
    for ((problem, evidence), (matrix, p, condition, bound)) in
        roots.problems.iter().zip(&evidence).zip(&cases)
    {
        let RootProblem { start, n, .. } = *problem;
        let expected = reference::inverse_root(&widened(matrix), n, *p, 0.0);
        let error = relative_error(&all[start..start + n * n], &expected);
        assert!(
            error <= *bound && evidence.failures == 0,
            "n {n}, p {p}, condition {condition:e}: error {error:e}, {evidence:?}"
        );
        let last = evidence.last.unwrap();
        assert_eq!(last.stop, Stop::Converged);
        assert!(last.iterations > 0 && last.residual < 1e-5 && last.check < 0.1);
    }
}

#[test]
fn an_identity_has_its_root_whatever_its_size() {
    let bench = Bench::open();
    // At 257 M comes close to I by chance, and has to go back before it settles.
    for n in [16, 257] {
        let identity = on_diagonal(n, |_| 1.0);
        let roots = Roots::of(&bench, &[(&identity, 4)]);
        roots.compute(0..1, Ridge::Absolute(0.0));
        let error = relative_error(&roots.root(0), &widened(&identity));
        assert!(error < 1e-5, "n {n}: {error:e}");
    }
}

#[test]
fn statistics_of_any_scale_have_roots() {
    let bench = Bench::open();
    let n = 12;
    let base = conditioned(n, 100.0);
    let scales = [-100, -37, 0, 41, 100];
    let scaled: Vec<Vec<f32>> = scales
        .iter()
        .map(|&k| base.iter().map(|x| x * 2f32.powi(k)).collect())
        .collect();
    let matrices: Vec<(&[f32], u32)> = scaled.iter().map(|a| (&a[..], 4)).collect();
    let roots = Roots::of(&bench, &matrices);
    for ridge in [Ridge::Absolute(0.0), Ridge::Relative(1e-3)] {
        roots.compute(0..scales.len(), ridge);
        for (k, matrix) in scaled.iter().enumerate() {
            let added = match ridge {
                Ridge::Absolute(added) => added,
                // The largest eigenvalue is 1 before it is scaled; 2⁻¹⁰⁰ is below the floor.
                Ridge::Relative(_) => ridge.of(2f64.powi(scales[k])),
            };
            let expected = reference::inverse_root(&widened(matrix), n, 4, added);
            let error = relative_error(&roots.root(k), &expected);
            assert!(error < 1e-4, "2^{}, {ridge:?}: {error:e}", scales[k]);
        }
    }
}

#[test]
fn a_ridge_far_below_the_diagonal_is_not_lost_in_rounding() {
    let bench = Bench::open();
    let n = 64;
    let g: Vec<f64> = (0..n * 8).map(|i| exact(noise(3, i))).collect();
    let deficient = reference::multiply(&g, &reference::transpose(&g, n, 8), n, 8, n);
    let deficient: Vec<f32> = deficient.iter().map(|&x| x as f32).collect();
    let roots = Roots::of(&bench, &[(&deficient, 4)]);
    let evidence = roots.compute(0..1, Ridge::Relative(1e-6))[0];
    let added = evidence.last.unwrap().ridge;
    let expected = reference::inverse_root(&widened(&deficient), n, 4, added);
    let error = relative_error(&roots.root(0), &expected);
    assert!(error < 1e-4, "{error:e}, {evidence:?}");
}

#[test]
fn entries_too_small_to_be_normal_numbers_do_no_harm() {
    let bench = Bench::open();
    let n = 40;
    // What is left of the statistics of pixels that are always black: rows that are 0 but for a tiny diagonal.
    let fading = |tiny: f32| -> Vec<f32> {
        let mut matrix = conditioned(n, 10.0);
        for i in [3, 17, n - 1] {
            for j in 0..n {
                matrix[i * n + j] = 0.0;
                matrix[j * n + i] = 0.0;
            }
            matrix[i * n + i] = tiny;
        }
        matrix
    };
    let tiny = [1e-37, 1e-40, 1e-44, 0.0];
    let matrices = tiny.map(fading);
    let problems: Vec<(&[f32], u32)> = matrices.iter().map(|m| (&m[..], 4)).collect();
    let roots = Roots::of(&bench, &problems);
    let evidence = roots.compute(0..tiny.len(), Ridge::Absolute(1e-5));
    for (k, matrix) in matrices.iter().enumerate() {
        let expected = reference::inverse_root(&widened(matrix), n, 4, 1e-5);
        let error = relative_error(&roots.root(k), &expected);
        assert!(error < 1e-4, "{:e}: {error:e}, {:?}", tiny[k], evidence[k]);
    }
}

#[test]
fn statistics_that_have_faded_away_have_the_root_of_the_ridge_s_floor() {
    let bench = Bench::open();
    let n = 30;
    // ε · 10⁻³⁰ for an ε that f32 can multiply by it, and for one of which it cannot hold the product.
    for epsilon in [1e-6, 9.66e-9] {
        let faded: [Vec<f32>; 3] = [0.0, 1e-44, 1e-39].map(|x| on_diagonal(n, |_| x));
        let problems: Vec<(&[f32], u32)> = faded.iter().map(|m| (&m[..], 4)).collect();
        let roots = Roots::of(&bench, &problems);
        let evidence = roots.compute(0..faded.len(), Ridge::Relative(epsilon));
        for (k, evidence) in evidence.iter().enumerate() {
            assert_eq!(evidence.failures, 0, "{evidence:?}");
            let root = roots.root(k);
            let expected = (epsilon * 1e-30).powf(-0.25);
            for (at, x) in root.iter().enumerate() {
                let expected = if at % (n + 1) == 0 { expected } else { 0.0 };
                let error = (f64::from(*x) - expected).abs();
                // A diagonal of 10⁻³⁹ is a tenth of the smaller ridge, and may count or not.
                assert!(
                    error <= 0.03 * expected,
                    "{k}, {epsilon:e}: {x:e} for {expected:e}"
                );
            }
        }
    }
}

#[test]
fn the_longest_streak_of_refusals_is_remembered() {
    let bench = Bench::open();
    let (good, bad) = (conditioned(6, 10.0), vec![f32::NAN; 36]);
    let roots = Roots::of(&bench, &[(&bad, 4)]);
    let mut seen = Vec::new();
    for matrix in [&bad, &bad, &good, &bad] {
        let statistics = bench.context.upload(matrix);
        roots
            .device
            .compute(
                &bench.context,
                &statistics,
                &roots.roots,
                0..1,
                Ridge::Absolute(0.0),
                0.1,
            )
            .unwrap();
        let evidence = roots.device.evidence(&bench.context).unwrap()[0];
        seen.push((evidence.failures, evidence.longest, evidence.refused));
        let last = evidence.last.unwrap();
        if last.stop == Stop::NotFinite {
            assert_eq!((last.iterations, last.raises), (0, 0));
        }
    }
    assert_eq!(seen, [(1, 1, 1), (2, 2, 2), (0, 2, 2), (1, 2, 3)]);
}

#[test]
fn what_has_no_root_keeps_the_one_it_had_and_is_counted() {
    let bench = Bench::open();
    let good = conditioned(6, 10.0);
    let mut not_a_number = good.clone();
    not_a_number[7] = f32::NAN;
    let mut infinite = good.clone();
    infinite[0] = f32::INFINITY;
    let indefinite = on_diagonal(6, |i| if i == 2 { -1.0 } else { 1.0 });
    let cases: [(&[f32], u32); 6] = [
        (&not_a_number, 4),
        (&infinite, 2),
        (&indefinite, 4),
        (&[0.0; 36], 4),
        (&good, 4),
        (&[0.25], 2),
    ];
    let roots = Roots::of(&bench, &cases);
    for round in 1..=2 {
        let evidence = roots.compute(0..cases.len(), Ridge::Absolute(0.0));
        for (k, stop) in [
            (0, Stop::NotFinite),
            (1, Stop::NotFinite),
            (2, Stop::Diverging),
            (3, Stop::Indefinite),
        ] {
            assert_eq!(evidence[k].last.unwrap().stop, stop, "matrix {k}");
            assert_eq!((evidence[k].failures, evidence[k].refused), (round, round));
            assert!(roots.root(k).iter().all(|&x| x == BEFORE), "matrix {k}");
        }
        for (k, evidence) in evidence.iter().enumerate().skip(4) {
            assert_eq!((evidence.failures, evidence.refused), (0, 0), "matrix {k}");
        }
    }
    assert!((roots.root(5)[0] - 2.0).abs() < 1e-6);
}

#[test]
fn a_matrix_that_rounding_made_indefinite_gets_a_larger_ridge() {
    let bench = Bench::open();
    let n = 30;
    // An eigenvalue of −10⁻⁷, where the ridge is 3·10⁻⁸.
    let matrix = on_diagonal(n, |i| if i == 4 { -1e-7 } else { 1.0 / (1 + i) as f32 });
    let roots = Roots::of(&bench, &[(&matrix, 4)]);
    let evidence = roots.compute(0..1, Ridge::Absolute(3e-8))[0];
    let last = evidence.last.unwrap();
    assert_eq!((evidence.failures, last.raises), (0, 1), "{evidence:?}");
    assert!((last.ridge - 3e-7).abs() < 1e-9);
    let expected = reference::inverse_root(&widened(&matrix), n, 4, 3e-7);
    let error = relative_error(&roots.root(0), &expected);
    assert!(error < 1e-3, "{error:e}");
}

/// I − 2 v vᵀ for an unstructured v, times eigenvalues of 1 down to 3·10⁻⁶ in its first half and of `least` in its second.
fn with_least(seed: usize, least: f64) -> Vec<f32> {
    let n = 24;
    let v: Vec<f64> = (0..n)
        .map(|i| ((seed * 31 + i * 17 + 7) % 101) as f64 / 101.0 - 0.5)
        .collect();
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let v: Vec<f64> = v.iter().map(|x| x / norm).collect();
    let q = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j];
    let eigenvalue = |k: usize| match k {
        0..4 => 0.5f64.powi(k as i32),
        4..12 => 10f64.powf(-(k as f64) / 2.0),
        _ => least,
    };
    let mut a = vec![0f32; n * n];
    for i in 0..n {
        for j in 0..=i {
            let terms = (0..n).map(|k| q(i, k) * eigenvalue(k) * q(j, k));
            a[i * n + j] = terms.sum::<f64>() as f32;
            a[j * n + i] = a[i * n + j];
        }
    }
    a
}

#[test]
fn a_root_that_would_be_refused_is_tried_again_with_a_larger_ridge() {
    let bench = Bench::open();
    // The first comes out with a residual of 10⁻⁷ and is wrong by a seventh. The second's least eigenvalue is 0 with its ridge.
    let singular = on_diagonal(24, |i| if i == 4 { -(2f32.powi(-20)) } else { 1.0 });
    let exactly = 2f64.powi(-20);
    for (matrix, ridge) in [
        (with_least(10, -0.5e-8), Ridge::Relative(1e-8)),
        (singular, Ridge::Absolute(exactly)),
    ] {
        let roots = Roots::of(&bench, &[(&matrix, 4)]);
        let evidence = roots.compute(0..1, ridge)[0];
        let last = evidence.last.unwrap();
        assert_eq!((evidence.refused, last.raises), (0, 1), "{evidence:?}");
        let expected = reference::inverse_root(&widened(&matrix), 24, 4, last.ridge);
        let error = relative_error(&roots.root(0), &expected);
        assert!(error < 0.05, "{error:e}, {evidence:?}");
    }
}

#[test]
fn only_the_roots_asked_for_are_computed_and_always_to_the_same_bits() {
    let bench = Bench::open();
    let matrices: Vec<Vec<f32>> = [3, 33, 64, 7].map(|n| conditioned(n, 1e5)).into();
    let all: Vec<(&[f32], u32)> = matrices.iter().map(|m| (&m[..], 4)).collect();
    let (once, in_parts) = (Roots::of(&bench, &all), Roots::of(&bench, &all));
    once.compute(0..4, Ridge::Relative(1e-7));
    let evidence = in_parts.compute(1..3, Ridge::Relative(1e-7));
    assert!(evidence[0].last.is_none() && evidence[3].last.is_none());
    assert!(in_parts.root(0).iter().all(|&x| x == BEFORE));
    assert!(in_parts.root(3).iter().all(|&x| x == BEFORE));
    in_parts.compute(0..1, Ridge::Relative(1e-7));
    in_parts.compute(3..4, Ridge::Relative(1e-7));
    for k in 0..4 {
        assert_eq!(once.root(k), in_parts.root(k), "matrix {k}");
    }
}

#[test]
fn device_roots_refuse_what_does_not_fit() {
    let bench = Bench::open();
    let context = &bench.context;
    let new = |problems: &[RootProblem]| {
        DeviceRoots::new(context, problems, Strategy::Inferred).map(|_| ())
    };
    let problem = |start, n, p| RootProblem { start, n, p };
    assert!(matches!(
        new(&[problem(0, 0, 4)]),
        Err(Error::Range { argument: "n", .. })
    ));
    assert!(matches!(
        new(&[problem(0, 2, 65)]),
        Err(Error::Range { argument: "p", .. })
    ));
    assert!(matches!(
        new(&[problem(0, 2, 4), problem(5, 1, 4)]),
        Err(Error::Shape { .. })
    ));
    let identity = on_diagonal(2, |_| 1.0);
    let roots = Roots::of(&bench, &[(&identity, 4)]);
    let short = bench.values(3);
    let run = |statistics: &Handle, out: &Handle, end: usize, ridge: f64| {
        let ridge = Ridge::Absolute(ridge);
        roots
            .device
            .compute(context, statistics, out, 0..end, ridge, 0.1)
    };
    assert!(matches!(
        run(&short, &roots.roots, 1, 0.0),
        Err(Error::Length {
            argument: "statistics",
            ..
        })
    ));
    assert!(matches!(
        run(&roots.statistics, &short, 1, 0.0),
        Err(Error::Length {
            argument: "roots",
            ..
        })
    ));
    assert!(matches!(
        run(&roots.statistics, &roots.roots, 2, 0.0),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        run(&roots.statistics, &roots.roots, 1, -1.0),
        Err(Error::Range { .. })
    ));
    run(&roots.statistics, &roots.roots, 0, 0.0).unwrap();
    let none = DeviceRoots::new(context, &[], Strategy::Inferred).unwrap();
    assert!(none.evidence(context).unwrap().is_empty());
}
