//! The choices of a banded kernel: what the caller asked for (removal, tolerance) and how it is laid out (blueprint).

use serde::{Deserialize, Serialize};

use super::graft::Graft;
use super::tile::Tile;
use crate::context::{Context, Processor};
use crate::error::{Error, require_non_negative};
use crate::precision::{Precision, Storage};
use crate::segments::{BLOCK, GAP, Segments};
use crate::sweep::{GHOST_UNITS, Sweep, has_twin};

/// What happens when the pivot S_j of a vertex is too small: which edges go (Algorithm 3 of the paper), or what else.
///
/// All leave a positive definite X. [`Incident`](Self::Incident) is exact for every band: what remains of each
/// neighbour set is still a clique, so X⁻¹ = H on every edge that was kept. [`Outgoing`](Self::Outgoing) is exact for
/// b ≤ 1 and is what the authors' tridiagonal code does. The other two are what later code of the authors does instead;
/// they are here to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeRemoval {
    /// The edges from j to its later neighbours I_j: ψ_j = 0, D_j = 1/H_jj; other columns stay as they were.
    Outgoing,
    /// Every edge of j, and the remaining columns are solved again on their reduced neighbour sets.
    Incident,
    /// None: ψ_j stays, and S_j is raised to γ; where γ is 0 there is nothing to raise it to, and it is as
    /// [`Outgoing`](Self::Outgoing).
    Clamp,
    /// None: the entry of H that couples j and j+b is changed, by as little as makes S_j = γ. Where no value does, there is
    /// no such entry, or γ is 0, as [`Outgoing`](Self::Outgoing).
    Reweight,
}

impl EdgeRemoval {
    /// All of them, by their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("outgoing", Self::Outgoing),
        ("incident", Self::Incident),
        ("clamp", Self::Clamp),
        ("reweight", Self::Reweight),
    ];
}

/// When a pivot is too small: S_j ≤ absolute + relative · H_jj, or S_j is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Absolute part of γ, ≥ 0.
    pub absolute: f64,
    /// Part of γ relative to H_jj, in [0, 1).
    pub relative: f64,
}

