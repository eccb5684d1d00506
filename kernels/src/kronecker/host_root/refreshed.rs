//! The coupled Newton iteration with the longest monotone steps ([`longest_step`]), and M computed once afresh from A.
//!
//! [`longest_step`]: crate::kronecker::longest_step
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

use super::matrices::{identity, multiply, power, with_ridge};
use crate::error::Error;
use crate::kronecker::longest_step::{GAIN, ITERATIONS, LEAST, TOLERANCE, lifted, step};
use crate::kronecker::root::{Attempt, Stop};
use crate::product::{HostMatrix, host};

/// A root in f32.
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
    let mut h = identity(n, 1f32);
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

/// Wᵀ (A + ridge · I) W; both products summed in f64 and rounded to f32, the host's form of a compensated sum.
fn congruence(w: &[f32], a: &[f32], ridge: f64, n: usize) -> Result<Vec<f32>, Error> {
    let wide: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
    let a = with_ridge(a, n, ridge);
    let mut t = vec![0.0; n * n];
    multiply(&mut t, &a, &wide, n)?;
    let t: Vec<f64> = t.iter().map(|&x| f64::from(x as f32)).collect();
    let mut m = vec![0.0; n * n];
    let left = HostMatrix::row_major(&wide, n, n)?.transposed();
    host(&mut m, left, HostMatrix::row_major(&t, n, n)?, false)?;
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
