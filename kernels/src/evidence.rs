//! What a sweep saw, kept on the device until somebody asks.
//!
//! Each unit owns one slot of two words, (count, first index), and overwrites it in every launch: no atomics, so the
//! result does not depend on the order of units, and nothing has to be reset. The host folds the slots when it reads
//! them: the sum of the counts and the least of the indices.

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::context::{Context, Grid};
use crate::error::Error;

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

/// Counts `at` if `value` is NaN or infinite. Looks at the bits: a comparison may be optimised away under fast maths.
#[cube]
pub(crate) fn note_non_finite(found: &mut Found, value: f32, at: usize) {
    let bits = u32::reinterpret(value) & 0x7fff_ffffu32;
    note(found, bits >= 0x7f80_0000u32, at);
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
