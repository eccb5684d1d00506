//! The factor itself, stored: ψ and D of every column, for callers that want to look at it or apply it more than once.
//! Training uses [`super::update`], which never writes it.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::blueprint::{Blueprint, EdgeRemoval, Form, Tolerance};
use super::elimination::{Gamma, GammaLaunch, Window, Workspace};
use super::launch::Way;
use super::tile::{Tile, share_factor};
use super::window::{Plan, append, mark, note_column, shift, solve};
use crate::arena::{self, Arena, BLOCK, Slots};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::evidence::PivotsFound;
use crate::graft::Graft;
use crate::launch::{Strategy, run_start};
use crate::precision::{Precision, Storage, held};

/// The arenas of [`factor`], all in the state's format.
#[derive(Clone, Copy)]
pub struct FactorBuffers<'a> {
    /// Diagonal of H.
    pub diagonal: &'a Arena,
    /// Off-diagonals of H, nearest first; as many as the band is wide.
    pub edges: &'a [Arena],
    /// ψ, one arena for each off-diagonal; L_{j+1+k, j} = −ψ_k(j).
    pub psi: &'a [Arena],
    /// D.
    pub d: &'a Arena,
    /// What the pivots show, one slot a unit: [`crate::evidence::PivotEvidence`].
    pub evidence: &'a Slots,
}

#[cube(launch_unchecked)]
fn factor_kernel<S: Precision, N: Size>(
    diagonal: &Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    psi_out: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d_out: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    evidence: &mut Array<u32>,
    stamp: u32,
    correction: f32,
    epsilon: f32,
    gamma: &Gamma,
    // Of a walk or of teams.
    runs: u32,
    // The first vectors behind the tensors, and behind the arena.
    end: u32,
    behind_arena: u32,
    #[comptime] way: Way,
) {
    let gamma = gamma.held();
    let correction = held(correction);
    let epsilon = held(epsilon);
    let mut found = PivotsFound::new();
    if comptime!(way.is_team()) {
        share_factor::<S, N>(
            diagonal,
            edges,
            psi_out,
            d_out,
            &mut found,
            correction,
            epsilon,
            gamma,
            runs,
            end,
            behind_arena,
            comptime!(way.tile()),
        );
    } else {
        walk_factor::<S, N>(
            diagonal,
            edges,
            psi_out,
            d_out,
            &mut found,
            correction,
            epsilon,
            gamma,
            runs,
            comptime!(way.plan()),
        );
    }
    crate::evidence::write_pivots(&found, evidence, stamp);
}

