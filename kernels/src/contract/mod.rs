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
mod coded;
mod coverage;
mod first_order;
mod gradients;
mod grafting;
mod kronecker;
mod network;
mod norms;
mod outcome;
mod own;
mod product;
mod rounding;
mod sonew;
mod sonew_step;
mod units;

pub use coverage::Coverage;
pub use outcome::{Outcome, Worst};

use crate::context::Context;
use crate::error::Error;
use crate::precision::{
    Bf16, Bf16Compact, Bf16Mixed, Bf16States, F16, F16Mixed, F32, Precision, PrecisionKind,
    PrecisionVisitor,
};

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

type Run = Box<dyn Fn(&Context, &[usize]) -> Result<Vec<Outcome>, Error>>;

/// A kernel in one precision, and how it is checked.
pub struct Check {
    /// The kernel.
    pub kernel: &'static str,
    /// Which of its variants.
    pub case: String,
    run: Run,
}

impl Check {
    fn new(
        kernel: &'static str,
        case: impl Into<String>,
        run: impl Fn(&Context, &[usize]) -> Result<Vec<Outcome>, Error> + 'static,
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
    pub fn run(&self, context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
        (self.run)(context, lengths)
    }
}

/// A precision, and what the contract asks in it.
#[derive(Clone, Copy)]
pub struct Formats {
    name: &'static str,
    checks: fn() -> Vec<Check>,
    of_band: fn(usize) -> Vec<Check>,
    long: fn() -> Vec<Check>,
    coverage: fn(&Context) -> Coverage,
}

impl Formats {
    /// Every precision of the contract: those of [`PrecisionKind`], and those of states that are narrower than parameters.
    pub const ALL: [Self; 7] = [
        Self::new::<F32>(),
        Self::new::<Bf16>(),
        Self::new::<Bf16Mixed>(),
        Self::new::<F16>(),
        Self::new::<F16Mixed>(),
        Self::new::<Bf16Compact>(),
        Self::new::<Bf16States>(),
    ];

    const fn new<P: Precision>() -> Self {
        Self {
            name: P::NAME,
            checks: checks::<P>,
            of_band: sonew::of_band::<P>,
            long: units::long_checks::<P>,
            coverage: Coverage::of::<P>,
        }
    }

    /// [`Precision::NAME`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All checks. Kernels that compute in f32 whatever the precision of the model are checked in [`F32`].
    pub fn checks(&self) -> Vec<Check> {
        (self.checks)()
    }

    /// Checks whose texts one of the languages takes minutes to compile, SPIR-V, so that [`Formats::checks`] leaves them out.
    pub fn long_checks(&self) -> Vec<Check> {
        (self.long)()
    }

    /// The checks of the banded kernels at one band.
    pub fn checks_of_band(&self, band: usize) -> Vec<Check> {
        (self.of_band)(band)
    }

    /// How a device runs it, by its formats.
    pub fn coverage(&self, context: &Context) -> Coverage {
        (self.coverage)(context)
    }
}

impl From<PrecisionKind> for Formats {
    fn from(precision: PrecisionKind) -> Self {
        struct Of;
        impl PrecisionVisitor for Of {
            type Output = Formats;
            fn visit<P: Precision>(self) -> Formats {
                Formats::new::<P>()
            }
        }
        precision.accept(Of)
    }
}

fn checks<P: Precision>() -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(first_order::checks::<P>());
    checks.extend(sonew::checks::<P>());
    checks.extend(grafting::checks::<P>());
    checks.extend(norms::checks::<P>());
    checks.extend(gradients::checks::<P>());
    checks.extend(rounding::checks::<P>());
    checks.extend(kronecker::descents::<P>());
    checks.extend(units::checks::<P>());
    if P::NAME == F32::NAME {
        checks.extend(kronecker::checks());
    }
    checks.extend(network::checks::<P>());
    checks.extend(coded::checks::<P>());
    checks.extend(product::checks::<P>());
    // What tensors have of their own.
    checks.extend(first_order::own_checks::<P>());
    checks.extend(sonew::own_checks::<P>());
    checks.extend(grafting::own_checks::<P>());
    checks.extend(kronecker::own_descents::<P>());
    checks
}
