//! The step of a team: a cube takes a tile of consecutive vectors, a vector for each unit, so that neighbouring units touch
//! neighbouring words of memory. What a column needs of the columns around it comes from its neighbours through shared memory.
//!
//! It computes what the walk of [`super::step()`] does, operation by operation, so that both have the same bits:
//!
//! 1. Each unit updates the statistics of its vector and shows Ĥ and m̂ of it.
//! 2. It eliminates its columns, with Ĥ of the b columns after them, and shows which of them keep their edges
//!    ([`EdgeRemoval::Incident`](super::EdgeRemoval)); where all around do, that elimination serves, otherwise it is repeated
//!    without the edges that went.
//! 3. It shows the ψ_k y of its last columns, and adds those of the b columns before its own.
//!
//! The columns before and after a tile belong to other cubes: units of the first plane have copies of them ([`super::Ghosts`]).

mod exchange;

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use exchange::{Place, exchange_keeps, exchange_products, exchange_statistics, gather};

use super::blueprint::{Blueprint, EdgeRemoval, Form, Reach};
use super::elimination::{Gamma, GammaLaunch, Window, Workspace, eliminate, trusted};
use super::ghosts::Ghosts;
use super::graft::Graft;
use super::statistics::{accumulate, read_gradient};
use super::step::{Prepared, Rates, StepBuffers};
use super::walk::lower;
use super::window::{Plan, conclude, note_column};
use crate::buffers::array;
use crate::context::Context;
use crate::error::Error;
use crate::evidence::{Found, PivotsFound, magnitude_bits, note, require_slots, slots};
use crate::first_order::moving_average;
use crate::precision::{Arithmetic, Precision, Storage, difference, product, sum};
use crate::segments::{BLOCK, Segments};

/// Everything about a tile that is fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// A window of the columns of a unit and of the b after them.
    plan: Plan,
    /// Vectors that the tile owns.
    own: usize,
    /// Vectors of ghosts before them, and after them.
    before: usize,
    after: usize,
    /// Columns of a vector that a unit before it may need.
    lanes: usize,
    /// Vectors of the tile, ghosts included.
    places: usize,
}

impl Tile {
    pub fn new(band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        let plan = Plan::of_vector(band, removal, blueprint);
        let Reach { ahead, behind, .. } = Reach::of(blueprint.sweep, band, removal);
        let own = blueprint.sweep.run;
        Self {
            plan,
            own,
            before: behind,
            after: ahead,
            lanes: plan.width.min(band),
            places: own + behind + ahead,
        }
    }

    /// Rows of shared memory for Ĥ and m̂: the diagonal, m̂, and all off-diagonals but the farthest.
    fn rows_of_statistics(&self) -> usize {
        if self.plan.band == 0 {
            return 0;
        }
        (1 + self.plan.band) * self.lanes
    }

    /// Rows for ψ_k y of each column.
    fn rows_of_products(&self) -> usize {
        self.plan.band * self.plan.width
    }

    /// Whether the products have rows of their own, which saves a barrier.
    fn apart(&self) -> bool {
        self.plan.band <= 2
    }

    fn first_product(&self) -> usize {
        if self.apart() {
            self.rows_of_statistics()
        } else {
            0
        }
    }

    fn first_keep(&self) -> usize {
        let products = self.first_product() + self.rows_of_products();
        products.max(self.rows_of_statistics())
    }

    /// Numbers of shared memory.
    pub fn shared(&self) -> usize {
        let keeps = if self.plan.incident { self.lanes } else { 0 };
        (self.first_keep() + keeps) * self.places
    }
}

