//! The geometry of a sweep over the arena: how many values at a time, and how many units share the work.

use serde::{Deserialize, Serialize};

use super::grid::Grid;
use crate::arena::{BLOCK, Layout};
use crate::context::{Context, Profile, Units};
use crate::norms::PARTS;
use crate::precision::{Precision, Storage, require};

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
}

/// Whether a precision has a form in 64-bit words.
pub(crate) fn has_twin<S: Precision>() -> bool {
    <S::Twin as Precision>::State::PER_WORD > S::State::PER_WORD
}
