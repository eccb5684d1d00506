//! Ghost columns: the copies that a run keeps of its neighbours' statistics.
//!
//! A run of a walk, or a tile of a team, needs the new statistics of a few columns before and after it while the runs that own them
//! are updating them. Instead of waiting for each other, each run updates copies of its own from the same gradient.
//! They lie behind the arena in the same buffer: for each run first the vectors before it, then those after it. All
//! states start at zero, so the copies need no set-up.

use super::blueprint::{Blueprint, EdgeRemoval, Reach};
use crate::arena::Layout;

/// Where the ghost columns of a state lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghosts {
    arena: usize,
    /// Before a run, and after it.
    behind: usize,
    ahead: usize,
    runs: usize,
    columns: usize,
}

impl Ghosts {
    /// The ghost columns of the runs of a blueprint.
    pub fn new(layout: &Layout, band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        let reach = Reach::of(blueprint.sweep, band, removal);
        let width = blueprint.sweep.width;
        Self {
            arena: layout.arena_len(),
            behind: reach.behind * width,
            ahead: reach.ahead * width,
            runs: blueprint.sweep.runs(layout),
            columns: blueprint.sweep.run * blueprint.sweep.width,
        }
    }

    /// Values in a state of [`super::step`]: the arena and the ghost columns behind it.
    pub fn state_len(&self) -> usize {
        self.arena + self.per_run() * self.runs
    }

    /// Whether a step in one launch is worth its ghost columns: they are at most an eighth of the columns of a run.
    pub fn are_few(&self) -> bool {
        8 * self.per_run() <= self.columns
    }

    /// Whether they are those of the layout.
    pub(crate) fn fit(&self, layout: &Layout) -> bool {
        self.arena == layout.arena_len()
    }

    /// Themselves, unless there are none.
    pub(crate) fn any(self) -> Option<Self> {
        (self.state_len() > self.arena).then_some(self)
    }

    /// How many they are, in words.
    pub(crate) fn description(&self) -> String {
        let (runs, columns) = (self.runs, self.columns);
        format!(
            "{} ghost columns for each of {runs} runs of {columns}",
            self.per_run()
        )
    }

    fn per_run(&self) -> usize {
        self.behind + self.ahead
    }

    /// For each ghost column its index in the state and the index of the column it copies.
    pub fn copies(&self) -> impl Iterator<Item = (usize, usize)> {
        let Self {
            arena,
            behind,
            ahead,
            runs,
            columns,
        } = *self;
        let per_run = behind + ahead;
        (0..runs).flat_map(move |run| {
            let start = crate::arena::BLOCK + run * columns;
            (0..per_run).map(move |i| {
                let copied = if i < behind {
                    start - behind + i
                } else {
                    start + columns + i - behind
                };
                // What is behind the pad is zero, as it is.
                (arena + run * per_run + i, copied.min(arena - 1))
            })
        })
    }
}
