//! What every backend has to agree with: each kernel, in every precision, on inputs from a fixed seed, with what its oracle
//! says and how far from that it may be.
//!
//! The inputs have at most seven binary digits, so that every format holds them and the oracle is the same for all. The
//! tolerance of a value is a count of roundings times the roundoff of the format ([`HostFormat::ROUNDOFF`]).
//!
//! The tests of the kernels hold the oracles to snapshots and the software driver to the oracles; `sonew verify` does the
//! latter on any device.
//!
//! [`HostFormat::ROUNDOFF`]: crate::precision::HostFormat::ROUNDOFF

mod bench;
mod coverage;
mod first_order;
mod grafting;
mod kronecker;
mod network;
mod norms;
mod outcome;
mod rounding;
mod sonew;
mod units;

pub use coverage::Coverage;
pub use outcome::{Outcome, Worst};
pub use sonew::of_band;

use cubecl::Runtime;

use crate::context::Context;
use crate::error::Error;
use crate::precision::{F32, Precision};

/// Tensor lengths of the snapshots.
pub const SMALL: &[usize] = &[1, 7, 300];

/// Tensor lengths at the edges of what the kernels tell apart: 1, 2, b and b + 1 for every band that is checked, round,
/// prime, and around a block of the arena.
pub const EDGES: &[usize] = &[
    1, 2, 4, 5, 6, 7, 10, 11, 1000, 1009, 223, 224, 225, 256, 257,
];

/// More values than f32 counts: an index that is computed in floating point, or in too few bits, shows. Of a few tensors, the
/// last of them short.
pub const LARGE: &[usize] = &[1 << 24, 1023, 5];

type Run<R> = Box<dyn Fn(&Context<R>, &[usize]) -> Result<Vec<Outcome>, Error>>;

/// A kernel in one precision, and how it is checked.
pub struct Check<R: Runtime> {
    /// The kernel.
    pub kernel: &'static str,
    /// Which of its variants.
    pub case: String,
    run: Run<R>,
}

impl<R: Runtime> Check<R> {
    fn new(
        kernel: &'static str,
        case: impl Into<String>,
        run: impl Fn(&Context<R>, &[usize]) -> Result<Vec<Outcome>, Error> + 'static,
    ) -> Self {
        Self {
            kernel,
            case: case.into(),
            run: Box::new(run),
        }
    }

    /// Runs the kernel on tensors of these lengths, each at least 1.
    ///
    /// # Errors
    /// Whatever the launches refuse or report.
    pub fn run(&self, context: &Context<R>, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
        (self.run)(context, lengths)
    }
}

/// All checks of a precision. Kernels that compute in f32 whatever the precision of the model are checked in [`F32`].
pub fn checks<P: Precision, R: Runtime>() -> Vec<Check<R>> {
    let mut checks = Vec::new();
    checks.extend(first_order::checks::<P, R>());
    checks.extend(sonew::checks::<P, R>());
    checks.extend(grafting::checks::<P, R>());
    checks.extend(norms::checks::<P, R>());
    checks.extend(rounding::checks::<P, R>());
    checks.extend(kronecker::descents::<P, R>());
    checks.extend(units::checks::<P, R>());
    if P::NAME == F32::NAME {
        checks.extend(kronecker::checks::<R>());
        checks.extend(network::checks::<R>());
    }
    checks
}
