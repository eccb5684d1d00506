//! Roots in host memory, by any [`Method`].

mod eigen;
mod matrices;
mod newton;
mod refreshed;

use super::root::{Attempt, LARGEST_ORDER, Method, RAISES, Ridge, Root, RootEvidence, Stop, WRONG};
use crate::error::{Error, require_non_negative};
use matrices::{apply, largest_eigenvalue};

pub(super) use eigen::decompose;
pub(super) use matrices::unstructured;

/// (S + ridge · I)^{−1/p} of the symmetric n × n matrix `s`, in host memory.
///
/// A root that cannot be found is no error: the evidence says why, and the caller keeps the root it has.
///
/// # Errors
/// [`Error::Shape`] if `s` does not hold n² values, n ≥ 1; [`Error::Range`] for p outside 1 to
/// [`LARGEST_ORDER`] or a ridge that is negative.
pub fn inverse_root(
    s: &[f32],
    n: usize,
    p: u32,
    ridge: Ridge,
    method: Method,
) -> Result<Root, Error> {
    let operation = "inverse root";
    if n == 0 || n.checked_mul(n) != Some(s.len()) {
        return Err(Error::Shape {
            operation,
            argument: "the matrix",
            found: format!("{} values", s.len()),
            expected: format!("{n} × {n}, at least 1 × 1"),
        });
    }
    if !(1..=LARGEST_ORDER).contains(&p) {
        return Err(Error::Range {
            operation,
            argument: "p",
            found: f64::from(p),
            expected: "1 to 64",
        });
    }
    let (Ridge::Relative(epsilon) | Ridge::Absolute(epsilon)) = ridge;
    require_non_negative(operation, "ridge", epsilon)?;
    if s.iter().any(|x| !x.is_finite()) {
        return Ok(judged(Attempt::failed(0.0, Stop::NotFinite), s, n, p));
    }
    let unit = Unit::of(s, p);
    let scaled: Vec<f32> = s
        .iter()
        .map(|&x| (f64::from(x) * unit.down) as f32)
        .collect();
    let ridge_of = |largest: f64| ridge.of(largest / unit.down) * unit.down;
    let mut root = if n == 1 {
        judged(scalar(f64::from(scaled[0]), p, ridge_of), &scaled, n, p)
    } else if method == Method::Eigen {
        let attempt = eigen::inverse_root(&scaled, n, p, ridge_of)?;
        judged(attempt, &scaled, n, p)
    } else {
        iterated(&scaled, n, p, ridge_of, method)?
    };
    root.evidence.ridge /= unit.down;
    for x in &mut root.values {
        *x = (f64::from(*x) * unit.back) as f32;
    }
    Ok(finite(root))
}

/// What is not finite is no root.
fn finite(mut root: Root) -> Root {
    if root.values.iter().any(|x| !x.is_finite()) {
        root.values.fill(0.0);
        root.evidence.stop = Stop::NotFinite;
        root.evidence.residual = f64::INFINITY;
        root.evidence.check = f64::INFINITY;
    }
    root
}

/// A power of two that brings the largest entry of S to [1, 2ᵖ), and its p-th root, a power of two as well: the root of
/// 2^{pk} S has the digits of that of S.
struct Unit {
    /// 2^{−pk}.
    down: f64,
    /// 2^{−k}.
    back: f64,
}

impl Unit {
    fn of(s: &[f32], p: u32) -> Self {
        let largest = s
            .iter()
            .fold(0.0, |most: f64, &x| most.max(f64::from(x).abs()));
        if largest == 0.0 {
            return Self {
                down: 1.0,
                back: 1.0,
            };
        }
        // Exponents of f64, which holds all of f32 as normal numbers: exact, as a logarithm is not.
        let exponent = (largest.to_bits() >> 52) as i32 - 1023;
        let k = exponent.div_euclid(p as i32);
        Self {
            down: f64::from(-k * p as i32).exp2(),
            back: f64::from(-k).exp2(),
        }
    }
}

/// A root by iteration. Where none is found, or one that is wrong, the ridge is raised tenfold, up to six times: rounding
/// leaves eigenvalues below zero that a small ridge does not lift (so does the newer public code).
fn iterated(
    s: &[f32],
    n: usize,
    p: u32,
    ridge: impl Fn(f64) -> f64,
    method: Method,
) -> Result<Root, Error> {
    let mut added = ridge(largest_eigenvalue(s, n));
    let mut raises = 0;
    loop {
        let attempt = match method {
            Method::NewtonRefreshed => refreshed::inverse_root(s, n, p, added)?,
            Method::NewtonDouble => newton::inverse_root::<f64>(s, n, p, added)?,
            Method::NewtonBf16 => newton::inverse_root_in_bf16(s, n, p, added)?,
            _ => newton::inverse_root::<f32>(s, n, p, added)?,
        };
        let mut root = judged(attempt, s, n, p);
        root.evidence.raises = raises;
        if root.evidence.accepted(WRONG) || added == 0.0 || raises == RAISES {
            return Ok(root);
        }
        added *= 10.0;
        raises += 1;
    }
}

/// Checks an attempt; what is not finite is no root.
fn judged(attempt: Attempt, s: &[f32], n: usize, p: u32) -> Root {
    let Attempt {
        mut values,
        iterations,
        residual,
        ridge,
        mut stop,
    } = attempt;
    let missing = values.len() != n * n;
    if !missing && values.iter().any(|x| !x.is_finite()) {
        stop = Stop::NotFinite;
    }
    let residual = if residual.is_nan() {
        f64::INFINITY
    } else {
        residual
    };
    let failed = missing || stop == Stop::NotFinite;
    if failed {
        values = vec![0.0; n * n];
    }
    let check = match stop {
        _ if failed => f64::INFINITY,
        Stop::Direct => 0.0,
        _ => check(&values, s, n, p, ridge),
    };
    Root {
        values,
        evidence: RootEvidence {
            iterations,
            residual,
            check,
            ridge,
            raises: 0,
            stop,
        },
    }
}

fn scalar(s: f64, p: u32, ridge: impl Fn(f64) -> f64) -> Attempt {
    let added = ridge(s);
    if s + added <= 0.0 {
        return Attempt::failed(added, Stop::Indefinite);
    }
    Attempt {
        values: vec![(s + added).powf(-1.0 / f64::from(p)) as f32],
        iterations: 0,
        residual: 0.0,
        ridge: added,
        stop: Stop::Direct,
    }
}

/// |vᵀ X^⌊p/2⌋ (S + ridge · I) X^⌈p/2⌉ v − 1| in f64, in O(p n²).
fn check(x: &[f32], s: &[f32], n: usize, p: u32, ridge: f64) -> f64 {
    let mut v: Vec<f64> = (0..n as u64).map(unstructured).collect();
    for _ in 0..8 {
        v = apply(x, &v);
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
    let (mut left, mut right) = (v.clone(), v);
    for _ in 0..p / 2 {
        left = apply(x, &left);
    }
    for _ in 0..p.div_ceil(2) {
        right = apply(x, &right);
    }
    let product = apply(s, &right);
    let terms = left
        .iter()
        .zip(product.iter().zip(&right))
        .map(|(l, (sr, r))| l * (sr + ridge * r));
    let distance = (terms.sum::<f64>() - 1.0).abs();
    if distance.is_nan() {
        f64::INFINITY
    } else {
        distance
    }
}
