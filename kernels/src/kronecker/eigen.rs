//! The inverse p-th root by eigendecomposition in f64, A = V Λ Vᵀ, X = V Λ^{−1/p} Vᵀ, through `faer`.

use faer::{MatRef, Side};

use super::root::{Attempt, Stop};
use crate::error::Error;
use crate::matmul::{HostMatrix, host};

/// The ridge is found from the largest eigenvalue by `ridge`.
pub(super) fn inverse_root(
    s: &[f32],
    n: usize,
    p: u32,
    ridge: impl Fn(f64) -> f64,
) -> Result<Attempt, Error> {
    // faer 0.24 deflates by an absolute tolerance: eigenvalues of a matrix of small norm come out wrong. A power of two
    // brings the largest entry to [1, 2) and changes no digit.
    let largest = s
        .iter()
        .fold(0.0, |most: f64, &x| most.max(f64::from(x).abs()));
    let scale = if largest > 0.0 {
        (-largest.log2().floor()).exp2()
    } else {
        1.0
    };
    let scaled: Vec<f64> = s.iter().map(|&x| f64::from(x) * scale).collect();
    let Ok(found) = MatRef::from_row_major_slice(&scaled, n, n).self_adjoint_eigen(Side::Lower)
    else {
        return Ok(Attempt::failed(ridge(largest), Stop::Iterations));
    };
    let (vectors, values) = (found.U(), found.S().column_vector());
    let values: Vec<f64> = (0..n).map(|i| values[i] / scale).collect();
    let top = values.iter().fold(0.0, |most: f64, &x| most.max(x));
    let added = ridge(top);
    // Eigenvalues are known to within rounding of the largest; one that is not above that has no root to speak of.
    let floor = f64::EPSILON * (top + added);
    if values.iter().any(|&x| x + added <= floor) {
        return Ok(Attempt::failed(added, Stop::Indefinite));
    }
    // X = W Wᵀ with W = V Λ^{−1/2p}: symmetric and positive definite whatever is rounded.
    let exponent = -0.5 / f64::from(p);
    let weights: Vec<f64> = values.iter().map(|x| (x + added).powf(exponent)).collect();
    let w: Vec<f64> = (0..n * n)
        .map(|at| vectors[(at / n, at % n)] * weights[at % n])
        .collect();
    let w = HostMatrix::row_major(&w, n, n)?;
    let mut x = vec![0.0; n * n];
    host(&mut x, w, w.transposed(), false)?;
    Ok(Attempt {
        values: x.iter().map(|&x| x as f32).collect(),
        iterations: 0,
        residual: 0.0,
        ridge: added,
        stop: Stop::Direct,
    })
}
