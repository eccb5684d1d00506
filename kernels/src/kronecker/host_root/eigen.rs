//! The inverse p-th root by eigendecomposition in f64, A = V Λ Vᵀ, X = V Λ^{−1/p} Vᵀ, by `faer`.

use super::matrices::unstructured;
use crate::error::Error;
use crate::host::{Eigen, symmetric};
use crate::kronecker::root::{Attempt, Stop};
use crate::product::{HostMatrix, host};

/// A root in f64.
pub(in crate::kronecker) struct Wide {
    pub values: Vec<f64>,
    pub ridge: f64,
    /// ‖S v − V Λ Vᵀ v‖ / (λ_max ‖v‖) for one unstructured v.
    pub residual: f64,
}

/// The ridge is found from the largest eigenvalue by `ridge`.
pub(super) fn inverse_root(
    s: &[f32],
    n: usize,
    p: u32,
    ridge: impl Fn(f64) -> f64,
) -> Result<Attempt, Error> {
    Ok(match decompose(s, n, p, ridge)? {
        Err(failed) => failed,
        Ok(root) => Attempt {
            values: root.values.iter().map(|&x| x as f32).collect(),
            iterations: 0,
            residual: root.residual,
            ridge: root.ridge,
            stop: Stop::Direct,
        },
    })
}

/// The root, or why there is none.
pub(in crate::kronecker) fn decompose(
    s: &[f32],
    n: usize,
    p: u32,
    ridge: impl Fn(f64) -> f64,
) -> Result<Result<Wide, Attempt>, Error> {
    let wide: Vec<f64> = s.iter().map(|&x| f64::from(x)).collect();
    let Some(Eigen { values, vectors }) = symmetric(&wide, n)? else {
        let largest = wide.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        return Ok(Err(Attempt::failed(ridge(largest), Stop::Iterations)));
    };
    let top = values.iter().fold(0.0, |most: f64, &x| most.max(x));
    let added = ridge(top);
    // S is a sum of squares: an eigenvalue below zero is what rounding to f32 left of a small one, and a ridge may
    // be smaller than that. None is let below half the ridge.
    let shifted: Vec<f64> = values
        .iter()
        .map(|x| (x + added).max(0.5 * added))
        .collect();
    // What lies further below zero is no rounding.
    let rounding = 8.0 * n as f64 * f64::from(f32::EPSILON) * top;
    if values.iter().any(|&x| x < -rounding) {
        return Ok(Err(Attempt::failed(added, Stop::Indefinite)));
    }
    // Eigenvalues are known to within rounding of the largest; one that is not above that has no root to speak of.
    let floor = f64::EPSILON * (top + added);
    if shifted.iter().any(|&x| x <= floor) {
        return Ok(Err(Attempt::failed(added, Stop::Indefinite)));
    }
    // X = W Wᵀ with W = V Λ^{−1/2p}: symmetric and positive definite whatever is rounded.
    let exponent = -0.5 / f64::from(p);
    let weights: Vec<f64> = shifted.iter().map(|x| x.powf(exponent)).collect();
    let w: Vec<f64> = (0..n * n).map(|at| vectors[at] * weights[at % n]).collect();
    let w = HostMatrix::row_major(&w, n, n)?;
    let mut x = vec![0.0; n * n];
    host(&mut x, w, w.transposed(), false)?;
    let probe: Vec<f64> = (0..n as u64).map(unstructured).collect();
    let inner: Vec<f64> = (0..n)
        .map(|k| values[k] * (0..n).map(|i| vectors[i * n + k] * probe[i]).sum::<f64>())
        .collect();
    let apart = (0..n).map(|i| {
        let there: f64 = (0..n).map(|k| vectors[i * n + k] * inner[k]).sum();
        let row = s[i * n..][..n].iter().zip(&probe);
        (row.map(|(&a, x)| f64::from(a) * x).sum::<f64>() - there).powi(2)
    });
    let size: f64 = probe.iter().map(|x| x * x).sum();
    let residual = match top {
        0.0 => 0.0,
        top => (apart.sum::<f64>() / size).sqrt() / top,
    };
    Ok(Ok(Wide {
        values: x,
        ridge: added,
        residual,
    }))
}
