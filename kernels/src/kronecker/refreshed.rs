//! The coupled Newton iteration with the longest monotone steps, and M computed once afresh from A.
//!
//! With M₀ = z A ≤ I, H₀ = I and a lower bound ℓ of the eigenvalues of M, a step multiplies by q(M) = a I − b M,
//!
//! H ← H q(M),  M ← q(M)^{p/2} M q(M)^{p/2},
//!
//! where a and b make max q(m)ᵖ m over [0, 1] equal to 1 and its least value over [ℓ, 1] large: with
//! s = max(ℓ^{1/p}, ½) and ρ = 1 / (1 + s + … + sᵖ), a = (p+1)/p · ((p+1) ρ)^{1/p} and b = a ρ. At s = 1 that is
//! Newton's step. (s ≥ ½ keeps eigenvalues that have arrived at 1 from being thrown back far.)
//!
//! In f32 alone this loses, as all of its kind do, about u times the condition. What is lost is lost in M: rounding in the
//! products perturbs its least eigenvalues while they are still far below u. H suffers little, for whatever the small
//! eigenvalues of M are mistaken for, H stays close to a polynomial of A. So once small eigenvalues have grown by Γ, M is
//! computed afresh by congruence, M = Wᵀ (A W) with W = H^{p/2}, in products whose sums carry more digits than f32; the
//! least eigenvalue of M is then far enough above u for f32 to finish. At p = 4 two of 44 to
//! 56 products need it.
//!
//! Recomputing M as Hᵖ A instead, without the symmetry, would amplify an error of H between the eigenvectors i and j by
//! the square of the ratio of their eigenvalues.

use super::newton::{multiply, power};
use super::root::{Attempt, Stop, with_ridge};
use crate::error::Error;
use crate::product::HostMatrix;

/// The least eigenvalue assumed where the ridge says nothing of it, relative to the norm.
pub(super) const LEAST: f64 = 1e-9;
/// s is at least this.
pub(super) const CUSHION: f64 = 0.5;
/// Γ: M is computed afresh once its least eigenvalues have grown by this. From 10³ to 10⁴ all do; at 10³ and at 10⁵ the
/// error is five times larger.
pub(super) const GAIN: f64 = 4e3;
/// ‖M − I‖_F at which the next step of H is the last: it squares the distance.
pub(super) const TOLERANCE: f64 = 2e-3;
const ITERATIONS: u32 = 60;

pub(super) fn inverse_root(s: &[f32], n: usize, p: u32, added: f64) -> Result<Attempt, Error> {
    if p % 2 == 1 {
        // A^{−1/p} = Y² with Y = A^{−1/2p}.
        let mut half = inverse_root(s, n, 2 * p, added)?;
        if half.values.is_empty() {
            return Ok(half);
        }
        let mut square = vec![0.0; n * n];
        multiply(&mut square, &half.values, &half.values, n)?;
        half.values = square;
        return Ok(half);
    }
    let order = f64::from(p);
    let norm = frobenius(s) + added;
    if norm == 0.0 {
        return Ok(Attempt::failed(added, Stop::Indefinite));
    }
    // A power of two, so that z A is exact.
    let z = (-norm.log2().ceil()).exp2();
    let a: Vec<f32> = s.iter().map(|&x| (f64::from(x) * z) as f32).collect();
    let ridge = z * added;
    let mut m: Vec<f32> = with_ridge(&a, n, ridge).iter().map(|&x| x as f32).collect();
    let mut h: Vec<f32> = (0..n * n)
        .map(|at| f32::from(u8::from(at % (n + 1) == 0)))
        .collect();
    let mut scratch = vec![0f32; n * n];
    let mut low = ridge.max(LEAST);
    let (mut gain, mut refreshed, mut last) = (1.0, false, f64::INFINITY);
    let mut iterations = 0;
    let (stop, residual) = loop {
        let distance = distance_from_identity(&m, n);
        // M lies between `low` · I and I, so its distance from I is at most √n (1 − low); at the end it has to fall, unless
        // it was below that by chance.
        let root_n = (n as f64).sqrt();
        let lost = distance.is_nan() || distance > 2.0 * root_n;
        let beyond = distance > root_n * (1.0 - low) + TOLERANCE;
        if lost || (low > 0.9 && beyond && distance > 1.2 * last && last < 1.0) {
            break (Stop::Diverging, distance);
        }
        if iterations == ITERATIONS {
            break (Stop::Iterations, distance);
        }
        last = distance;
        low = low.max(1.0 - distance).min(1.0);
        let (shift, scale) = step(order, low);
        low = lifted(order, low, shift, scale);
        let q: Vec<f32> = m
            .iter()
            .enumerate()
            .map(|(at, &m)| {
                let diagonal = if at % (n + 1) == 0 { shift as f32 } else { 0.0 };
                diagonal - scale as f32 * m
            })
            .collect();
        multiply(&mut scratch, &h, &q, n)?;
        std::mem::swap(&mut h, &mut scratch);
        iterations += 1;
        if distance <= TOLERANCE {
            break (Stop::Converged, distance * distance);
        }
        gain *= shift.powf(order);
        if !refreshed && gain >= GAIN {
            let w = power(&h, n, p / 2, |_| {})?;
            m = congruence(&w, &a, ridge, n)?;
            refreshed = true;
        } else {
            let w = power(&q, n, p / 2, |_| {})?;
            multiply(&mut scratch, &w, &m, n)?;
            multiply(&mut m, &scratch, &w, n)?;
        }
        symmetrise(&mut m, n);
    };
    let back = z.powf(1.0 / order) as f32;
    h.iter_mut().for_each(|x| *x *= back);
    symmetrise(&mut h, n);
    Ok(Attempt {
        values: h,
        iterations,
        residual,
        ridge: added,
        stop,
    })
}