#[cube(launch_unchecked)]
fn tile_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Array<Vector<<S::Params as Storage>::Word, NP>>,
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    non_finite: &mut Array<u32>,
    cut: &mut Array<u32>,
    bad_stamp: u32,
    cut_stamp: u32,
    rates: &Rates,
    gamma: &Gamma,
    tiles: u32,
    // The first vectors behind the tensors, and behind the arena.
    end: u32,
    behind_arena: u32,
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    let width = comptime!(plan.width);
    let ghosts = comptime!(tile.before + tile.after);
    let place = Place::of_unit(tile);
    let rates = rates.held();
    let gamma = gamma.held();
    let mut shared = SharedMemory::<f32>::new(comptime!(core::cmp::max(tile.shared(), 1)));
    let mut bad = Found::new();
    let mut pivots = PivotsFound::new();
    let mut work = Workspace::new(plan.band);
    let mut index = CUBE_POS;
    while index < tiles as usize {
        let at = index * tile.own + place.position + comptime!(BLOCK / width - tile.before);
        let owned = place.own && at < end as usize;
        let ghost = behind_arena as usize + index * ghosts + UNIT_POS as usize;
        let state = select(place.own, at, ghost);
        let active = owned || (place.shows && !place.own);

        // Everything that is read, before anything is written.
        let mut g = Array::<f32>::new(comptime!((plan.reach + 1) * width));
        let mut old = Array::<f32>::new(comptime!((2 + plan.band) * width));
        let mut weights = Array::<f32>::new(width);
        zero(&mut g, comptime!((plan.reach + 1) * width));
        zero(&mut old, comptime!((2 + plan.band) * width));
        zero(&mut weights, width);
        if active {
            #[unroll]
            for v in 0..comptime!(plan.reach + 1) {
                // The pad behind the tensors is zero everywhere.
                let next = min(at + v, behind_arena as usize - 1);
                read_gradient::<S::Params, NP>(&mut g, grads, next, v, width);
            }
            read::<S::State, NS>(&mut old, moment, state, 0usize, width);
            read::<S::State, NS>(&mut old, diagonal, state, 1usize, width);
            #[unroll]
            for k in 0..plan.band {
                read::<S::State, NS>(&mut old, edges.index(k), state, 2 + k, width);
            }
            if owned {
                read::<S::Params, NP>(&mut weights, params, at, 0usize, width);
            }
        }
        #[unroll]
        for lane in 0..width {
            let seen = magnitude_bits(g[lane]) >= 0x7f80_0000u32;
            note(&mut bad, seen && owned, at * width + lane);
        }

        let mut window = Window::new(plan);
        let mut moments = Array::<f32>::new(plan.span);
        zero(&mut moments, plan.span);
        let mut new_moment = Sequence::<f32>::new();
        let mut new_diagonal = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..width {
            let gl = g[lane];
            let m = moving_average::<S::Math>(old[lane], gl, &rates.beta1);
            let h = accumulate::<S>(old[width + lane], gl, gl, rates.rho, rates.omega);
            moments[lane] = product::<S::Math>(rates.correction1, m);
            window.diagonal[lane] =
                sum::<S::Math>(product::<S::Math>(rates.correction2, h), rates.epsilon);
            new_moment.push(m);
            new_diagonal.push(h);
        }
        if active {
            S::State::store::<NS>(moment, state, &new_moment, width);
            S::State::store::<NS>(diagonal, state, &new_diagonal, width);
        }
        #[unroll]
        for k in 0..plan.band {
            let mut new = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                let other = g[lane + k + 1];
                let e = accumulate::<S>(
                    old[comptime!((2 + k) * width) + lane],
                    g[lane],
                    other,
                    rates.rho,
                    rates.omega,
                );
                window.edges[k * plan.span + lane] = product::<S::Math>(rates.correction2, e);
                new.push(e);
            }
            if active {
                S::State::store::<NS>(edges.index_mut(k), state, &new, width);
            }
        }

        exchange_statistics(&mut shared, &mut window, &mut moments, place, tile);
        let mut y = Array::<f32>::new(width);
        let mut products = Array::<f32>::new(comptime!(core::cmp::max(plan.band * width, 1)));
        solve_vector::<S::Math>(
            &mut shared,
            &mut window,
            &moments,
            &mut work,
            &mut y,
            &mut products,
            &mut pivots,
            owned,
            at,
            gamma,
            place,
            tile,
        );
        exchange_products(&mut shared, &products, place, tile);
        let u = gather::<S::Math>(&shared, &products, &y, place, tile);
        if owned {
            let mut before = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                before.push(weights[lane]);
            }
            let lowered = lower::<S::Math>(&before, &u, rates.lr, rates.shrink, width);
            S::Params::store::<NP>(params, at, &lowered, width);
        }
        if comptime!(plan.band > 0) {
            // The next tile's statistics are written where these products are read.
            sync_cube();
        }
        index += CUBE_COUNT;
    }
    crate::evidence::write(&bad, non_finite, bad_stamp);
    crate::evidence::write_pivots(&pivots, cut, cut_stamp);
}

#[cube]
fn zero(values: &mut Array<f32>, #[comptime] count: usize) {
    #[unroll]
    for i in 0..count {
        values[i] = 0.0;
    }
}

/// Reads a vector into the `slot`-th of `into`.
#[cube]
fn read<S: Storage, N: Size>(
    into: &mut Array<f32>,
    from: &Array<Vector<S::Word, N>>,
    at: usize,
    #[comptime] slot: usize,
    #[comptime] width: usize,
) {
    let values = S::load::<N>(from, at, width);
    #[unroll]
    for lane in 0..width {
        into[comptime!(slot * width) + lane] = *values.index(lane);
    }
}

