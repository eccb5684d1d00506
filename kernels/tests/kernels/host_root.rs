//! Inverse roots in host memory, by every method.

use sonew_kernels::error::Error;
use sonew_kernels::kronecker::{Method, Ridge, Stop, inverse_root, reference};
use sonew_kernels::precision::{HostFormat, Pairs};

use crate::bench::*;
use crate::matrices::*;

#[test]
fn the_oracle_decomposes_what_it_is_given() {
    let n = 24;
    let a = widened(&conditioned(n, 1e4));
    let (values, v) = reference::eigen(&a, n);
    let scaled: Vec<f64> = (0..n * n).map(|at| v[at] * values[at % n]).collect();
    let back = reference::multiply(&scaled, &reference::transpose(&v, n, n), n, n, n);
    let worst = back.iter().zip(&a).map(|(x, y)| (x - y).abs());
    assert!(worst.fold(0.0, f64::max) < 1e-14);
}

/// The methods that keep as many digits as f32 statistics have.
const FINE: [Method; 4] = [
    Method::Eigen,
    Method::Newton,
    Method::NewtonDouble,
    Method::NewtonRefreshed,
];

#[test]
fn roots_follow_the_oracle_for_every_method_order_and_condition() {
    // Newton in f32 loses u · condition in the least eigenvalues; the methods in f64 round once, to f32.
    let bounds: [(Method, &[(f64, f64)]); 4] = [
        (
            Method::Eigen,
            &[
                (1.0, 1e-6),
                (1e2, 1e-6),
                (1e4, 1e-6),
                (1e6, 1e-6),
                (1e8, 1e-6),
            ],
        ),
        (Method::Newton, &[(1.0, 1e-5), (1e2, 1e-4), (1e4, 1e-3)]),
        (
            Method::NewtonDouble,
            &[
                (1.0, 1e-5),
                (1e2, 1e-5),
                (1e4, 1e-5),
                (1e6, 1e-5),
                (1e8, 1e-5),
            ],
        ),
        // The bounds that are promised at 1000 × 1000; `sonew roots` measures there.
        (
            Method::NewtonRefreshed,
            &[
                (1.0, 1e-5),
                (1e2, 1e-4),
                (1e4, 1e-4),
                (1e6, 5e-4),
                (1e8, 1e-2),
            ],
        ),
    ];
    for n in [2, 5, 40] {
        for (method, conditions) in bounds {
            for &(condition, bound) in conditions {
                let a = conditioned(n, condition);
                for p in [1, 2, 4, 6] {
                    let root = inverse_root(&a, n, p, Ridge::Absolute(0.0), method).unwrap();
                    let expected = reference::inverse_root(&widened(&a), n, p, 0.0);
                    let error = relative_error(&root.values, &expected);
                    assert!(
                        error <= bound && root.evidence.accepted(0.1),
                        "{method:?}, n {n}, p {p}, condition {condition:e}: error {error:e}, {:?}",
                        root.evidence
                    );
                }
            }
        }
    }
}

#[test]
fn a_root_in_bf16_has_two_digits_of_a_well_conditioned_matrix_and_is_refused_for_others() {
    let n = 40;
    for (condition, bound) in [(1.0, 0.02), (4.0, 0.05), (16.0, 0.1)] {
        let a = conditioned(n, condition);
        let root = inverse_root(&a, n, 4, Ridge::Absolute(0.0), Method::NewtonBf16).unwrap();
        let expected = reference::inverse_root(&widened(&a), n, 4, 0.0);
        let error = relative_error(&root.values, &expected);
        assert!(
            error < bound && root.evidence.accepted(0.1),
            "condition {condition:e}: error {error:e}, {:?}",
            root.evidence
        );
        let held = |x: &f32| *x == Pairs::rounded(*x);
        assert!(root.values.iter().all(held), "the root is bf16");
    }
    let a = conditioned(n, 1e6);
    let root = inverse_root(&a, n, 4, Ridge::Absolute(0.0), Method::NewtonBf16).unwrap();
    assert!(!root.evidence.accepted(0.1), "{:?}", root.evidence);
}

#[test]
fn an_identity_has_its_root_whatever_its_size() {
    // From 257 on M comes close to I by chance, and has to go back before it settles.
    for n in [16, 257, 400] {
        let identity: Vec<f32> = (0..n * n)
            .map(|at| f32::from(u8::from(at % (n + 1) == 0)))
            .collect();
        for method in FINE {
            let root = inverse_root(&identity, n, 4, Ridge::Absolute(0.0), method).unwrap();
            let error = relative_error(&root.values, &widened(&identity));
            assert!(error < 1e-5, "{method:?}, {n}: {error:e}");
        }
    }
}