/// How [`super::update`], [`super::factor`] and [`super::step`] are laid out on a device. The results of the first two do
/// not depend on it; the states of the last have ghost columns ([`super::Ghosts`]) that do.
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
    /// The default of a walk for a band on a device, in a precision.
    pub fn infer<S: Precision>(processor: Processor, band: usize) -> Self {
        // A vector of columns compiles in a fraction of a second up to band 5, a single one up to band 16.
        let unroll = band <= 16;
        let width = match (processor, band) {
            // `sonew tune sonew-step` on llvmpipe has half the width at 117 %, runs half as long at 106 %.
            (Processor::Cpu, 0 | 1) => Sweep::infer_for::<S>(processor).width,
            (_, 0..=5) => 4,
            _ => S::Params::PER_WORD.max(S::State::PER_WORD),
        };
        let (columns, units, cubes) = match processor {
            // Few units, each walking a whole block: the columns before its start cost least. A loop that is not
            // unrolled has to fit the driver's limit.
            Processor::Cpu if unroll => (BLOCK, 64, 4096),
            Processor::Cpu => (8, 32, 65_535),
            // Runs so long that their ghost columns are at most an eighth, which makes a step one launch: a tridiagonal one then
            // moves 9.4 values for each parameter, ghosts included, instead of 12. Beyond band 8 no run is long enough, and
            // shorter ones keep more units busy. Reckoned; `sonew tune` measures.
            Processor::Gpu => {
                let columns = match band {
                    0 => 8,
                    1..=4 => 128,
                    5..=8 => BLOCK,
                    _ => 32,
                };
                (columns, 128, 65_535)
            }
        };
        let sweep = Sweep {
            width,
            run: columns / width,
            units,
            cubes,
            twins: processor == Processor::Cpu && width > 1 && has_twin::<S>(),
            team: false,
        };
        Self { sweep, unroll }
    }

    /// The default of a step in one launch where a cube can have `shared` bytes of shared memory. On a graphics processor it is a
    /// team, of as many vectors of 16 bytes as that allows; if the ghosts would be many beside them, it is a walk.
    pub fn infer_step<S: Precision>(processor: Processor, band: usize, shared: usize) -> Self {
        let walk = Self::infer::<S>(processor, band);
        if processor == Processor::Cpu {
            return walk;
        }
        // Eight columns of a wide band are more than the registers hold.
        let narrow = S::Params::BYTES == 2 && S::State::BYTES == 2 && band <= 5;
        let width = if narrow { 8 } else { 4 };
        let teams = [128, 64, 32].map(|own| Self {
            sweep: Sweep {
                width,
                run: own,
                units: (own + if band > 0 { GHOST_UNITS } else { 0 }) as u32,
                cubes: 65_535,
                twins: false,
                team: true,
            },
            unroll: walk.unroll,
        });
        // Which of them needs the most.
        let removal = EdgeRemoval::Incident;
        let fits = |team: &Self| {
            let Reach { ahead, behind, .. } = Reach::of(team.sweep, band, removal);
            let few = 8 * (ahead + behind) <= team.sweep.run;
            few && 4 * Tile::new(band, removal, *team).shared() <= shared
        };
        teams.into_iter().find(fits).unwrap_or(walk)
    }

    /// What was tuned for a step of SONew on a device, or the default.
    pub fn of_step<S: Precision>(context: &Context, band: usize) -> Self {
        let tuned = context.tuned().get("sonew-step", S::NAME, band);
        let shared = context
            .client()
            .properties()
            .hardware
            .max_shared_memory_size;
        let default = || Self::infer_step::<S>(context.processor(), band, shared);
        let blueprint = tuned.unwrap_or_else(default);
        Self {
            sweep: blueprint.sweep.on::<S>(context),
            ..blueprint
        }
    }

    /// This blueprint, or the default walk where it is a team's: for launches that a team does not do.
    pub fn walking<S: Precision>(self, processor: Processor, band: usize) -> Self {
        if self.sweep.team {
            Self::infer::<S>(processor, band)
        } else {
            self
        }
    }

    /// What was tuned for a kernel on a device, or the default.
    pub fn of<S: Precision>(context: &Context, kernel: &'static str, band: usize) -> Self {
        let tuned = context.tuned().get(kernel, S::NAME, band);
        let blueprint = tuned.unwrap_or_else(|| Self::infer::<S>(context.processor(), band));
        Self {
            sweep: blueprint.sweep.on::<S>(context),
            ..blueprint
        }
    }

    /// Requires that a step of SONew can be laid out so on a device, as each launch does: what it refuses is known before
    /// anything is allocated.
    ///
    /// # Errors
    /// [`Error::Range`] for the band, [`Error::Shape`] for a layout that no kernel takes, [`Error::Unsupported`] where the
    /// software driver would end the loops of a unit too early, [`Error::Limit`] where the device binds fewer buffers.
    pub fn require<S: Precision>(
        &self,
        operation: &'static str,
        context: &Context,
        segments: &Segments,
        (band, removal): (usize, EdgeRemoval),
        form: Form,
    ) -> Result<(), Error> {
        let processor = context.processor();
        let whole = form.one_launch;
        self.check::<S>(operation, band, removal, segments, processor, whole)?;
        context.require_grid(operation, self.sweep.grid(segments, form.buffers(band)))
    }

    pub(crate) fn check<S: Precision>(
        &self,
        operation: &'static str,
        band: usize,
        removal: EdgeRemoval,
        segments: &Segments,
        processor: Processor,
        whole_step: bool,
    ) -> Result<(), Error> {
        self.sweep.check_shape::<S>(operation)?;
        let ghosts = {
            let Reach { ahead, behind, .. } = Reach::of(self.sweep, band, removal);
            ahead + behind
        };
        let needed = self.sweep.run + if ghosts > 0 { GHOST_UNITS } else { 0 };
        let fits = self.sweep.units as usize == needed && ghosts <= GHOST_UNITS && whole_step;
        if self.sweep.team && !fits {
            return Err(Error::Shape {
                operation,
                argument: "blueprint",
                found: format!(
                    "a team of {} units with {ghosts} ghost vectors",
                    self.sweep.units
                ),
                expected: if whole_step {
                    format!(
                        "{needed} units, one for each of {} vectors and a plane of {GHOST_UNITS} for ghosts, and no more of those",
                        self.sweep.run
                    )
                } else {
                    "a walk; a team takes a whole step".into()
                },
            });
        }
        if band > GAP {
            return Err(Error::Range {
                operation,
                argument: "band",
                found: band as f64,
                expected: "at most 32, the zeros between tensors of the arena",
            });
        }
        // It looks at the gradients a second time, for what is not finite.
        let again = if whole_step { self.sweep.run + 1 } else { 0 };
        let iterations = self.iterations(band, removal) + again;
        self.sweep
            .check_loops(operation, segments, processor, iterations)
    }

    /// Loop iterations of one run, at most; leaving a loop counts as one.
    fn iterations(&self, band: usize, removal: EdgeRemoval) -> usize {
        let reach = Reach::of(self.sweep, band, removal);
        let steps = reach.behind + self.sweep.run;
        let walk = reach.ahead + 1 + steps + 1;
        if self.unroll {
            return walk;
        }
        let kept = reach.ahead * self.sweep.width;
        let shift = (kept + 1) + (band + 1) + band * (kept + 1) + (kept + 1);
        let pairs = band * band.saturating_sub(1) / 2;
        let triples = pairs * band.saturating_sub(2) / 3;
        let eliminations = if removal == EdgeRemoval::Incident {
            2
        } else {
            1
        };
        // Forwards the loops over p, q and s, backwards those over p and q.
        let elimination = triples + 3 * pairs + 4 * band + 2;
        // The inverse's column: forwards and backwards over pairs.
        let eliminations = eliminations + usize::from(removal == EdgeRemoval::Reweight);
        let columns = self.sweep.width * (eliminations * elimination + 3 * (band + 1));
        let mark = (reach.reach * self.sweep.width + 1) + (self.sweep.width + 1);
        walk + band + 1 + reach.ahead * shift + steps * (shift + mark + columns)
    }
}

