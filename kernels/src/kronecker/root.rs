//! The inverse p-th root of a symmetric positive semi-definite matrix, X = (S + ridge · I)^{−1/p}, with evidence of how
//! it was found.
//!
//! | method | how | arithmetic |
//! |---|---|---|
//! | [`Method::Eigen`] | eigendecomposition | f64 |
//! | [`Method::Newton`] | coupled Newton iteration as published | f32 |
//! | [`Method::NewtonDouble`] | the same | f64 |
//! | [`Method::NewtonBf16`] | the same | bf16, products summed in f32 |
//! | [`Method::NewtonRefreshed`] | longer steps, M computed afresh once | f32, two products summed with more digits |
//!
//! S and X are f32. Working in f32 means an error of u ‖S‖ in S, u = 6·10⁻⁸: at a condition of 10⁸ that is more than the
//! least eigenvalue, on which X depends most. So at least some of the work needs more digits.
//!
//! The coupled iterations carry M ≈ Xᵖ A and stop when it is I, but in f32 M converges to I whatever X does: at a
//! condition of 10⁸ the published test accepts roots that are wrong by a fifth. An iterated root is therefore checked on
//! its own: with v a unit vector that X has amplified eight times, so that the directions of the least eigenvalues dominate,
//! vᵀ X^{p/2} (S + ridge · I) X^{p/2} v must be 1.

use serde::{Deserialize, Serialize};

use super::{eigen, newton, refreshed};
use crate::error::{Error, require_non_negative};

/// How a root is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Eigendecomposition in f64: on a processor the fastest, and the most accurate.
    #[default]
    Eigen,
    /// Coupled Newton iteration in f32, as published.
    Newton,
    /// Coupled Newton iteration in f64.
    NewtonDouble,
    /// Coupled Newton iteration with every matrix rounded to bf16, and products summed in f32: what is left of the
    /// published one where all is bf16.
    NewtonBf16,
    /// Coupled Newton iteration in f32 with longer steps, and M computed afresh once with more digits.
    NewtonRefreshed,
}

impl Method {
    /// All methods, by their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("eigen", Self::Eigen),
        ("newton", Self::Newton),
        ("newton-double", Self::NewtonDouble),
        ("newton-bf16", Self::NewtonBf16),
        ("newton-refreshed", Self::NewtonRefreshed),
    ];
}

/// What is added to the diagonal of S.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ridge {
    /// ε · max(λ_max, 10⁻³⁰).
    Relative(f64),
    /// ε.
    Absolute(f64),
}

impl Ridge {
    /// The ridge for a largest eigenvalue λ_max.
    ///
    /// The public code has a floor of 10⁻⁶ under λ_max, which is more than the statistics of small gradients ever reach;
    /// this one only keeps a zero matrix from dividing by zero.
    pub fn of(self, largest: f64) -> f64 {
        match self {
            Self::Relative(epsilon) => epsilon * largest.max(1e-30),
            Self::Absolute(epsilon) => epsilon,
        }
    }
}

/// Why a computation of a root ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Nothing to iterate: 1 × 1, or an eigendecomposition.
    Direct,
    /// The residual is within the tolerance.
    Converged,
    /// The residual grew by more than a fifth.
    Diverging,
    /// The iterations were used up.
    Iterations,
    /// S + ridge · I is not positive definite.
    Indefinite,
    /// S holds NaN or infinities, or the root would.
    NotFinite,
}

/// How a root was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RootEvidence {
    /// Iterations taken.
    pub iterations: u32,
    /// The distance of M from I as the iteration carries it: max|M − I|, or ‖M − I‖_F of [`Method::NewtonRefreshed`].
    /// Of a decomposition ‖S v − V Λ Vᵀ v‖ / (λ_max ‖v‖) for one v.
    pub residual: f64,
    /// |vᵀ X^⌊p/2⌋ (S + ridge · I) X^⌈p/2⌉ v − 1| for a unit v in which the least eigenvalues dominate; 0 of a
    /// decomposition, which has no iteration to go astray.
    pub check: f64,
    /// What was added to the diagonal, raises included.
    pub ridge: f64,
    /// How often an iteration found no root and was tried again with ten times the ridge.
    pub raises: u32,
    /// Why it ended.
    pub stop: Stop,
}

impl RootEvidence {
    /// Whether the root may be used: finite, and both residual and check below `threshold`.
    pub fn accepted(&self, threshold: f64) -> bool {
        !matches!(self.stop, Stop::Indefinite | Stop::NotFinite)
            && self.residual < threshold
            && self.check < threshold
    }
}

/// A root and its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// n² values; of no use unless the evidence says so.
    pub values: Vec<f32>,
    /// How it was found.
    pub evidence: RootEvidence,
}

/// What a method found, before the check.
pub(super) struct Attempt {
    pub values: Vec<f32>,
    pub iterations: u32,
    pub residual: f64,
    pub ridge: f64,
    pub stop: Stop,
}

impl Attempt {
    pub fn failed(ridge: f64, stop: Stop) -> Self {
        Self {
            values: Vec::new(),
            iterations: 0,
            residual: f64::INFINITY,
            ridge,
            stop,
        }
    }
}

/// p is at most this.
pub const LARGEST_ORDER: u32 = 64;

/// An iterated root with this residual or check is wrong beyond doubt, and tried again with a larger ridge.
pub(super) const WRONG: f64 = 0.1;
/// How often.
pub(super) const RAISES: u32 = 6;

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
    let mut v: Vec<f64> = (0..n as u64).map(start).collect();
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

/// M v, summed in f64.
fn apply(m: &[f32], v: &[f64]) -> Vec<f64> {
    m.chunks_exact(v.len())
        .map(|row| row.iter().zip(v).map(|(&a, x)| f64::from(a) * x).sum())
        .collect()
}

/// S + ridge · I in f64.
pub(super) fn with_ridge(s: &[f32], n: usize, ridge: f64) -> Vec<f64> {
    let mut a: Vec<f64> = s.iter().map(|&x| f64::from(x)).collect();
    a.iter_mut().step_by(n + 1).for_each(|x| *x += ridge);
    a
}

/// λ_max of a symmetric positive semi-definite matrix by power iteration in f64, from a fixed start, until it changes by
/// less than 10⁻⁶ of itself, at most 100 times.
///
/// The public code stops when λ changes by less than 10⁻⁶ in absolute terms, which for the statistics of small
/// gradients is at once.
fn largest_eigenvalue(s: &[f32], n: usize) -> f64 {
    let mut v: Vec<f64> = (0..n as u64).map(start).collect();
    let mut largest = 0.0;
    for _ in 0..100 {
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        v.iter_mut().for_each(|x| *x /= norm);
        let next = apply(s, &v);
        let estimate: f64 = next.iter().zip(&v).map(|(a, x)| a * x).sum();
        v = next;
        let done = (estimate - largest).abs() <= 1e-6 * estimate.abs();
        largest = estimate;
        if done {
            break;
        }
    }
    largest
}

/// An unstructured value in [−1, 1): the finaliser of SplitMix64.
pub(super) fn start(i: u64) -> f64 {
    let mut z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}
