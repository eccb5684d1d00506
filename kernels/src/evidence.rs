//! What a sweep saw, kept on the device until somebody asks.
//!
//! Each unit owns one slot of two words, (count, first index), and overwrites it in every launch: no atomics, so the
//! result does not depend on the order of units, and nothing has to be reset. The host folds the slots when it reads
//! them: the sum of the counts and the least of the indices.

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::context::{Context, Grid};
use crate::error::Error;
use crate::precision::Storage;
use crate::sweep::Sweep;

/// How often something was seen in a sweep, and the arena index where it was seen first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How many values.
    pub count: u64,
    /// The least arena index among them.
    pub first: Option<usize>,
}

impl Evidence {
    /// Bytes that any launch of up to `units` units in all needs.
    pub fn bytes(units: usize) -> usize {
        units * 8
    }

    /// Reads and folds the slots; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn read<R: Runtime>(
        context: &Context<R>,
        operation: &'static str,
        slots: &Handle,
    ) -> Result<Self, Error> {
        let words: Vec<u32> = context.download(operation, slots)?;
        let mut evidence = Self::default();
        for slot in words.chunks_exact(2).filter(|slot| slot[0] > 0) {
            evidence.count += u64::from(slot[0]);
            let first = slot[1] as usize;
            evidence.first = Some(evidence.first.map_or(first, |least| least.min(first)));
        }
        Ok(evidence)
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
    let again = select(largest >= infinity, sweep.run as u32, 0u32);
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

/// Writes the unit's slot.
#[cube]
pub(crate) fn write(found: &Found, slots: &mut Array<u32>) {
    let slot = ABSOLUTE_POS * 2;
    slots[slot] = found.count;
    slots[slot + 1] = found.first;
}

/// Requires a slot for each unit of the grid.
pub(crate) fn require_slots(
    operation: &'static str,
    slots: &Handle,
    grid: Grid,
) -> Result<(), Error> {
    let expected = 8 * u64::from(grid.cubes) * u64::from(grid.units);
    let found = slots.size_in_used();
    if found >= expected {
        return Ok(());
    }
    Err(Error::Length {
        operation,
        argument: "evidence",
        found,
        expected,
    })
}
