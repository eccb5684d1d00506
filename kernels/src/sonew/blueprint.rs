//! The choices of a banded kernel: what the caller asked for (removal, tolerance) and how it is laid out (blueprint).

use serde::{Deserialize, Serialize};

use super::ghosts::Ghosts;
use super::tile::Tile;
use crate::arena::{BLOCK, GAP, Layout};
use crate::context::{Context, Profile, Units};
use crate::error::{Error, require_non_negative};
use crate::graft::Graft;
use crate::launch::{GHOST_UNITS, Sweep, has_twin};
use crate::norms::{PART, PARTS};
use crate::precision::{Precision, Storage};

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

    /// The default of a band: what the authors' tridiagonal code does; for wider bands only the incident rule keeps X⁻¹ = H.
    pub fn of_band(band: usize) -> Self {
        if band <= 1 {
            Self::Outgoing
        } else {
            Self::Incident
        }
    }
}

/// When a pivot is too small: S_j ≤ absolute + relative · H_jj, or S_j is not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    pub fn infer<S: Precision>(profile: Profile, band: usize) -> Self {
        // A vector of columns compiles in a fraction of a second up to band 5, a single one up to band 16.
        let unroll = band <= 16;
        let width = match (profile.units, band) {
            // `sonew tune sonew-step` on llvmpipe has half the width at 117 %, runs half as long at 106 %.
            (Units::Few, 0 | 1) => Sweep::infer_for::<S>(profile).width,
            (_, 0..=5) => 4,
            _ => S::Params::PER_WORD.max(S::State::PER_WORD),
        };
        let (columns, units, cubes) = match profile.units {
            // Few units, each walking a whole block: the columns before its start cost least. A loop that is not
            // unrolled has to fit the driver's limit.
            Units::Few if unroll => (BLOCK, 64, 4096),
            Units::Few => (8, 32, 65_535),
            // Runs so long that their ghost columns are at most an eighth, which makes a step one launch: a tridiagonal one then
            // moves 9.4 values for each parameter, ghosts included, instead of 12. Beyond band 8 no run is long enough, and
            // shorter ones keep more units busy. Reckoned; `sonew tune` measures.
            Units::Many => {
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
            twins: profile.wide_words && width > 1 && has_twin::<S>(),
            team: false,
        };
        Self { sweep, unroll }
    }

    /// The default where a cube can have `shared` bytes of shared memory. On a graphics processor it is a team, of as many vectors of
    /// 16 bytes as that allows; if the ghosts would be many beside them, it is a walk.
    pub fn infer_for<S: Precision>(profile: Profile, band: usize, shared: usize) -> Self {
        let walk = Self::infer::<S>(profile, band);
        if profile.units == Units::Few {
            return walk;
        }
        // Eight columns of a wide band are more than the registers hold.
        let narrow = S::Params::BYTES == 2 && S::State::BYTES == 2 && band <= 5;
        let width = if narrow { 8 } else { 4 };
        // Each of whole blocks, so that one tile has all that adds up to the norm of a block.
        let teams = [128usize, 64, 32]
            .into_iter()
            .filter(|own| (own * width).is_multiple_of(BLOCK))
            .map(|own| Self::team(width, own, band, walk.unroll));
        // Which of them needs the most.
        let removal = EdgeRemoval::Incident;
        let fits = |team: &Self| {
            let Reach { ahead, behind, .. } = Reach::of(team.sweep, band, removal);
            let few = 8 * (ahead + behind) <= team.sweep.run;
            few && 4 * Tile::new(band, removal, *team).shared(true) <= shared
        };
        teams.into_iter().find(fits).unwrap_or(walk)
    }

    /// A team of `own` vectors of `width` values, and of a plane for the ghosts beside them.
    pub fn team(width: usize, own: usize, band: usize, unroll: bool) -> Self {
        let ghosts = if band > 0 { GHOST_UNITS } else { 0 };
        Self {
            sweep: Sweep {
                width,
                run: own,
                units: (own + ghosts) as u32,
                cubes: 65_535,
                twins: false,
                team: true,
            },
            unroll,
        }
    }

    /// What was tuned for a kernel on a device, or the default.
    pub fn of<S: Precision>(context: &Context, kernel: &'static str, band: usize) -> Self {
        let tuned = context.tuned().get(kernel, S::NAME, band);
        let properties = context.client().properties();
        let shared = properties.hardware.max_shared_memory_size;
        let default = || Self::infer_for::<S>(context.profile(), band, shared);
        let blueprint = tuned.unwrap_or_else(default);
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
        layout: &Layout,
        (band, removal): (usize, EdgeRemoval),
        form: Form,
    ) -> Result<(), Error> {
        let profile = context.profile();
        self.check::<S>(operation, band, removal, layout, profile, form)?;
        context.require_grid(operation, self.sweep.grid(layout, form.buffers(band)))
    }

    pub(crate) fn check<S: Precision>(
        &self,
        operation: &'static str,
        band: usize,
        removal: EdgeRemoval,
        layout: &Layout,
        profile: Profile,
        form: Form,
    ) -> Result<(), Error> {
        self.sweep.check_shape::<S>(operation)?;
        let refused = |found: String, expected: String| {
            Err(Error::Shape {
                operation,
                argument: "blueprint",
                found,
                expected,
            })
        };
        let Sweep {
            run, width, units, ..
        } = self.sweep;
        let stages = form.graft != Graft::None;
        if self.sweep.team {
            let Reach { ahead, behind, .. } = Reach::of(self.sweep, band, removal);
            let ghosts = ahead + behind;
            let needed = run + if ghosts > 0 { GHOST_UNITS } else { 0 };
            if units as usize != needed || ghosts > GHOST_UNITS {
                return refused(
                    format!("a team of {units} units with {ghosts} ghost vectors"),
                    format!(
                        "{needed} units, one for each of {run} vectors and a plane of {GHOST_UNITS} for ghosts, and no more of those"
                    ),
                );
            }
            if stages && !(width >= PART && (run * width).is_multiple_of(BLOCK)) {
                return refused(
                    format!("a team of {run} vectors of {width} values, for a graft"),
                    format!("vectors of {PART} or 8 values, and tiles of whole blocks of {BLOCK}"),
                );
            }
        } else if stages && run * width < PART {
            return refused(
                format!("runs of {} values, for a graft", run * width),
                format!("at least {PART}, whose norm is a number"),
            );
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
        let again = if form.one_launch { run + 1 } else { 0 };
        let folds = if self.sweep.team && stages {
            2 * (PARTS + 1)
        } else {
            0
        };
        let iterations = self.iterations(band, removal) + again + folds;
        self.sweep
            .check_loops(operation, layout, profile, iterations)
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

/// In what form a step is taken: what its launch does, and so what it binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// By [`step`](super::step()), which makes statistics from gradients; otherwise by [`update`](super::update()) after other
    /// launches, which reads them.
    pub one_launch: bool,
    /// Whose length it takes over.
    pub graft: Graft,
    /// Whether ε is relative to ‖H‖₁.
    pub relative: bool,
    /// Whether tensors have rates of their own ([`TensorRates`](crate::arena::TensorRates)); it matters where the launch descends.
    pub rates: bool,
    /// Whether tensors have a chain for each row ([`RowChains`](super::RowChains)); it matters where the launch makes statistics.
    pub rows: bool,
}

impl Form {
    /// The form that is best on a device, and its blueprint: one launch, unless ε needs ‖H‖₁ of the new statistics first, or
    /// the ghost columns would be many. Without rates of tensors and chains of rows, which change neither.
    pub fn choose<S: Precision>(
        context: &Context,
        layout: &Layout,
        (band, removal): (usize, EdgeRemoval),
        graft: Graft,
        relative: bool,
    ) -> (Self, Blueprint) {
        let blueprint = Blueprint::of::<S>(context, "sonew-step", band);
        let ghosts = Ghosts::new(layout, band, removal, blueprint);
        let form = Self {
            one_launch: !relative && ghosts.are_few(),
            graft,
            relative,
            rates: false,
            rows: false,
        };
        (form, blueprint)
    }

    /// Whether a run needs to know its tensor.
    pub(super) fn needs_tensor(&self) -> bool {
        self.relative || self.graft == Graft::RmsProp
    }

    /// Whether the graft looks at the gradient.
    pub(super) fn reads_gradient(&self) -> bool {
        matches!(self.graft, Graft::Sgd | Graft::RmsProp)
    }

    /// Buffers that the launch with the most of them binds, but for its scalars.
    pub(super) fn buffers(self, band: usize) -> usize {
        // m, d and what the pivots show.
        let states = 3 + band;
        // The gradients, and what of them is not finite; or the gradients that a graft reads.
        let gradients = match (self.one_launch, self.graft) {
            (true, _) => 2,
            (false, Graft::Sgd | Graft::RmsProp) => 1,
            (false, _) => 0,
        };
        // The parameters, or what is staged and its norms.
        let written = if self.graft == Graft::None { 1 } else { 2 };
        // The norms of the gradients, and d of the graft.
        let rmsprop = self.graft == Graft::RmsProp;
        let table = usize::from(rmsprop || self.relative);
        let own = usize::from(self.rates && self.graft == Graft::None)
            + usize::from(self.rows && self.one_launch);
        let relative = usize::from(self.relative);
        states + gradients + written + 2 * usize::from(rmsprop) + relative + table + own
    }
}
