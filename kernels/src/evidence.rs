//! What a sweep saw, folded on the host when somebody asks.
//!
//! A unit counts in registers and writes what it found to its slot at the end ([`Slots`]). The host folds the findings of the last
//! launch when it reads them. Most sweeps look for one thing and leave the second finding of a slot alone.

use cubecl::prelude::*;

use crate::arena::Slots;
pub(crate) use crate::arena::{write, write_pivots};
use crate::context::Context;
use crate::error::Error;
use crate::launch::Sweep;
use crate::precision::Storage;

/// How often something was seen in a sweep, and the arena index where it was seen first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How many values.
    pub count: u64,
    /// The least arena index among them.
    pub first: Option<usize>,
}

/// What a factor saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PivotEvidence {
    /// Columns whose pivot was too small, and that had edges to cut or change.
    pub cut: Evidence,
    /// Columns whose pivot has no normal reciprocal in the format of the arithmetic: D is 0, or has lost digits.
    pub out_of_range: Evidence,
}

impl Evidence {
    /// Reads and folds the slots; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn read(context: &Context, operation: &'static str, slots: &Slots) -> Result<Self, Error> {
        slots.view(context, operation, |seen| Self::fold(seen.first()))
    }

    /// The sum of the counts and the least of the indices.
    fn fold(findings: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut evidence = Self::default();
        for (count, first) in findings {
            evidence.count += u64::from(count);
            let first = first as usize;
            evidence.first = Some(evidence.first.map_or(first, |least| least.min(first)));
        }
        evidence
    }
}

impl PivotEvidence {
    /// Reads and folds the slots of a factor; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn read(context: &Context, operation: &'static str, slots: &Slots) -> Result<Self, Error> {
        slots.view(context, operation, |seen| Self {
            cut: Evidence::fold(seen.first()),
            out_of_range: Evidence::fold(seen.second()),
        })
    }
}

/// A unit's own count and first index, in registers.
#[derive(CubeType)]
pub(crate) struct Found {
    pub(crate) count: u32,
    pub(crate) first: u32,
}

#[cube]
impl Found {
    pub(crate) fn new() -> Found {
        Found {
            count: 0u32,
            first: u32::MAX,
        }
    }
}

/// [`PivotEvidence`] of a unit, in registers.
#[derive(CubeType)]
pub(crate) struct PivotsFound {
    pub(crate) cut: Found,
    pub(crate) out_of_range: Found,
}

#[cube]
impl PivotsFound {
    pub(crate) fn new() -> PivotsFound {
        PivotsFound {
            cut: Found::new(),
            out_of_range: Found::new(),
        }
    }
}

/// Counts `at` if `seen`.
#[cube]
pub(crate) fn note(found: &mut Found, seen: bool, at: usize) {
    found.count += select(seen, 1u32, 0u32);
    found.first = select(seen, min(found.first, at as u32), found.first);
}

/// The [`magnitude_bits`] of infinity: those of every number are less, and of every NaN more.
pub(crate) const INFINITY: u32 = 0x7f80_0000;

/// The bits of |x|, which order like |x| with infinity and NaN above all numbers. Bits, because a comparison with NaN may
/// be optimised away under fast maths.
#[cube]
pub(crate) fn magnitude_bits(x: f32) -> u32 {
    u32::reinterpret(x) & 0x7fff_ffffu32
}

/// Counts the values of a run that are not finite, if `largest`, the greatest of their [`magnitude_bits`], says that
/// there are any: a second look that costs nothing as long as everything is finite.
#[cube]
pub(crate) fn note_non_finite<S: Storage, N: Size>(
    found: &mut Found,
    values: &Array<Vector<S::Word, N>>,
    start: usize,
    largest: u32,
    #[comptime] sweep: Sweep,
) {
    let infinity = 0x7f80_0000u32;
    // An empty loop rather than a branch: a software driver executes the body of a branch not taken.
    let steps = comptime!(sweep.steps() as u32);
    let again = select(largest >= infinity, steps, 0u32);
    for step in 0..again {
        let at = start + step as usize;
        let vector = S::load::<N>(values, at, sweep.width);
        #[unroll]
        for lane in 0..sweep.width {
            let seen = magnitude_bits(*vector.index(lane)) >= infinity;
            note(found, seen, at * sweep.width + lane);
        }
    }
}
