//! Kronecker statistics: L ← β₂ L + ω G Gᵀ and R ← β₂ R + ω Gᵀ G for every block, ω = 1−β₂, or 1 where β₂ = 1 (the plain
//! sum of the regret analysis). Gradients count as at most ±10¹⁶, so that their squares cannot overflow and the statistics
//! recover from a huge one. Those of gradients below 2⁻⁶³ are less than f32's least normal number, and count for little or nothing.

use std::borrow::Cow;

use super::blocking::{Blocking, Side};
use crate::error::Error;
use crate::product::{HostMatrix, host_weighted};

/// A gradient counts as at most this large: 10⁶ squares of it are finite.
pub(super) const LARGEST: f32 = 1e16;

/// Updates the factors of all blocks, in host memory: `grads` is an arena, `factors` holds
/// [`Blocking::factor_values`] values.
///
/// # Errors
/// [`Error::Shape`] if a buffer has another length, [`Error::Range`] for β₂ outside (0, 1].
pub fn statistics(
    blocking: &Blocking,
    grads: &[f32],
    factors: &mut [f32],
    beta2: f64,
) -> Result<(), Error> {
    let operation = "kronecker statistics";
    let (keep, weight) = weights(operation, beta2)?;
    let needed = blocking.arena_end();
    if grads.len() < needed || factors.len() != blocking.factor_values() {
        return Err(Error::Shape {
            operation,
            argument: "grads, factors",
            found: format!("{} and {} values", grads.len(), factors.len()),
            expected: format!("at least {needed} and {}", blocking.factor_values()),
        });
    }
    let grads: Cow<'_, [f32]> = if grads.iter().any(|g| g.abs() > LARGEST) {
        // NaN stays NaN.
        grads.iter().map(|g| g.clamp(-LARGEST, LARGEST)).collect()
    } else {
        grads.into()
    };
    for factor in blocking.factors() {
        let block = &blocking.blocks()[factor.block];
        let values = &grads[block.start..];
        let g = HostMatrix::part(values, block.rows, block.columns, block.stride)?;
        let (a, b) = match factor.side {
            Side::Left => (g, g.transposed()),
            Side::Right => (g.transposed(), g),
        };
        let s = &mut factors[factor.range.clone()];
        host_weighted(s, keep as f32, true, a, b, weight as f32)?;
    }
    Ok(())
}

/// (β₂, ω).
pub(super) fn weights(operation: &'static str, beta2: f64) -> Result<(f64, f64), Error> {
    if !(beta2 > 0.0 && beta2 <= 1.0) {
        return Err(Error::Range {
            operation,
            argument: "beta2",
            found: beta2,
            expected: "0 < β ≤ 1",
        });
    }
    Ok((beta2, if beta2 < 1.0 { 1.0 - beta2 } else { 1.0 }))
}
