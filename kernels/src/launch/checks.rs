//! What a sweep has to be for a kernel.

use super::sweep::Sweep;
use crate::arena::{BLOCK, Layout};
use crate::context::Profile;
use crate::error::Error;
use crate::norms::PART;
use crate::precision::{Precision, Storage};

/// Columns of a team's run, at most: units of a cube times values of a vector.
const MOST_COLUMNS: usize = 1 << 13;

impl Sweep {
    /// Requires that the device does not cut the loops of a unit short, where one run takes at most
    /// `iterations`, those of all its loops and their exits together.
    pub(crate) fn check_loops(
        &self,
        operation: &'static str,
        layout: &Layout,
        profile: Profile,
        iterations: usize,
    ) -> Result<(), Error> {
        let at_once = if self.team {
            self.grid(layout, 0).cubes as usize
        } else {
            self.total_units(layout)
        };
        let runs = self.runs(layout).div_ceil(at_once);
        let needed = runs * (1 + iterations) + 1;
        let Some(allowed) = profile.loop_iterations.filter(|&it| needed > it) else {
            return Ok(());
        };
        Err(Error::Unsupported {
            operation,
            reason: format!(
                "a unit with {runs} runs of {iterations} loop iterations takes {needed}, and the software driver stops silently after {allowed}; use more units, shorter runs or a band of at most 16, or a GPU"
            ),
        })
    }

    /// Whether runs fill a block and there is at least one unit and cube: what every kernel asks of a sweep.
    pub fn is_whole(&self) -> bool {
        // A run is read from files; a product that overflows is none.
        let columns = self.run.checked_mul(self.width).unwrap_or(0);
        let divides =
            columns > 0 && (BLOCK.is_multiple_of(columns) || self.team && columns < MOST_COLUMNS);
        let one_form = !(self.team && self.twins);
        matches!(self.width, 1 | 2 | 4 | 8)
            && one_form
            && divides
            && self.units > 0
            && self.cubes > 0
    }

    /// Requires a sweep of units that each take runs of their own, in whole words.
    pub(crate) fn check<S: Precision>(&self, operation: &'static str) -> Result<(), Error> {
        if self.team {
            return Err(Error::Shape {
                operation,
                argument: "blueprint",
                found: "a team".into(),
                expected: "units that each take runs of their own; this kernel has no teams".into(),
            });
        }
        self.check_shape::<S>(operation)
    }

    /// Requires a sweep that measures what it sees, in whole words: units that have a part of a block at least, or teams that have
    /// whole blocks, a vector for each unit.
    pub(crate) fn check_measuring<S: Precision>(
        &self,
        operation: &'static str,
    ) -> Result<(), Error> {
        self.check_shape::<S>(operation)?;
        let columns = self.run * self.width;
        let fits = if self.team {
            let whole = self.width >= PART && columns.is_multiple_of(BLOCK);
            whole && self.units as usize == self.run
        } else {
            columns >= PART
        };
        if fits {
            return Ok(());
        }
        Err(Error::Shape {
            operation,
            argument: "blueprint",
            found: format!(
                "{} of {} vectors of {} values, {} units",
                if self.team { "a team" } else { "runs" },
                self.run,
                self.width,
                self.units
            ),
            expected: format!(
                "runs of at least {PART} values; or a team of whole blocks of {BLOCK}, with a unit for each vector of at least {PART}"
            ),
        })
    }

    /// Requires whole runs and words.
    pub(crate) fn check_shape<S: Precision>(&self, operation: &'static str) -> Result<(), Error> {
        self.check_words(operation, S::Params::PER_WORD.max(S::State::PER_WORD))
    }

    /// Requires that runs fill blocks, and vectors words of so many values.
    pub(crate) fn check_words(&self, operation: &'static str, words: usize) -> Result<(), Error> {
        if self.width > 0 && !self.width.is_multiple_of(words) {
            return Err(Error::Shape {
                operation,
                argument: "blueprint",
                found: format!("width {}", self.width),
                expected: format!("a multiple of the {words} values in a word"),
            });
        }
        if self.is_whole() {
            return Ok(());
        }
        Err(Error::Shape {
            operation,
            argument: "blueprint",
            found: format!(
                "width {}, run {}, {} units and {} cubes",
                self.width, self.run, self.units, self.cubes
            ),
            expected: format!(
                "width 1, 2, 4 or 8, width · run a divisor of {BLOCK}, and at least one unit and cube"
            ),
        })
    }
}