/// (a, b).
fn step(order: f64, low: f64) -> (f64, f64) {
    let s = low.powf(1.0 / order).max(CUSHION);
    let sum: f64 = (0..=order as i32).map(|i| s.powi(i)).sum();
    let a = (order + 1.0) / order * ((order + 1.0) / sum).powf(1.0 / order);
    (a, a / sum)
}

/// The lower bound of the eigenvalues of M after a step.
fn lifted(order: f64, low: f64, shift: f64, scale: f64) -> f64 {
    let least = (shift - scale * low).powf(order) * low;
    least.min((shift - scale).powf(order))
}

/// Steps of H until M is I, from eigenvalues that are at least `low`.
pub(super) fn rounds(p: u32, mut low: f64) -> u32 {
    let order = f64::from(p);
    let mut steps = 1;
    while low < 1.0 - 1e-5 && steps < ITERATIONS {
        let (shift, scale) = step(order, low);
        low = lifted(order, low, shift, scale);
        steps += 1;
    }
    // The decision that follows the last step, and one to spare for rounding.
    steps + 2
}

/// Wᵀ (A + ridge · I) W; both products summed in f64 and rounded to f32, the host's form of a compensated sum.
fn congruence(w: &[f32], a: &[f32], ridge: f64, n: usize) -> Result<Vec<f32>, Error> {
    let wide: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
    let a = with_ridge(a, n, ridge);
    let mut t = vec![0.0; n * n];
    multiply(&mut t, &a, &wide, n)?;
    let t: Vec<f64> = t.iter().map(|&x| f64::from(x as f32)).collect();
    let mut m = vec![0.0; n * n];
    let left = HostMatrix::row_major(&wide, n, n)?.transposed();
    crate::product::host(&mut m, left, HostMatrix::row_major(&t, n, n)?, false)?;
    Ok(m.iter().map(|&x| x as f32).collect())
}

fn symmetrise(m: &mut [f32], n: usize) {
    for i in 0..n {
        for j in 0..i {
            let mean = 0.5 * (m[i * n + j] + m[j * n + i]);
            m[i * n + j] = mean;
            m[j * n + i] = mean;
        }
    }
}

fn frobenius(a: &[f32]) -> f64 {
    let squares = a.iter().map(|&x| f64::from(x) * f64::from(x));
    squares.sum::<f64>().sqrt()
}

/// ‖M − I‖_F.
fn distance_from_identity(m: &[f32], n: usize) -> f64 {
    let differences = m.iter().enumerate().map(|(at, &x)| {
        let wanted = if at % (n + 1) == 0 { 1.0 } else { 0.0 };
        f64::from(x) - wanted
    });
    differences.map(|d| d * d).sum::<f64>().sqrt()
}