#[test]
fn rank_deficient_diagonal_identity_and_one_by_one_matrices_have_their_roots() {
    let n = 30;
    let g: Vec<f64> = (0..n * 4).map(|i| exact(noise(3, i))).collect();
    let deficient = reference::multiply(&g, &reference::transpose(&g, n, 4), n, 4, n);
    let deficient: Vec<f32> = deficient.iter().map(|&x| x as f32).collect();
    let diagonal: Vec<f32> = (0..n * n)
        .map(|at| {
            if at % (n + 1) == 0 {
                2f32.powi(-((at % n) as i32 % 12))
            } else {
                0.0
            }
        })
        .collect();
    let identity: Vec<f32> = (0..n * n)
        .map(|at| f32::from(u8::from(at % (n + 1) == 0)))
        .collect();
    for method in FINE {
        for (matrix, size, bound) in [
            (&deficient[..], n, 2e-3),
            (&diagonal[..], n, 1e-4),
            (&identity[..], n, 1e-5),
            (&[0.25][..], 1, 1e-6),
        ] {
            let root = inverse_root(matrix, size, 4, Ridge::Relative(1e-4), method).unwrap();
            let expected = reference::inverse_root(&widened(matrix), size, 4, root.evidence.ridge);
            let error = relative_error(&root.values, &expected);
            assert!(error < bound, "{method:?}, {size}: {error:e}");
            assert!(root.evidence.accepted(0.1), "{:?}", root.evidence);
            let largest = reference::eigen(&widened(matrix), size).0;
            let largest = largest.into_iter().fold(0.0, f64::max);
            let ratio = root.evidence.ridge / (1e-4 * largest);
            // Power iteration stops at a change of 10⁻⁶; close eigenvalues leave more than that.
            assert!((ratio - 1.0).abs() < 1e-2, "ridge off by {ratio}");
        }
    }
}

#[test]
fn statistics_that_rounding_made_indefinite_have_roots_all_the_same() {
    // Rank 2, an eigenvalue pushed below zero by more than the ridge lifts it.
    let n = 12;
    let g: Vec<f64> = (0..n * 2).map(|i| exact(noise(5, i))).collect();
    let mut s = reference::multiply(&g, &reference::transpose(&g, n, 2), n, 2, n);
    let (values, v) = reference::eigen(&s, n);
    let largest = values.iter().fold(0.0, |most: f64, &x| most.max(x));
    let least = (0..n).min_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
    let k = least.unwrap();
    for i in 0..n {
        for j in 0..n {
            s[i * n + j] -= 3e-7 * largest * v[i * n + k] * v[j * n + k];
        }
    }
    let s: Vec<f32> = s.iter().map(|&x| x as f32).collect();
    for method in FINE {
        let root = inverse_root(&s, n, 4, Ridge::Relative(1e-8), method).unwrap();
        assert!(
            root.evidence.accepted(0.1),
            "{method:?}: {:?}",
            root.evidence
        );
        if method == Method::Eigen {
            let most = root.values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let bound = (0.5 * root.evidence.ridge).powf(-0.25) as f32;
            assert!(
                most <= 1.01 * bound,
                "no eigenvalue lies below half the ridge"
            );
        } else {
            assert!(root.evidence.raises > 0, "the ridge was raised");
        }
    }
}

