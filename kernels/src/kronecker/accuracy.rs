//! What tables of accuracy are made from: matrices of a given condition, and their roots in f64.
//!
//! The root in f64 is that of the eigendecomposition before it is rounded to f32, so in a table the row of
//! [`super::Method::Eigen`] shows that rounding only. That it is right, the row of [`super::Method::NewtonDouble`] shows,
//! which shares nothing with it.

use super::host_root::{decompose, unstructured};
use super::root::Ridge;
use crate::error::Error;
use crate::host::symmetric;
use crate::product::{HostMatrix, host};

/// Q Λ Qᵀ with eigenvalues log-spaced from 1 down to 1/`condition` and random orthogonal Q: the eigenvectors of a
/// symmetric matrix of unstructured entries. Row-major, n × n, rounded to f32.
///
/// # Errors
/// [`Error::Range`] for a condition below 1 or n = 0; [`Error::Unsupported`] if the decomposition fails.
pub fn conditioned(n: usize, condition: f64, seed: u64) -> Result<Vec<f32>, Error> {
    let operation = "test matrix";
    if n == 0 {
        return Err(Error::Range {
            operation,
            argument: "n",
            found: 0.0,
            expected: "≥ 1",
        });
    }
    if condition.is_nan() || condition < 1.0 || condition.is_infinite() {
        return Err(Error::Range {
            operation,
            argument: "condition",
            found: condition,
            expected: "finite and ≥ 1",
        });
    }
    let mut noise: Vec<f64> = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let x = unstructured(
                seed.wrapping_mul(0x9e37_79b9)
                    .wrapping_add((i * n + j) as u64),
            );
            noise[i * n + j] = x;
            noise[j * n + i] = x;
        }
    }
    let Some(found) = symmetric(&noise, n)? else {
        return Err(Error::Unsupported {
            operation,
            reason: "the eigenvectors of a random matrix were not found".into(),
        });
    };
    let last = (n - 1).max(1) as f64;
    let w: Vec<f64> = (0..n * n)
        .map(|at| found.vectors[at] * condition.powf(-0.5 * (at % n) as f64 / last))
        .collect();
    let w = HostMatrix::row_major(&w, n, n)?;
    let mut a = vec![0.0; n * n];
    host(&mut a, w, w.transposed(), false)?;
    // Symmetric to the last bit.
    Ok((0..n * n)
        .map(|at| a[(at / n).min(at % n) * n + (at / n).max(at % n)] as f32)
        .collect())
}

/// (S + ridge · I)^{−1/p} in f64; `None` if there is none.
///
/// # Errors
/// [`Error::Shape`] if `s` does not hold n² values.
pub fn root_in_f64(s: &[f32], n: usize, p: u32, ridge: Ridge) -> Result<Option<Vec<f64>>, Error> {
    if s.len() != n * n {
        return Err(Error::Shape {
            operation: "root in f64",
            argument: "the matrix",
            found: format!("{} values", s.len()),
            expected: format!("{n} × {n}"),
        });
    }
    let found = decompose(s, n, p, |largest| ridge.of(largest))?;
    Ok(found.ok().map(|root| root.values))
}

/// ‖X − Y‖_F / ‖Y‖_F.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let differences = found.iter().zip(expected);
    let square: f64 = differences.map(|(&f, e)| (f64::from(f) - e).powi(2)).sum();
    let norm: f64 = expected.iter().map(|e| e * e).sum();
    (square / norm).sqrt()
}