/// y_j = D_j (m̂_j − Σ_k ψ_jk m̂_{j+1+k}) and ψ_jk y_j of this unit's columns.
#[cube]
fn solve_vector<A: Arithmetic>(
    shared: &mut SharedMemory<f32>,
    window: &mut Window,
    moments: &Array<f32>,
    work: &mut Workspace,
    y: &mut Array<f32>,
    products: &mut Array<f32>,
    pivots: &mut PivotsFound,
    owned: bool,
    at: usize,
    gamma: Gamma,
    place: Place,
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    let band = comptime!(plan.band);
    let mut psi = Array::<f32>::new(comptime!(core::cmp::max(band, 1)));
    let mut all_psi = Array::<f32>::new(comptime!(core::cmp::max(band * plan.width, 1)));
    let mut pivot = Array::<f32>::new(plan.width);
    #[unroll(plan.unroll)]
    for lane in 0..plan.width {
        pivot[lane] = eliminate::<A>(
            window,
            lane,
            gamma,
            work,
            &mut psi,
            band,
            plan.span,
            false,
            plan.unroll,
        );
        if comptime!(!plan.incident) {
            finish::<A>(
                window,
                moments,
                work,
                &mut psi,
                y,
                products,
                pivots,
                pivot[lane],
                lane,
                owned,
                at,
                gamma,
                plan,
            );
        } else {
            let trust = trusted::<A>(pivot[lane], window.diagonal[lane], gamma);
            window.keep[lane] = select(trust, 1.0, 0.0);
            #[unroll(plan.unroll)]
            for k in 0..band {
                all_psi[lane * band + k] = psi[k];
            }
        }
    }
    if comptime!(plan.incident) {
        let all = exchange_keeps(shared, window, place, tile);
        #[unroll(plan.unroll)]
        for lane in 0..plan.width {
            #[unroll(plan.unroll)]
            for k in 0..band {
                psi[k] = all_psi[lane * band + k];
            }
            if !all {
                pivot[lane] = eliminate::<A>(
                    window,
                    lane,
                    gamma,
                    work,
                    &mut psi,
                    band,
                    plan.span,
                    true,
                    plan.unroll,
                );
            }
            finish::<A>(
                window,
                moments,
                work,
                &mut psi,
                y,
                products,
                pivots,
                pivot[lane],
                lane,
                owned,
                at,
                gamma,
                plan,
            );
        }
    }
}

/// What follows from the pivot and ψ of a column.
#[cube]
fn finish<A: Arithmetic>(
    window: &Window,
    moments: &Array<f32>,
    work: &mut Workspace,
    psi: &mut Array<f32>,
    y: &mut Array<f32>,
    products: &mut Array<f32>,
    pivots: &mut PivotsFound,
    pivot: f32,
    lane: usize,
    owned: bool,
    at: usize,
    gamma: Gamma,
    #[comptime] plan: Plan,
) {
    let column = conclude::<A>(window, lane, pivot, gamma, work, psi, plan);
    let mut value = moments[lane];
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        value = difference::<A>(value, product::<A>(psi[k], moments[lane + k + 1]));
    }
    value = product::<A>(column.d, value);
    y[lane] = value;
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        products[lane * plan.band + k] = product::<A>(psi[k], value);
    }
    note_column(pivots, &column, owned, at * plan.width + lane);
}

/// Launches over buffers and numbers that [`super::step()`] has checked.
pub(super) fn launch<S: Precision>(
    context: &Context,
    segments: &Segments,
    buffers: StepBuffers<'_>,
    prepared: Prepared,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> Result<(), Error> {
    let operation = "sonew step";
    let band = buffers.edges.len();
    let tile = Tile::new(band, removal, blueprint);
    let n = segments.arena_len();
    let states = Ghosts::new(segments, band, removal, blueprint).state_len();
    let form = Form {
        one_launch: true,
        graft: Graft::None,
        relative: false,
    };
    let grid = blueprint.sweep.grid(segments, form.buffers(band));
    context.require_shared(operation, 4 * tile.shared())?;
    let (non_finite, bad_stamp) = require_slots(operation, buffers.non_finite, grid)?;
    let (cut, cut_stamp) = require_slots(operation, buffers.cut, grid)?;
    let width = tile.plan.width;
    let (vectors, state_vectors) = (n / width, states / width);
    let variant = (type_name::<S>(), tile);
    let tiles = blueprint.sweep.runs(segments);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let mut edges = SequenceArg::new();
        for edge in buffers.edges {
            edges.push(array(edge, state_vectors));
        }
        // SAFETY: parameters and gradients hold the arena, states the arena and the ghosts of every tile, and the evidence a
        // slot for each unit, all checked by the caller and above. A unit reads and writes the vector of its own below `end`
        // or a ghost of its tile, and gradients below the arena's end. Rows of shared memory have a place for each vector.
        unsafe {
            tile_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                width / S::Params::PER_WORD,
                width / S::State::PER_WORD,
                array(buffers.params, vectors),
                array(buffers.grads, vectors),
                array(buffers.moment, state_vectors),
                array(buffers.diagonal, state_vectors),
                edges,
                slots(non_finite, grid),
                slots(cut, grid),
                bad_stamp,
                cut_stamp,
                prepared.rates(),
                GammaLaunch::new(
                    prepared.gamma.absolute as f32,
                    prepared.gamma.relative as f32,
                ),
                tiles as u32,
                (vectors - BLOCK / width) as u32,
                vectors as u32,
                tile,
            );
        }
    })
}
