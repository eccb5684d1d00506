//! The geometry of a sweep over the arena: how many values at a time, and how many units share the work.

use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

use crate::arena::{BLOCK, Layout};
use crate::context::{Context, Grid, Profile, Units};
use crate::error::Error;
use crate::norms::{PART, PARTS};
use crate::precision::{Precision, Storage, require};

/// Columns of a team's run, at most: units of a cube times values of a vector.
const MOST_COLUMNS: usize = 1 << 13;

/// How an elementwise kernel walks over the arena: unit `u` of `cubes · units` takes the runs `u`, `u + cubes·units`, …
/// of `run` consecutive vectors of `width` values each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sweep {
    /// Values per access: 1, 2, 4 or 8.
    pub width: usize,
    /// Vectors that a unit takes in a row; `run · width` divides [`BLOCK`].
    pub run: usize,
    /// Units of a cube.
    pub units: u32,
    /// Cubes at most; fewer are launched when the arena is small.
    pub cubes: u32,
    /// Whether f32 is read two values to a 64-bit word, where a kernel has that form ([`Precision::Twin`]).
    #[serde(default)]
    pub twins: bool,
    /// Whether the units of a cube take a run together, neighbouring units neighbouring vectors. A run then may span blocks, and
    /// may need [`GHOST_UNITS`] more units than it has vectors.
    #[serde(default)]
    pub team: bool,
}

/// Units of a team for the vectors around its own: those of the widest plane of any GPU but AMD's, so that the others begin where
/// a line of memory does.
pub const GHOST_UNITS: usize = 32;

impl Sweep {
    /// The default of a device for kernels that have no other.
    ///
    /// A software driver runs a cube to its end before the next and pays per access, so a unit walks a whole block, neighbouring
    /// accesses following each other in time. On a graphics processor accesses happen side by side in the units of a cube, and
    /// the cubes are enough to fill the largest; that is reckoned, `sonew tune` measures.
    pub fn infer(profile: Profile) -> Self {
        match profile.units {
            Units::Few => Self {
                width: 4,
                run: BLOCK / 4,
                units: 32,
                cubes: 4096,
                twins: false,
                team: false,
            },
            Units::Many => Self {
                width: 4,
                run: 1,
                units: 256,
                cubes: 4096,
                twins: false,
                team: false,
            },
        }
    }

    /// The default of a device for the first-order rules and the statistics in a precision.
    ///
    /// A software driver takes as many values at once as four words hold of whichever format has the fewest in one. Of `sonew tune adam` on llvmpipe, two cores, f32,
    /// relative to this default: half as wide 120 %, in words of 32 bits 155 %, both 160 %, runs half as long 120 %; 32 and 128
    /// units are within 2 %. In bf16 half as wide is 111 %.
    ///
    /// On a GPU a unit reads 16 bytes at once, also where all values have two.
    pub fn infer_for<S: Precision>(profile: Profile) -> Self {
        let twins = profile.wide_words && has_twin::<S>();
        match profile.units {
            Units::Few if twins || S::Params::PER_WORD.min(S::State::PER_WORD) == 2 => Self {
                width: 8,
                run: BLOCK / 8,
                units: 64,
                cubes: 4096,
                twins,
                team: false,
            },
            Units::Many if S::Params::BYTES == 2 && S::State::BYTES == 2 => Self {
                width: 8,
                ..Self::infer(profile)
            },
            _ => Self::infer(profile),
        }
    }

    /// What was tuned for a kernel on a device, or the default.
    pub fn of<S: Precision>(context: &Context, kernel: &'static str, band: usize) -> Self {
        let tuned = context.tuned().get(kernel, S::NAME, band);
        let sweep = tuned.map_or_else(
            || Self::infer_for::<S>(context.profile()),
            |blueprint| blueprint.sweep,
        );
        sweep.on::<S>(context)
    }

    /// What was tuned for a kernel that has neither a band nor a form in 64-bit words, or the default for those.
    pub fn plain<S: Precision>(context: &Context, kernel: &'static str) -> Self {
        let tuned = context.tuned().get(kernel, S::NAME, 0);
        let default = || Self::infer_plain::<S>(context.profile());
        tuned.map_or_else(default, |it| it.sweep)
    }

    fn infer_plain<S: Precision>(profile: Profile) -> Self {
        match profile.units {
            Units::Few => Self::infer(profile),
            Units::Many => Self::infer_for::<S>(profile),
        }
    }