#[cube]
fn walk_factor<S: Precision, N: Size>(
    diagonal: &Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    psi_out: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d_out: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    found: &mut PivotsFound,
    correction: f32,
    epsilon: f32,
    gamma: Gamma,
    runs: u32,
    #[comptime] plan: Plan,
) {
    let mut run = ABSOLUTE_POS;
    let mut work = Workspace::new(plan.band);
    let mut psi = Array::<f32>::new(comptime!(core::cmp::max(plan.band, 1)));
    let mut solved = Array::<f32>::new(comptime!(core::cmp::max(plan.band * plan.width, 1)));
    let mut window = Window::new(plan);
    while run < runs as usize {
        let origin = run_start(run, plan.sweep) - plan.behind;
        for step in 0..plan.ahead {
            shift(&mut window, plan);
            append::<S, N>(
                &mut window,
                diagonal,
                edges,
                origin + step,
                correction,
                epsilon,
                plan,
            );
        }
        for step in 0..comptime!(plan.behind + plan.sweep.run) {
            let at = origin + step;
            shift(&mut window, plan);
            append::<S, N>(
                &mut window,
                diagonal,
                edges,
                at + plan.ahead,
                correction,
                epsilon,
                plan,
            );
            if comptime!(plan.incident) {
                mark::<S::Math>(&mut window, gamma, &mut work, &mut psi, plan);
            }
            let mut d = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..plan.width {
                let column = solve::<S::Math>(&window, lane, gamma, &mut work, &mut psi, plan);
                d.push(column.d);
                #[unroll]
                for k in 0..plan.band {
                    solved[k * plan.width + lane] = psi[k];
                }
                note_column(found, &column, step >= plan.behind, at * plan.width + lane);
            }
            if step >= plan.behind {
                S::State::store::<N>(d_out, at, &d, plan.width);
                #[unroll]
                for k in 0..plan.band {
                    let mut lanes = Sequence::<f32>::new();
                    #[unroll]
                    for lane in 0..plan.width {
                        lanes.push(solved[k * plan.width + lane]);
                    }
                    S::State::store::<N>(psi_out.index_mut(k), at, &lanes, plan.width);
                }
            }
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Factors Ĥ + ε, Ĥ = `correction` · H, over the whole arena in one launch.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format and if there are not as many ψ as off-diagonals, [`Error::Range`] for γ, the correction, ε or the band outside their range; launch errors as [`Context::launch`].
pub fn factor<S: Precision>(
    context: &Context,
    buffers: FactorBuffers<'_>,
    correction: f64,
    epsilon: f64,
    gamma: Tolerance,
    removal: EdgeRemoval,
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let operation = "sonew factor";
    let band = buffers.edges.len();
    let blueprint = strategy.resolve(|| Blueprint::of::<S>(context, "banded-ldl", band));
    let layout = buffers.diagonal.layout();
    let profile = context.profile();
    let form = Form {
        one_launch: false,
        graft: Graft::None,
        relative: false,
        rates: false,
        rows: false,
    };
    blueprint.check::<S>(operation, band, removal, layout, profile, form)?;
    gamma.check(operation)?;
    require_non_negative(operation, "correction", correction)?;
    require_non_negative(operation, "epsilon", epsilon)?;
    let arenas = [("diagonal", buffers.diagonal), ("d", buffers.d)];
    arena::require::<S::State>(operation, layout, arenas)?;
    if buffers.psi.len() != band {
        return Err(Error::Shape {
            operation,
            argument: "psi",
            found: format!("{} arenas", buffers.psi.len()),
            expected: format!("{band}, one for each off-diagonal"),
        });
    }
    arena::require::<S::State>(operation, layout, arena::named("edges", buffers.edges))?;
    arena::require::<S::State>(operation, layout, arena::named("psi", buffers.psi))?;
    let runs = blueprint.sweep.runs(layout);
    let way = if blueprint.sweep.team {
        Way::Team(Tile::of_factor(band, removal, blueprint))
    } else {
        Way::Walk(Plan::new(band, removal, blueprint))
    };
    if let Way::Team(tile) = way {
        context.require_shared(operation, 4 * tile.shared(false))?;
    }
    let width = blueprint.sweep.width;
    let grid = blueprint.sweep.grid(layout, 3 + 2 * band);
    let evidence = buffers.evidence.claim(operation, grid)?;
    let vectors = layout.arena_len() / width;
    let variant = (type_name::<S>(), way, blueprint);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout, and the evidence has a slot for each unit. Runs cover the
        // blocks between the pads; a run reads less than a block before and after itself, which lies in the arena; a unit of a
        // team reads below the arena's end and writes below `end`. Rows of shared memory have a place for each vector.
        unsafe {
            factor_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                width / S::State::PER_WORD,
                buffers.diagonal.vectors(width),
                arena::sequence(buffers.edges, width),
                arena::sequence(buffers.psi, width),
                buffers.d.vectors(width),
                evidence.argument(),
                evidence.stamp,
                correction as f32,
                epsilon as f32,
                GammaLaunch::new(gamma.absolute as f32, gamma.relative as f32),
                runs as u32,
                (vectors - BLOCK / width) as u32,
                vectors as u32,
                way,
            );
        }
    })
}