#[test]
fn a_matrix_without_a_root_is_refused_with_the_reason_and_no_panic() {
    let n = 6;
    let zero = vec![0f32; n * n];
    let mut spoiled = conditioned(n, 10.0);
    spoiled[3] = f32::NAN;
    for (_, method) in Method::ALL {
        for p in [1, 2, 3, 4] {
            let none = inverse_root(&zero, n, p, Ridge::Absolute(0.0), method).unwrap();
            assert_eq!(none.evidence.stop, Stop::Indefinite, "{method:?}, p {p}");
            assert!(!none.evidence.accepted(0.1));
        }
        let bad = inverse_root(&spoiled, n, 4, Ridge::Relative(1e-6), method).unwrap();
        assert_eq!(bad.evidence.stop, Stop::NotFinite, "{method:?}");
        assert!(bad.values.iter().all(|x| x.is_finite()));
        // A ridge gives the zero matrix a root.
        let ridged = inverse_root(&zero, n, 4, Ridge::Absolute(16.0), method).unwrap();
        assert!(ridged.evidence.accepted(0.1));
        let bound = match method {
            Method::NewtonBf16 => 1e-2,
            _ => 1e-5,
        };
        assert!((ridged.values[0] - 0.5).abs() < bound, "{method:?}");
    }
    // Indefinite, and not by rounding: no ridge below 1 helps.
    let indefinite = [1.0, 0.0, 0.0, -1.0];
    for ridge in [Ridge::Relative(1e-6), Ridge::Absolute(0.5)] {
        let root = inverse_root(&indefinite, 2, 4, ridge, Method::Eigen).unwrap();
        assert_eq!(root.evidence.stop, Stop::Indefinite);
        assert!(!root.evidence.accepted(0.1));
    }
    let scalar = inverse_root(&[0.0], 1, 4, Ridge::Absolute(0.0), Method::Eigen).unwrap();
    assert_eq!(scalar.evidence.stop, Stop::Indefinite);
}

#[test]
fn small_and_large_matrices_have_roots_of_the_same_accuracy() {
    // Gradients of 10⁻¹⁰ have statistics of 10⁻²⁰; absolute thresholds would take them for zero.
    let n = 20;
    let a = conditioned(n, 1e3);
    let expected = reference::inverse_root(&widened(&a), n, 4, 0.0);
    for scale in [1e-30f32, 1e-20, 1e20] {
        let scaled: Vec<f32> = a.iter().map(|x| x * scale).collect();
        for method in FINE {
            let root = inverse_root(&scaled, n, 4, Ridge::Relative(1e-12), method).unwrap();
            let back = f64::from(scale).powf(0.25);
            let expected: Vec<f64> = expected.iter().map(|x| x / back).collect();
            let error = relative_error(&root.values, &expected);
            assert!(error < 1e-3, "{method:?}, scale {scale:e}: {error:e}");
        }
        let root = inverse_root(&scaled, n, 4, Ridge::Relative(1e-3), Method::Newton).unwrap();
        let largest = root.evidence.ridge / (1e-3 * f64::from(scale));
        assert!((largest - 1.0).abs() < 1e-3, "λ_max is taken for {largest}");
    }
    // An eigensolver whose tolerance is absolute loses the least eigenvalues of this one.
    let a: Vec<f32> = conditioned(64, 1e8).iter().map(|x| x * 1e-12).collect();
    let root = inverse_root(&a, 64, 4, Ridge::Absolute(0.0), Method::Eigen).unwrap();
    let error = relative_error(
        &root.values,
        &reference::inverse_root(&widened(&a), 64, 4, 0.0),
    );
    assert!(error < 1e-6, "{error:e}");
}

#[test]
fn a_wrong_root_of_the_published_iteration_is_not_accepted() {
    let mut refused = 0;
    for n in [40, 64, 100] {
        let a = conditioned(n, 1e8);
        let expected = reference::inverse_root(&widened(&a), n, 4, 0.0);
        for (_, method) in Method::ALL {
            let root = inverse_root(&a, n, 4, Ridge::Absolute(0.0), method).unwrap();
            let error = relative_error(&root.values, &expected);
            let accepted = root.evidence.accepted(0.1);
            refused += u32::from(!accepted);
            assert!(
                !accepted || error < 0.1,
                "{method:?}, n {n}: error {error:e}, {:?}",
                root.evidence
            );
        }
    }
    assert!(refused > 0, "in f32 the iteration cannot be right at 10⁸");
}

#[test]
fn roots_refuse_other_shapes_and_values_out_of_range() {
    let a = conditioned(3, 10.0);
    let run = |s: &[f32], n, p, ridge| inverse_root(s, n, p, ridge, Method::Eigen);
    assert!(matches!(
        run(&a[..8], 3, 4, Ridge::Absolute(0.0)),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        run(&[], 0, 4, Ridge::Absolute(0.0)),
        Err(Error::Shape { .. })
    ));
    for p in [0, 65, u32::MAX] {
        assert!(matches!(
            run(&a, 3, p, Ridge::Absolute(0.0)),
            Err(Error::Range { argument: "p", .. })
        ));
    }
    assert!(matches!(
        run(&a, 3, 4, Ridge::Relative(-1.0)),
        Err(Error::Range {
            argument: "ridge",
            ..
        })
    ));
}
