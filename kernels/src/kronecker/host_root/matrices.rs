//! Dense square matrices in host memory, row by row.

use crate::error::Error;
use crate::product::{HostFloat, HostMatrix, host};

/// M v, summed in f64.
pub(super) fn apply(m: &[f32], v: &[f64]) -> Vec<f64> {
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
pub(super) fn largest_eigenvalue(s: &[f32], n: usize) -> f64 {
    let mut v: Vec<f64> = (0..n as u64).map(unstructured).collect();
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
pub(in crate::kronecker) fn unstructured(i: u64) -> f64 {
    let mut z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// tᵖ by repeated squaring, every product rounded.
pub(super) fn power<F: HostFloat>(
    t: &[F],
    n: usize,
    p: u32,
    round: fn(&mut [F]),
) -> Result<Vec<F>, Error> {
    let mut square = t.to_vec();
    let mut out: Option<Vec<F>> = None;
    let mut left = p;
    let mut scratch = vec![F::ZERO; n * n];
    loop {
        if left & 1 == 1 {
            out = Some(match out {
                None => square.clone(),
                Some(out) => {
                    let mut next = vec![F::ZERO; n * n];
                    multiply(&mut next, &out, &square, n)?;
                    round(&mut next);
                    next
                }
            });
        }
        left >>= 1;
        if left == 0 {
            return Ok(out.unwrap_or(square));
        }
        multiply(&mut scratch, &square, &square, n)?;
        round(&mut scratch);
        std::mem::swap(&mut square, &mut scratch);
    }
}

/// C ← A B.
pub(super) fn multiply<F: HostFloat>(c: &mut [F], a: &[F], b: &[F], n: usize) -> Result<(), Error> {
    host(
        c,
        HostMatrix::row_major(a, n, n)?,
        HostMatrix::row_major(b, n, n)?,
        false,
    )
}

/// `scale` · I.
pub(super) fn identity<F: HostFloat>(n: usize, scale: F) -> Vec<F> {
    let mut out = vec![F::ZERO; n * n];
    out.iter_mut().step_by(n + 1).for_each(|x| *x = scale);
    out
}
