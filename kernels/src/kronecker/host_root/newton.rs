//! The coupled Newton iteration for A^{−1/p} (Guo & Higham 2006, eq. 3.2; Higham, Functions of Matrices, eq. 7.18), with
//! the scaling and the stopping rules of the public Shampoo code:
//!
//! z = (1+p) / (2 ‖A‖_F),  M₀ = z A,  H₀ = z^{1/p} I,
//! T = (1 + 1/p) I − M/p,  M ← Tᵖ M,  H ← H T,
//!
//! until max|M − I| ≤ 10⁻⁶, or it grows by more than a fifth (then the H before is returned), or 100 times.
//!
//! M is updated by the same factors as H instead of being computed from it: a residual Hᵖ A that is recomputed would
//! amplify an error in H between the eigenvectors i and j by the square of the ratio of their eigenvalues of H.
//!
//! Every matrix may be rounded to a narrower format, products being summed in f32. Tᵖ then differs from I by p roundings
//! of T or more, so the iteration stops at twice that.

use super::matrices::{identity, multiply, power, with_ridge};
use crate::error::Error;
use crate::kronecker::root::{Attempt, Stop};
use crate::precision::{HostFormat, Pairs};
use crate::product::HostFloat;

const TOLERANCE: f64 = 1e-6;
const ITERATIONS: u32 = 100;
const GROWTH: f64 = 1.2;

/// To what every matrix of the iteration is rounded, and how near to I M can be told to be.
struct Rounding<F> {
    round: fn(&mut [F]),
    tolerance: f64,
}

/// In the format F.
pub(super) fn inverse_root<F: HostFloat>(
    s: &[f32],
    n: usize,
    p: u32,
    added: f64,
) -> Result<Attempt, Error> {
    let rounding = Rounding::<F> {
        round: |_| {},
        tolerance: TOLERANCE,
    };
    iterate(s, n, p, added, &rounding)
}

/// In bf16, as the public code does where parameters are bf16.
pub(super) fn inverse_root_in_bf16(
    s: &[f32],
    n: usize,
    p: u32,
    added: f64,
) -> Result<Attempt, Error> {
    let rounding = Rounding::<f32> {
        round: Pairs::round_all,
        tolerance: 2.0 * f64::from(p) * Pairs::ROUNDOFF,
    };
    iterate(s, n, p, added, &rounding)
}

fn iterate<F: HostFloat>(
    s: &[f32],
    n: usize,
    p: u32,
    added: f64,
    rounding: &Rounding<F>,
) -> Result<Attempt, Error> {
    let a = with_ridge(s, n, added);
    let norm = a.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Ok(Attempt::failed(added, Stop::Indefinite));
    }
    let order = f64::from(p);
    let z = (1.0 + order) / (2.0 * norm);
    let mut m: Vec<F> = a.iter().map(|&x| F::rounded(z * x)).collect();
    let mut h = identity(n, F::rounded(z.powf(1.0 / order)));
    (rounding.round)(&mut m);
    (rounding.round)(&mut h);
    let (mut step, mut scratch) = (vec![F::ZERO; n * n], vec![F::ZERO; n * n]);
    let mut residual = distance_from_identity(&m, n);
    let mut iterations = 0;
    let stop = loop {
        if residual <= rounding.tolerance {
            break Stop::Converged;
        }
        if iterations == ITERATIONS {
            break Stop::Iterations;
        }
        let (shift, scale) = (F::rounded(1.0 + 1.0 / order), F::rounded(-1.0 / order));
        for (i, (t, &m)) in step.iter_mut().zip(&m).enumerate() {
            let diagonal = if i % (n + 1) == 0 { shift } else { F::ZERO };
            *t = diagonal + scale * m;
        }
        (rounding.round)(&mut step);
        multiply(&mut scratch, &power(&step, n, p, rounding.round)?, &m, n)?;
        (rounding.round)(&mut scratch);
        std::mem::swap(&mut m, &mut scratch);
        let next = distance_from_identity(&m, n);
        iterations += 1;
        if next.is_nan() || next >= GROWTH * residual {
            break Stop::Diverging;
        }
        residual = next;
        multiply(&mut scratch, &h, &step, n)?;
        (rounding.round)(&mut scratch);
        std::mem::swap(&mut h, &mut scratch);
    };
    Ok(Attempt {
        values: h.iter().map(|&x| x.into() as f32).collect(),
        iterations,
        residual,
        ridge: added,
        stop,
    })
}

/// max|M − I|, NaN if any entry is.
fn distance_from_identity<F: HostFloat>(m: &[F], n: usize) -> f64 {
    m.iter().enumerate().fold(0.0, |most, (i, &x)| {
        let wanted = if i % (n + 1) == 0 { 1.0 } else { 0.0 };
        let distance = (x.into() - wanted).abs();
        if distance.is_nan() || distance > most {
            distance
        } else {
            most
        }
    })
}
