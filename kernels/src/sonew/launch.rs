//! The one kernel behind [`super::step()`] and [`super::update()`]: Ĥ and m̂ made from a gradient or read, then factor,
//! precondition, and descend or stage for a graft; by units that walk or by teams that share a tile.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::blueprint::{Blueprint, EdgeRemoval, Form};
use super::elimination::Gamma;
use super::ghosts::Ghosts;
use super::graft::GraftBuffers;
use super::rates::{Prepared, Rates};
use super::rows::RowChains;
use super::tables::{Tables, tables};
use super::tile::{Tile, share};
use super::walk::walk;
use super::window::Plan;
use crate::arena::{self, Arena, BLOCK, Slots, TensorRates};
use crate::context::Context;
use crate::error::Error;
use crate::graft::Graft;
use crate::launch::optional;
use crate::norms::PerTensor;
use crate::precision::{Precision, Storage};

/// How the units of a launch take the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Walk(Plan),
    Team(Tile),
}

impl Way {
    pub fn new(band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        if blueprint.sweep.team {
            Self::Team(Tile::new(band, removal, blueprint))
        } else {
            Self::Walk(Plan::new(band, removal, blueprint))
        }
    }

    pub fn is_team(&self) -> bool {
        matches!(self, Self::Team(_))
    }

    /// The plan of a walk, or of the window of a unit in a team.
    pub fn plan(&self) -> Plan {
        match *self {
            Self::Walk(plan) => plan,
            Self::Team(tile) => tile.plan,
        }
    }

    /// The tile of a team.
    pub fn tile(&self) -> Tile {
        match *self {
            Self::Team(tile) => tile,
            Self::Walk(_) => unreachable!("a kernel asks for the tile where it found a team"),
        }
    }
}

/// The arenas of a launch; which of them there are says what it does.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub operation: &'static str,
    /// Gradients and where to note those that are not finite, if statistics are made.
    pub gradients: Option<(&'a Arena, &'a Slots)>,
    pub moment: &'a Arena,
    pub diagonal: &'a Arena,
    pub edges: &'a [Arena],
    pub cut: &'a Slots,
    /// ‖H‖₁, if ε is relative to it.
    pub row_sums: Option<PerTensor<'a>>,
    /// What is updated, or what is staged instead.
    pub params: Option<&'a Arena>,
    /// What tensors have in place of the weight decay, if something is updated.
    pub rates: Option<&'a TensorRates>,
    /// Which tensors have a chain for each row, if statistics are made.
    pub rows: Option<&'a RowChains>,
    pub graft: Option<GraftBuffers<'a>>,
}

#[cube(launch_unchecked)]
fn step_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    grads: &Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    row_sums: &Sequence<Array<f32>>,
    grad_norms: &Sequence<Array<f32>>,
    tensor_of_block: &Sequence<Array<u32>>,
    second: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    direction: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    norms: &mut Sequence<Array<f32>>,
    non_finite: &mut Sequence<Array<u32>>,
    cut: &mut Array<u32>,
    bad_stamp: u32,
    cut_stamp: u32,
    rates: &Rates,
    tables: &Tables,
    gamma: &Gamma,
    // Of a walk or of teams.
    runs: u32,
    // The first vectors behind the tensors, and behind the arena.
    end: u32,
    behind_arena: u32,
    #[comptime] way: Way,
    #[comptime] form: Form,
) {
    if comptime!(way.is_team()) {
        share::<S, NP, NS>(
            params,
            grads,
            moment,
            diagonal,
            edges,
            row_sums,
            grad_norms,
            tensor_of_block,
            second,
            direction,
            norms,
            non_finite,
            cut,
            bad_stamp,
            cut_stamp,
            rates,
            tables,
            gamma,
            runs,
            end,
            behind_arena,
            comptime!(way.tile()),
            form,
        );
    } else {
        walk::<S, NP, NS>(
            params,
            grads,
            moment,
            diagonal,
            edges,
            row_sums,
            grad_norms,
            tensor_of_block,
            second,
            direction,
            norms,
            non_finite,
            cut,
            bad_stamp,
            cut_stamp,
            rates,
            tables,
            gamma,
            runs,
            behind_arena,
            comptime!(way.plan()),
            form,
        );
    }
}

/// ε of a tensor.
#[cube]
pub(super) fn epsilon_of(
    row_sums: &Sequence<Array<f32>>,
    tensor: usize,
    rates: &Rates,
    #[comptime] form: Form,
) -> f32 {
    let mut epsilon = rates.epsilon;
    if comptime!(form.relative) {
        // Norms, and what is computed from them alone, are f32 in every precision. The product of the two numbers first:
        // ‖H‖₁ times the bias correction may be more than f32 holds.
        let factor = rates.relative_epsilon * rates.correction2;
        epsilon = max(factor * row_sums.index(0usize)[tensor], 1e-16f32);
    }
    epsilon
}

