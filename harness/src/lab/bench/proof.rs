//! Nothing is timed that is wrong.

use sonew_kernels::contract::{Check, EDGES};
use sonew_kernels::precision::Precision;
use sonew_optimizers::Context;

use super::BenchError;

/// Values of the tensors at hand that a kernel is held to its oracle on, beside every edge of a block: an oracle in f64 takes
/// its time, and the contract (`sonew verify --full`) holds kernels to it on more.
pub(super) const MOST: usize = 1 << 16;

/// Holds a kernel to its oracle: those of `checks` that are of `kernel` and whose case begins with `case`, on tensors of these
/// lengths, as far as their first [`MOST`] values reach, and on tensors at all edges of what kernels tell apart.
///
/// # Errors
/// [`BenchError::Wrong`], [`BenchError::Unproven`], and whatever launches refuse or report.
pub fn prove<P: Precision>(
    context: &Context,
    checks: &[Check],
    (kernel, case): (&'static str, &str),
    lengths: &[usize],
) -> Result<(), BenchError> {
    let mut left = MOST;
    let at_hand = lengths.iter().map(|&n| {
        let n = n.min(left);
        left -= n;
        n
    });
    let lengths: Vec<usize> = at_hand
        .filter(|&n| n > 0)
        .chain(EDGES.iter().copied())
        .collect();
    let mut proven = false;
    let these = checks
        .iter()
        .filter(|check| check.kernel == kernel && check.case.starts_with(case));
    for check in these {
        for outcome in check.run(context, &lengths)? {
            let Some(worst) = outcome.worst().filter(|worst| worst.ratio() > 1.0) else {
                proven = true;
                continue;
            };
            return Err(BenchError::Wrong {
                kernel,
                case: check.case.clone(),
                precision: P::NAME,
                what: outcome.name,
                error: worst.error,
                allowed: worst.allowed,
            });
        }
    }
    if proven {
        return Ok(());
    }
    Err(BenchError::Unproven {
        kernel,
        case: case.into(),
    })
}
