//! Nothing is timed that is wrong.

use sonew_kernels::contract::Check;
use sonew_kernels::precision::Precision;
use sonew_optimizers::Context;

use super::BenchError;

/// Holds a kernel to its oracle: those of `checks` that are of `kernel` and whose case begins with `case`, on tensors of these
/// lengths, or on their first `most` values.
///
/// # Errors
/// [`BenchError::Wrong`], [`BenchError::Unproven`], and whatever launches refuse or report.
pub fn prove<P: Precision>(
    context: &Context,
    checks: &[Check],
    (kernel, case): (&'static str, &str),
    lengths: &[usize],
    most: usize,
) -> Result<(), BenchError> {
    let mut left = most;
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|&n| {
            let n = n.min(left);
            left -= n;
            n
        })
        .filter(|&n| n > 0)
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