    /// What was tuned for a kernel that measures what it sweeps, or the default: on a GPU teams, which have whole blocks.
    pub fn measuring<S: Precision>(context: &Context, kernel: &'static str) -> Self {
        let tuned = context.tuned().get(kernel, S::NAME, 0);
        tuned.map_or_else(
            || {
                let plain = Self::infer_plain::<S>(context.profile());
                match context.profile().units {
                    Units::Few => plain,
                    Units::Many => Self {
                        run: plain.units as usize,
                        team: true,
                        ..plain
                    },
                }
            },
            |it| it.sweep,
        )
    }

    /// Without 64-bit words where a device has none, and then no wider than four of the others.
    pub(crate) fn on<S: Precision>(self, context: &Context) -> Self {
        if !self.twins || require::<S::Twin>(context).is_ok() {
            return self;
        }
        let width = self.width.min(4);
        Self {
            width,
            run: self.run * self.width / width,
            twins: false,
            ..self
        }
    }

    /// Vectors that a unit takes of a run: all, or one in a team.
    pub(crate) fn steps(&self) -> usize {
        if self.team { 1 } else { self.run }
    }

    /// Runs in one block.
    pub fn runs_per_block(&self) -> usize {
        BLOCK / (self.run * self.width)
    }

    /// Pairs of norms that come of one block where a launch measures what it sweeps: one where a unit or a team has all of the
    /// block, otherwise one of each part of four values.
    pub fn norms_per_block(&self) -> usize {
        if self.team || self.run * self.width == BLOCK {
            1
        } else {
            PARTS
        }
    }

    /// Numbers that come of an arena so: two norms for each block, or for each part of one the sums of two kinds of squares and
    /// their units.
    pub fn norms(&self, layout: &Layout) -> usize {
        let of_block = match self.norms_per_block() {
            1 => 2,
            parts => 4 * parts,
        };
        of_block * (layout.blocks() - 2)
    }

    /// The launch that walks the blocks between the pads of an arena, binding `buffers` buffers.
    pub(crate) fn grid(&self, layout: &Layout, buffers: usize) -> Grid {
        let runs = self.runs(layout);
        let at_once = if self.team { 1 } else { self.units as usize };
        Grid {
            cubes: runs.div_ceil(at_once).clamp(1, self.cubes as usize) as u32,
            units: self.units,
            // The scalars of a kernel travel in a buffer of their own.
            buffers: 1 + buffers as u32,
        }
    }

    /// Units that a launch over an arena has in all, each of them with a slot in [`crate::evidence`].
    pub fn total_units(&self, layout: &Layout) -> usize {
        let grid = self.grid(layout, 0);
        grid.cubes as usize * grid.units as usize
    }

    /// Runs between the pads of an arena.
    pub(crate) fn runs(&self, layout: &Layout) -> usize {
        let blocks = layout.blocks() - 2;
        if self.team {
            (blocks * BLOCK).div_ceil(self.run * self.width)
        } else {
            blocks * self.runs_per_block()
        }
    }

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

/// Whether a precision has a form in 64-bit words.
pub(crate) fn has_twin<S: Precision>() -> bool {
    <S::Twin as Precision>::State::PER_WORD > S::State::PER_WORD
}

/// The first vector of a run: the walk starts behind the leading pad.
#[cube]
pub(crate) fn run_start(run: usize, #[comptime] sweep: Sweep) -> usize {
    run * sweep.run + comptime!(BLOCK / sweep.width)
}

/// The first run of a unit: one of its own, or the first of its team.
#[cube]
pub(crate) fn first_run(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        CUBE_POS
    } else {
        ABSOLUTE_POS
    }
}

/// From a run of a unit to its next.
#[cube]
pub(crate) fn stride_of_runs(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        CUBE_COUNT
    } else {
        CUBE_COUNT * CUBE_DIM as usize
    }
}

/// Where in a run the vectors of a unit begin.
#[cube]
pub(crate) fn offset_of_unit(#[comptime] sweep: Sweep) -> usize {
    if comptime!(sweep.team) {
        UNIT_POS as usize
    } else {
        0usize.runtime()
    }
}

/// Vectors from `start` on that a unit takes: none where a tile is longer than what is left of the arena.
#[cube]
pub(crate) fn steps_within(start: usize, end: usize, #[comptime] sweep: Sweep) -> usize {
    let steps = comptime!(sweep.steps());
    if comptime!(sweep.team) {
        select(start < end, steps, 0usize)
    } else {
        steps.runtime()
    }
}

/// Launch tuning is data: the default of the device, or a value forced by a test, a bench or a tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy<B> {
    /// The default of the device.
    #[default]
    Inferred,
    /// This blueprint.
    Forced(B),
}

impl<B: Copy> Strategy<B> {
    /// The forced blueprint, or the inferred one.
    pub fn resolve(&self, infer: impl FnOnce() -> B) -> B {
        match self {
            Self::Inferred => infer(),
            Self::Forced(blueprint) => *blueprint,
        }
    }
}
