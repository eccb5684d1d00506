//! Matrices of a given condition, and how far two matrices are apart.

use sonew_kernels::kronecker::reference;

use crate::bench::noise;

/// Q Λ Qᵀ with a log-spaced spectrum from 1 down to 1/condition, Q the eigenvectors of an unstructured matrix.
pub fn conditioned(n: usize, condition: f64) -> Vec<f32> {
    let noisy: Vec<f64> = (0..n * n)
        .map(|at| noise(17, (at / n).min(at % n) * n + (at / n).max(at % n)))
        .collect();
    let (_, q) = reference::eigen(&noisy, n);
    let scaled: Vec<f64> = (0..n * n)
        .map(|at| q[at] * condition.powf(-((at % n) as f64) / (n - 1) as f64))
        .collect();
    let a = reference::multiply(&scaled, &reference::transpose(&q, n, n), n, n, n);
    a.iter().map(|&x| x as f32).collect()
}

pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// ‖X − Y‖_F / ‖Y‖_F.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 = found
        .iter()
        .zip(expected)
        .map(|(&f, e)| square(f64::from(f) - e))
        .sum();
    let norm: f64 = expected.iter().map(|&e| square(e)).sum();
    (difference / norm).sqrt()
}
