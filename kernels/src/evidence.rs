//! What a sweep saw, kept on the device until somebody asks.
//!
//! Each unit owns a slot of two findings, each of three words: the stamp of the launch that wrote it, how often, and the first
//! index. A unit that sees nothing writes nothing, so evidence costs no traffic as long as all is well. There are no atomics,
//! so the result does not depend on the order of units, and nothing has to be reset: every launch has a stamp of its own, and
//! the host folds the findings of the last when it reads them, the sum of the counts and the least of the indices. Most sweeps
//! look for one thing and leave the second finding alone.

use std::cell::Cell;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::buffers::array;
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::precision::Storage;
use crate::segments::Segments;
use crate::sweep::Sweep;

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

/// Words of a finding.
const FINDING: usize = 3;
/// Words of a slot.
const SLOT: usize = 2 * FINDING;

/// Room for what the units of a launch see, and the stamp of the last launch. Stamps repeat after 2³² launches.
pub struct Slots {
    handle: Handle,
    stamp: Cell<u32>,
}

impl Slots {
    /// For launches of up to `units` units in all.
    pub fn new(context: &Context, units: usize) -> Self {
        Self {
            handle: context.upload(&vec![0u32; SLOT * units]),
            stamp: Cell::new(0),
        }
    }

    /// For launches of a sweep.
    pub fn of(context: &Context, segments: &Segments, sweep: Sweep) -> Self {
        Self::new(context, sweep.total_units(segments))
    }

    /// The stamp of a new launch, never 0.
    fn stamped(&self) -> u32 {
        let next = self.stamp.get().checked_add(1).unwrap_or(1);
        self.stamp.set(next);
        next
    }
}

impl Evidence {
    /// Reads and folds the slots; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn read(context: &Context, operation: &'static str, slots: &Slots) -> Result<Self, Error> {
        context.view(operation, &slots.handle, |words: &[u32]| {
            Self::fold(words, 0, slots.stamp.get())
        })
    }

    /// Folds the finding whose words start at `offset` of each slot, where the launch of that stamp wrote it.
    fn fold(words: &[u32], offset: usize, stamp: u32) -> Self {
        let mut evidence = Self::default();
        let findings = words.chunks_exact(SLOT).map(|slot| &slot[offset..]);
        for finding in findings.filter(|finding| finding[0] == stamp && stamp > 0) {
            evidence.count += u64::from(finding[1]);
            let first = finding[2] as usize;
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
        let stamp = slots.stamp.get();
        context.view(operation, &slots.handle, |words: &[u32]| Self {
            cut: Evidence::fold(words, 0, stamp),
            out_of_range: Evidence::fold(words, FINDING, stamp),
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

/// Writes the unit's slot, if it saw anything.
#[cube]
pub(crate) fn write(found: &Found, slots: &mut Array<u32>, stamp: u32) {
    write_finding(found, slots, ABSOLUTE_POS * SLOT, stamp);
}

/// Writes the unit's slot, if it saw anything.
#[cube]
pub(crate) fn write_pivots(found: &PivotsFound, slots: &mut Array<u32>, stamp: u32) {
    let slot = ABSOLUTE_POS * SLOT;
    write_finding(&found.cut, slots, slot, stamp);
    write_finding(&found.out_of_range, slots, slot + FINDING, stamp);
}

#[cube]
fn write_finding(found: &Found, slots: &mut Array<u32>, at: usize, stamp: u32) {
    if found.count > 0 {
        slots[at] = stamp;
        slots[at + 1] = found.count;
        slots[at + 2] = found.first;
    }
}

/// The slots of the units of a grid, as a kernel takes them.
pub(crate) fn slots(slots: &Handle, grid: Grid) -> ArrayArg<Gpu> {
    array(slots, SLOT * grid.cubes as usize * grid.units as usize)
}

/// The buffer of the slots, which has one for each unit of the grid, and the stamp of the launch that is about to be.
pub(crate) fn require_slots<'a>(
    operation: &'static str,
    slots: &'a Slots,
    grid: Grid,
) -> Result<(&'a Handle, u32), Error> {
    let units = grid.cubes as usize * grid.units as usize;
    let expected = (units * SLOT * size_of::<u32>()) as u64;
    let found = slots.handle.size_in_used();
    if found >= expected {
        return Ok((&slots.handle, slots.stamped()));
    }
    Err(Error::Length {
        operation,
        argument: "evidence",
        found,
        expected,
    })
}
