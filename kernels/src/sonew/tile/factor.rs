//! The factor by teams: Ĥ is exchanged, and D and ψ of each unit's columns are stored.

use cubecl::prelude::*;

use super::Tile;
use super::exchange::{Place, exchange_statistics};
use super::solve::solve_vector;
use super::vectors::{read, zero};
use crate::arena::BLOCK;
use crate::evidence::PivotsFound;
use crate::precision::{Precision, Storage, product, sum};
use crate::sonew::elimination::{Gamma, Window, Workspace};

/// The launch of teams that each share a tile.
#[cube]
pub(in crate::sonew) fn share_factor<S: Precision, N: Size>(
    diagonal: &Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    psi: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    pivots: &mut PivotsFound,
    correction: f32,
    epsilon: f32,
    gamma: Gamma,
    tiles: u32,
    end: u32,
    behind_arena: u32,
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    let width = comptime!(plan.width);
    let place = Place::of_unit(tile);
    let mut shared = SharedMemory::<f32>::new(comptime!(core::cmp::max(tile.shared(false), 1)));
    let mut work = Workspace::new(plan.band);
    let mut moments = Array::<f32>::new(plan.span);
    zero(&mut moments, plan.span);
    let mut index = CUBE_POS;
    while index < tiles as usize {
        let at = index * tile.own + place.position + comptime!(BLOCK / width);
        let owned = place.own && at < end as usize;
        let mut h = Array::<f32>::new(comptime!((1 + plan.band) * width));
        zero(&mut h, comptime!((1 + plan.band) * width));
        if owned || (place.shows && !place.own) {
            // The pad behind the tensors is zero everywhere.
            let inside = min(at, behind_arena as usize - 1);
            read::<S::State, N>(&mut h, diagonal, inside, 0usize, width);
            #[unroll]
            for k in 0..plan.band {
                read::<S::State, N>(&mut h, edges.index(k), inside, 1 + k, width);
            }
        }
        let mut window = Window::new(plan);
        #[unroll]
        for lane in 0..width {
            window.diagonal[lane] =
                sum::<S::Math>(product::<S::Math>(correction, h[lane]), epsilon);
            #[unroll]
            for k in 0..plan.band {
                let e = h[comptime!((1 + k) * width) + lane];
                window.edges[k * plan.span + lane] = product::<S::Math>(correction, e);
            }
        }
        exchange_statistics(&mut shared, &mut window, &mut moments, place, tile);
        let mut pivot = Array::<f32>::new(width);
        let mut couplings = Array::<f32>::new(comptime!(core::cmp::max(plan.band * width, 1)));
        solve_vector::<S::Math>(
            &mut shared,
            &mut window,
            &moments,
            &mut work,
            &mut pivot,
            &mut couplings,
            pivots,
            owned,
            at,
            gamma,
            place,
            tile,
        );
        if owned {
            let mut inverses = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                inverses.push(pivot[lane]);
            }
            S::State::store::<N>(d, at, &inverses, width);
            #[unroll]
            for k in 0..plan.band {
                let mut column = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    column.push(couplings[comptime!(lane * plan.band + k)]);
                }
                S::State::store::<N>(psi.index_mut(k), at, &column, width);
            }
        }
        if comptime!(plan.band > 0) {
            // The next tile's statistics are written where these are read.
            sync_cube();
        }
        index += CUBE_COUNT;
    }
}
