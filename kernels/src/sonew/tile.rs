//! The work of a team: a cube takes a tile of consecutive vectors, a vector for each unit, so that neighbouring units touch
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
mod factor;
mod solve;
mod vectors;

use cubecl::prelude::*;

use exchange::{Place, exchange_products, exchange_statistics, gather};
pub(super) use factor::share_factor;
use solve::solve_vector;
use vectors::{read, read_if, store_if, zero};

use super::blueprint::Form;
use super::blueprint::{Blueprint, EdgeRemoval, Reach};
use super::elimination::{Gamma, Window, Workspace};
use super::graft::graft_direction;
use super::launch::epsilon_of;
use super::rates::Rates;
use super::rows::{columns_after, within_row};
use super::statistics::{accumulate, read_gradient};
use super::tables::Tables;
use super::walk::lower;
use super::window::Plan;
use crate::arena::{BLOCK, rate_of_vector};
use crate::evidence::{Found, PivotsFound, magnitude_bits, note};
use crate::first_order::moving_average;
use crate::graft::Graft;
use crate::norms::{of_block, shared_parts, show_parts};
use crate::precision::{Precision, Storage, product, sum};

/// Everything about a tile that is fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// A window of the columns of a unit and of the b after them.
    pub plan: Plan,
    /// Vectors that the tile owns.
    own: usize,
    /// Vectors of ghosts before them, and after them.
    before: usize,
    after: usize,
    /// Columns of a vector that a unit before it may need.
    lanes: usize,
    /// Vectors of the tile, ghosts included.
    places: usize,
    /// Whether ψ and D are all that is wanted.
    factors_only: bool,
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
            factors_only: false,
        }
    }

    /// A tile that factors, and no more: nothing reaches a column from those before it.
    pub fn of_factor(band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        let tile = Self::new(band, removal, blueprint);
        Self {
            before: 0,
            places: tile.own + tile.after,
            factors_only: true,
            ..tile
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

    /// Whole blocks of the tile.
    fn blocks(&self) -> usize {
        self.own * self.plan.width / BLOCK
    }

    /// Where the norms of parts begin, those of u before those of the graft's update.
    fn first_norm(&self) -> usize {
        let keeps = if self.plan.incident { self.lanes } else { 0 };
        (self.first_keep() + keeps) * self.places
    }

    /// Numbers of shared memory.
    pub fn shared(&self, stages: bool) -> usize {
        let norms = if stages {
            2 * shared_parts(self.blocks())
        } else {
            0
        };
        self.first_norm() + norms
    }
}

/// The launch of teams that each share a tile.
#[cube]
pub(super) fn share<S: Precision, NP: Size, NS: Size>(
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
    tiles: u32,
    end: u32,
    behind_arena: u32,
    #[comptime] tile: Tile,
    #[comptime] form: Form,
) {
    let plan = comptime!(tile.plan);
    let width = comptime!(plan.width);
    let ghosts = comptime!(tile.before + tile.after);
    let stages = comptime!(form.graft != Graft::None);
    let place = Place::of_unit(tile);
    let rates = rates.held();
    let gamma = gamma.held();
    let mut shared = SharedMemory::<f32>::new(comptime!(core::cmp::max(tile.shared(stages), 1)));
    let mut bad = Found::new();
    let mut pivots = PivotsFound::new();
    let mut work = Workspace::new(plan.band);
    let mut index = CUBE_POS;
    while index < tiles as usize {
        let at = index * tile.own + place.position + comptime!(BLOCK / width - tile.before);
        let owned = place.own && at < end as usize;
        let active = owned || (place.shows && !place.own);
        // The pad behind the tensors is zero everywhere.
        let inside = min(at, behind_arena as usize - 1);
        let mut state = inside;
        if comptime!(form.one_launch) {
            let ghost = behind_arena as usize + index * ghosts + UNIT_POS as usize;
            state = select(place.own, at, ghost);
        }
        let mut tensor = 0usize.runtime();
        if comptime!(form.needs_tensor()) {
            let block = inside / comptime!(BLOCK / width);
            tensor = tensor_of_block.index(0usize)[block] as usize;
        }
        let epsilon = epsilon_of(row_sums, tensor, &rates, form);
        let (lr, shrink) = (rates.lr, rates.shrink);
        let rate = rate_of_vector(&tables.rates, inside, lr, shrink, width, form.rates);
        let after = columns_after(&tables.rows, inside, 0usize, width, form.rows);

        // Everything that is read, before anything is written.
        let mut g = Array::<f32>::new(comptime!((plan.reach + 1) * width));
        let mut old = Array::<f32>::new(comptime!((2 + plan.band) * width));
        let mut weights = Array::<f32>::new(width);
        zero(&mut g, comptime!((plan.reach + 1) * width));
        zero(&mut old, comptime!((2 + plan.band) * width));
        zero(&mut weights, width);
        if active {
            if comptime!(form.one_launch) {
                #[unroll]
                for v in 0..comptime!(plan.reach + 1) {
                    let next = min(at + v, behind_arena as usize - 1);
                    let gradient = grads.index(0usize);
                    read_gradient::<S::Params, NP>(&mut g, gradient, next, v, width);
                }
            } else if comptime!(form.reads_gradient()) {
                let gradient = grads.index(0usize);
                read_gradient::<S::Params, NP>(&mut g, gradient, inside, 0usize, width);
            }
            read::<S::State, NS>(&mut old, moment, state, 0usize, width);
            read::<S::State, NS>(&mut old, diagonal, state, 1usize, width);
            #[unroll]
            for k in 0..plan.band {
                read::<S::State, NS>(&mut old, edges.index(k), state, 2 + k, width);
            }
        }
        if comptime!(!stages) {
            read_if::<S::Params, NP>(owned, &mut weights, params.index(0usize), at, width);
        }
        if comptime!(form.one_launch) {
            #[unroll]
            for lane in 0..width {
                let seen = magnitude_bits(g[lane]) >= 0x7f80_0000u32;
                note(&mut bad, seen && owned, at * width + lane);
            }
        }

        let mut window = Window::new(plan);
        let mut moments = Array::<f32>::new(plan.span);
        zero(&mut moments, plan.span);
        let mut new_moment = Sequence::<f32>::new();
        let mut new_diagonal = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..width {
            let mut m = old[lane];
            let mut h = old[width + lane];
            if comptime!(form.one_launch) {
                let gl = g[lane];
                m = moving_average::<S::Math>(m, gl, &rates.beta1);
                h = accumulate::<S>(h, gl, gl, rates.rho, rates.omega);
            }
            moments[lane] = product::<S::Math>(rates.correction1, m);
            window.diagonal[lane] =
                sum::<S::Math>(product::<S::Math>(rates.correction2, h), epsilon);
            new_moment.push(m);
            new_diagonal.push(h);
        }
        if comptime!(form.one_launch) {
            store_if::<S::State, NS>(active, moment, state, &new_moment, width);
            store_if::<S::State, NS>(active, diagonal, state, &new_diagonal, width);
        }
        #[unroll]
        for k in 0..plan.band {
            let mut new = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                let mut e = old[comptime!((2 + k) * width) + lane];
                if comptime!(form.one_launch) {
                    let other = g[lane + k + 1];
                    let moved = accumulate::<S>(e, g[lane], other, rates.rho, rates.omega);
                    e = within_row(&after, moved, lane, k, form.rows);
                }
                window.edges[k * plan.span + lane] = product::<S::Math>(rates.correction2, e);
                new.push(e);
            }
            if comptime!(form.one_launch) {
                store_if::<S::State, NS>(active, edges.index_mut(k), state, &new, width);
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
        if comptime!(stages) {
            if owned {
                let mut v = Sequence::<f32>::new();
                let mut own = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    v.push(S::State::nearest(*new_diagonal.index(lane)));
                    own.push(g[lane]);
                }
                let other = graft_direction::<S, NS>(
                    &moments, &v, &own, grad_norms, second, at, tensor, &rates, width, form.graft,
                );
                S::State::store::<NS>(direction.index_mut(0usize), at, &u, width);
                let position = place.position - tile.before;
                let first = comptime!(tile.first_norm());
                show_parts(&mut shared, first, position, &u, width, tile.blocks());
                let first = comptime!(first + shared_parts(tile.blocks()));
                show_parts(&mut shared, first, position, &other, width, tile.blocks());
            }
        } else {
            if owned {
                let mut before = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    before.push(weights[lane]);
                }
                let lowered = lower::<S::Math>(&before, &u, rate.lr, rate.shrink, width);
                S::Params::store::<NP>(params.index_mut(0usize), at, &lowered, width);
            }
        }
        if comptime!(plan.band > 0 || stages) {
            // The next tile's statistics are written where these products are read; and the parts of a block are there.
            sync_cube();
        }
        if comptime!(stages) {
            let (block, channel) = (UNIT_POS as usize / 2, UNIT_POS as usize % 2);
            let of_arena = index * comptime!(tile.blocks()) + block;
            let blocks = end as usize / comptime!(BLOCK / width) - 1;
            if block < comptime!(tile.blocks()) && of_arena < blocks {
                let of_channel = channel * comptime!(shared_parts(tile.blocks()));
                let first = of_channel + comptime!(tile.first_norm());
                let norm = of_block(&shared, first, block, blocks, tile.blocks());
                norms.index_mut(0usize)[of_arena * 2 + channel] = norm;
            }
            if comptime!(plan.band == 0) {
                // No other barrier stands between this and the parts of the next tile.
                sync_cube();
            }
        }
        index += CUBE_COUNT;
    }
    if comptime!(form.one_launch) {
        crate::evidence::write(&bad, non_finite.index_mut(0usize), bad_stamp);
    }
    crate::evidence::write_pivots(&pivots, cut, cut_stamp);
}