/// Checks that all is of one layout, and launches.
pub(super) fn launch<S: Precision>(
    context: &Context,
    work: Work<'_>,
    prepared: Prepared,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> Result<(), Error> {
    let operation = work.operation;
    let layout = work.moment.layout();
    let band = work.edges.len();
    let sweep = blueprint.sweep;
    let form = Form {
        one_launch: work.gradients.is_some(),
        graft: work.graft.map_or(Graft::None, |it| it.graft),
        relative: work.row_sums.is_some(),
        rates: work.rates.is_some(),
        rows: work.rows.is_some(),
    };
    let profile = context.profile();
    blueprint.check::<S>(operation, band, removal, layout, profile, form)?;
    let runs = sweep.runs(layout);
    let norms = sweep.norms(layout);
    let ghosts = form
        .one_launch
        .then(|| Ghosts::new(layout, band, removal, blueprint))
        .and_then(Ghosts::any);
    let states = [("moment", work.moment), ("diagonal", work.diagonal)];
    let states = states.into_iter().chain(arena::named("edges", work.edges));
    arena::require_with_ghosts::<S::State>(operation, layout, ghosts, states)?;
    let given = arena::named("params", work.params);
    let given = given.chain(arena::named(
        "grads",
        work.gradients.map(|(grads, _)| grads),
    ));
    arena::require::<S::Params>(operation, layout, given)?;
    if let Some(row_sums) = work.row_sums {
        row_sums.check(operation, "row_sums", layout)?;
    }
    let graft_norms = work.graft.and_then(|it| it.grad_norms);
    if let Some(graft) = work.graft {
        graft.check::<S>(operation, layout, norms)?;
    }
    if let Some(norms) = graft_norms {
        norms.check(operation, "grad_norms", layout)?;
    }
    if let Some(rates) = work.rates {
        rates.check(operation, layout, prepared.lr.into())?;
    }
    if let Some(rows) = work.rows {
        rows.check(operation, layout)?;
    }
    let way = Way::new(band, removal, blueprint);
    if let Way::Team(tile) = way {
        context.require_shared(operation, 4 * tile.shared(form.graft != Graft::None))?;
    }
    let grid = sweep.grid(layout, form.buffers(band));
    let bad = work
        .gradients
        .map(|(_, found)| found.claim(operation, grid))
        .transpose()?;
    let cut = work.cut.claim(operation, grid)?;
    let width = sweep.width;
    let vectors = layout.arena_len() / width;
    let tensors = layout.tensors().len();
    let gradient = work
        .gradients
        .map(|(grads, _)| grads)
        .or(work.graft.and_then(|it| it.grads));
    let table = work
        .row_sums
        .or(graft_norms)
        .map(|it| it.tensor_of_block)
        .filter(|_| form.needs_tensor());
    let variant = (type_name::<S>(), way, form, blueprint);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let mut non_finite = SequenceArg::new();
        if let Some(found) = &bad {
            non_finite.push(found.argument());
        }
        // SAFETY: all arenas are of one layout; states have, where they are updated, the
        // ghosts of every run; tables have an entry or two for each block or one for each tensor, norms two for each part, the evidence a slot for
        // each unit: all checked above. Runs cover the blocks between the pads. A run reads at most 3 · reach · width < BLOCK
        // values before and after itself, which lie in the arena; a unit of a team reads and writes the vector of its own below
        // `end` or a ghost of its tile, and reads below the arena's end. Rows of shared memory have a place for each vector.
        unsafe {
            step_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                width / S::Params::PER_WORD,
                width / S::State::PER_WORD,
                arena::sequence(work.params, width),
                arena::sequence(gradient, width),
                work.moment.vectors(width),
                work.diagonal.vectors(width),
                arena::sequence(work.edges, width),
                optional(work.row_sums.map(|it| it.values), tensors),
                optional(graft_norms.map(|it| it.values), tensors),
                optional(table, layout.blocks()),
                arena::sequence(work.graft.and_then(|it| it.second), width),
                arena::sequence(work.graft.map(|it| it.direction), width),
                optional(work.graft.map(|it| it.norms), norms),
                non_finite,
                cut.argument(),
                bad.map_or(0, |found| found.stamp),
                cut.stamp,
                prepared.rates(),
                tables(work.rates, work.rows),
                prepared.gamma(),
                runs as u32,
                (vectors - BLOCK / width) as u32,
                vectors as u32,
                way,
                form,
            );
        }
    })
}
