//! The choices of a banded kernel: what the caller asked for (removal, tolerance) and how it is laid out (blueprint).

use serde::{Deserialize, Serialize};

use crate::context::Processor;
use crate::error::Error;
use crate::segments::{BLOCK, GAP};
use crate::sweep::Sweep;

/// Which edges go when the pivot S_j of a vertex is too small (Algorithm 3 of the paper).
///
/// Both leave a positive definite X. [`Incident`](Self::Incident) is exact for every band: what remains of each
/// neighbour set is still a clique, so X⁻¹ = H on every edge that was kept. [`Outgoing`](Self::Outgoing) is exact for
/// b ≤ 1 and is what the authors' tridiagonal code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeRemoval {
    /// The edges from j to its later neighbours I_j: ψ_j = 0, D_j = 1/H_jj; other columns stay as they were.
    Outgoing,
    /// Every edge of j, and the remaining columns are solved again on their reduced neighbour sets.
    Incident,
}

/// When a pivot is too small: S_j ≤ absolute + relative · H_jj, or S_j is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Absolute part of γ, ≥ 0.
    pub absolute: f64,
    /// Part of γ relative to H_jj, in [0, 1).
    pub relative: f64,
}

/// How [`super::update`] and [`super::factor`] are laid out on a device. Results do not depend on it beyond rounding.
///
/// A unit keeps the last few columns of its run in registers. It starts some columns before the run, because u_j needs
/// the factor of the b columns before j, so a longer run repeats less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blueprint {
    /// The walk over the arena.
    pub sweep: Sweep,
    /// Whether the elimination of a column is unrolled: fast, but its code grows with b³.
    pub unroll: bool,
}

impl Blueprint {
    /// The default for a band on a device.
    pub fn infer(processor: Processor, band: usize) -> Self {
        // Beyond this width the unrolled columns of one vector take seconds to compile.
        let unroll = band <= 5;
        let width = if unroll { 4 } else { 1 };
        let (columns, units, cubes) = match processor {
            Processor::Cpu => (BLOCK, 32, 4096),
            // Neighbouring units read neighbouring vectors; a longer run for wide bands bounds the recomputation.
            Processor::Gpu => (if band <= 1 { 8 } else { 32 }, 128, 65_535),
        };
        let sweep = Sweep {
            width,
            run: columns / width,
            units,
            cubes,
        };
        Self { sweep, unroll }
    }

    pub(crate) fn check(&self, operation: &'static str, band: usize) -> Result<(), Error> {
        self.sweep.check(operation)?;
        if band > GAP {
            return Err(Error::Range {
                operation,
                argument: "band",
                found: band as f64,
                expected: "at most 32, the zeros between tensors of the arena",
            });
        }
        Ok(())
    }
}

impl Tolerance {
    pub(crate) fn check(&self, operation: &'static str) -> Result<(), Error> {
        let range = |argument, found: f64, ok: bool, expected| {
            if ok {
                Ok(())
            } else {
                Err(Error::Range {
                    operation,
                    argument,
                    found,
                    expected,
                })
            }
        };
        range(
            "gamma",
            self.absolute,
            self.absolute >= 0.0 && self.absolute.is_finite(),
            "finite and ≥ 0",
        )?;
        range(
            "relative-gamma",
            self.relative,
            (0.0..1.0).contains(&self.relative),
            "0 ≤ γ < 1",
        )
    }
}

/// How many vectors a column reaches ahead and how far before its output a run has to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reach {
    /// Vectors that b columns span, ⌈b / width⌉.
    pub reach: usize,
    /// Vectors of H needed beyond the current one.
    pub ahead: usize,
    /// Vectors before the first output at which a run starts.
    pub behind: usize,
}

impl Reach {
    pub fn new(band: usize, width: usize, removal: EdgeRemoval) -> Self {
        let reach = band.div_ceil(width);
        // With incident removal a column needs to know which of its neighbours are cut, and they look b further.
        let factor = match removal {
            EdgeRemoval::Outgoing => 1,
            EdgeRemoval::Incident => 2,
        };
        Self {
            reach,
            ahead: factor * reach,
            behind: factor * reach,
        }
    }
}
