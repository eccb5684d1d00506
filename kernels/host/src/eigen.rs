//! Eigendecomposition of symmetric matrices in f64, through `faer`.

use faer::{MatRef, Side};

/// A = V Λ Vᵀ.
pub struct Eigen {
    /// Λ, ascending.
    pub values: Vec<f64>,
    /// V, n × n row-major: column k belongs to value k.
    pub vectors: Vec<f64>,
}

/// The decomposition of the symmetric n × n matrix `a`, row-major, whose lower triangle is read; `None` where the iteration
/// does not end, as for NaN.
///
/// # Panics
/// If `a` does not hold n² values.
pub fn symmetric(a: &[f64], n: usize) -> Option<Eigen> {
    // faer 0.24 deflates by an absolute tolerance: eigenvalues of a matrix of small norm come out wrong. A power of two
    // brings the largest entry to [1, 2) and changes no digit.
    let largest = a.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let scale = if largest > 0.0 {
        (-largest.log2().floor()).exp2()
    } else {
        1.0
    };
    let scaled: Vec<f64> = a.iter().map(|x| x * scale).collect();
    let found = MatRef::from_row_major_slice(&scaled, n, n)
        .self_adjoint_eigen(Side::Lower)
        .ok()?;
    let (vectors, values) = (found.U(), found.S().column_vector());
    Some(Eigen {
        values: (0..n).map(|i| values[i] / scale).collect(),
        vectors: (0..n * n).map(|at| vectors[(at / n, at % n)]).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_of_small_and_of_large_matrices_are_those_times_a_factor() {
        // Eigenvalues 1 and 3 along (1, −1) and (1, 1).
        for unit in [1e-12, 1.0, 1e12] {
            let a = [2.0 * unit, unit, unit, 2.0 * unit];
            let Eigen { values, vectors } = symmetric(&a, 2).unwrap();
            assert!((values[0] / unit - 1.0).abs() < 1e-14, "{unit}: {values:?}");
            assert!((values[1] / unit - 3.0).abs() < 1e-14, "{unit}: {values:?}");
            assert!((vectors[0] + vectors[2]).abs() < 1e-14, "{vectors:?}");
            assert!((vectors[1] - vectors[3]).abs() < 1e-14, "{vectors:?}");
        }
    }
}