impl Tolerance {
    pub(crate) fn check(&self, operation: &'static str) -> Result<(), Error> {
        require_non_negative(operation, "gamma", self.absolute)?;
        if (0.0..1.0).contains(&self.relative) {
            return Ok(());
        }
        Err(Error::Range {
            operation,
            argument: "relative-gamma",
            found: self.relative,
            expected: "0 ≤ γ < 1",
        })
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
    pub fn of(sweep: Sweep, band: usize, removal: EdgeRemoval) -> Self {
        let reach = band.div_ceil(sweep.width);
        // With incident removal a column needs to know which of its neighbours are cut, and they look b further.
        let factor = match removal {
            EdgeRemoval::Outgoing | EdgeRemoval::Clamp | EdgeRemoval::Reweight => 1,
            EdgeRemoval::Incident => 2,
        };
        // A walk learns what is cut as it goes; a team asks the units behind.
        let behind = if sweep.team { reach } else { factor * reach };
        Self {
            reach,
            ahead: factor * reach,
            behind,
        }
    }
}

/// In what form a step is taken, which decides what its launches bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// By [`step`](super::step()), otherwise by [`update`](super::update()) after other launches.
    pub one_launch: bool,
    /// Whose length it takes over.
    pub graft: Graft,
    /// Whether ε is relative to ‖H‖₁.
    pub relative: bool,
}

impl Form {
    /// Buffers that the launch with the most of them binds, but for its scalars.
    pub(super) fn buffers(self, band: usize) -> usize {
        // The parameters, or what is staged and its norms.
        let written = if self.graft == Graft::None { 1 } else { 2 };
        if self.one_launch {
            // The gradients, m, d and the evidence of both.
            return 5 + band + written;
        }
        let read = match self.graft {
            Graft::None | Graft::Momentum | Graft::Adam => 0,
            Graft::Sgd => 1,
            // The gradients, their norms and d.
            Graft::RmsProp => 3,
        };
        // m, d, the evidence and the table of tensors.
        4 + band + written + read + usize::from(self.relative)
    }
}
