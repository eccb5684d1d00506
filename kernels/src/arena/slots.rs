//! Room for what the units of a launch see, kept on the device until somebody asks ([`crate::evidence`]).
//!
//! Each unit owns a slot of two findings, each of three words: the stamp of the launch that wrote it, how often, and the first
//! index. A unit that sees nothing writes nothing, so evidence costs no traffic as long as all is well. There are no atomics,
//! so the result does not depend on the order of units, and nothing has to be reset: every launch has a stamp of its own.

use std::cell::Cell;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::layout::Layout;
use crate::context::Context;
use crate::error::Error;
use crate::evidence::{Found, PivotsFound};
use crate::launch::{Grid, Sweep, array};

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
    pub fn of(context: &Context, layout: &Layout, sweep: Sweep) -> Self {
        Self::new(context, sweep.total_units(layout))
    }

    /// The slots of a launch that is about to be, if there is one for each unit of its grid.
    pub(crate) fn claim(&self, operation: &'static str, grid: Grid) -> Result<Claimed<'_>, Error> {
        let words = SLOT * grid.cubes as usize * grid.units as usize;
        let expected = (words * size_of::<u32>()) as u64;
        let found = self.handle.size_in_used();
        if found < expected {
            return Err(Error::Length {
                operation,
                argument: "evidence",
                found,
                expected,
            });
        }
        Ok(Claimed {
            handle: &self.handle,
            words,
            stamp: self.stamped(),
        })
    }

    /// The stamp of a new launch, never 0.
    fn stamped(&self) -> u32 {
        let next = self.stamp.get().checked_add(1).unwrap_or(1);
        self.stamp.set(next);
        next
    }

    /// Lends what the last launch saw; waits for the work launched so far.
    pub(crate) fn view<O>(
        &self,
        context: &Context,
        operation: &'static str,
        look: impl FnOnce(Seen<'_>) -> O,
    ) -> Result<O, Error> {
        let stamp = self.stamp.get();
        context.view(operation, &self.handle, |words: &[u32]| {
            look(Seen { words, stamp })
        })
    }
}

/// The slots of one launch.
pub(crate) struct Claimed<'a> {
    handle: &'a Handle,
    words: usize,
    /// What marks a finding as that launch's.
    pub stamp: u32,
}

impl Claimed<'_> {
    /// The slots as a kernel takes them.
    pub fn argument(&self) -> ArrayArg<Gpu> {
        array(self.handle, self.words)
    }
}

/// What the launch of a stamp left in its slots.
pub(crate) struct Seen<'a> {
    words: &'a [u32],
    stamp: u32,
}

impl Seen<'_> {
    /// How often and where first, of each unit that has a first finding.
    pub fn first(&self) -> impl Iterator<Item = (u32, u32)> {
        self.findings(0)
    }

    /// The same of the second.
    pub fn second(&self) -> impl Iterator<Item = (u32, u32)> {
        self.findings(FINDING)
    }

    fn findings(&self, offset: usize) -> impl Iterator<Item = (u32, u32)> {
        let findings = self.words.chunks_exact(SLOT).map(move |it| &it[offset..]);
        findings
            .filter(|it| it[0] == self.stamp && self.stamp > 0)
            .map(|it| (it[1], it[2]))
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
