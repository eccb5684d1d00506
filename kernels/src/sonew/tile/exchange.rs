//! What the units of a team show each other through shared memory: rows of numbers, one for each vector of the tile.

use cubecl::prelude::*;

use super::Tile;
use crate::launch::GHOST_UNITS;
use crate::precision::{Arithmetic, difference, sum};
use crate::sonew::elimination::Window;

/// Where a unit stands in its tile.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Place {
    /// Among the vectors of the tile, ghosts included.
    pub position: usize,
    /// Whether it has a vector to show to others.
    pub shows: bool,
    /// Whether that vector is the tile's own.
    pub own: bool,
}

#[cube]
impl Place {
    pub fn of_unit(#[comptime] tile: Tile) -> Place {
        let unit = UNIT_POS as usize;
        let ghosts = comptime!(tile.before + tile.after);
        if comptime!(ghosts == 0) {
            Place {
                position: unit,
                shows: unit < tile.own,
                own: unit < tile.own,
            }
        } else {
            let own = unit >= GHOST_UNITS;
            let ghost = unit < ghosts;
            // Units of the first plane without a ghost look at the last one's vector, and show nothing.
            let last = min(unit, comptime!(ghosts - 1));
            let outside = select(last < tile.before, last, last + tile.own);
            let position = select(own, unit + tile.before - GHOST_UNITS, outside);
            Place {
                position,
                shows: own || ghost,
                own,
            }
        }
    }
}

/// Writes a number of this unit's vector to a row.
#[cube]
fn show(
    shared: &mut SharedMemory<f32>,
    row: usize,
    place: Place,
    value: f32,
    #[comptime] tile: Tile,
) {
    if place.shows {
        shared[row * tile.places + place.position] = value;
    }
}

/// A row's number of the vector `ahead` of this unit's.
#[cube]
fn ahead(
    shared: &SharedMemory<f32>,
    row: usize,
    place: Place,
    ahead: usize,
    #[comptime] tile: Tile,
) -> f32 {
    // The last vectors have none ahead, and are ghosts of which nothing is used.
    shared[row * tile.places + min(place.position + ahead, comptime!(tile.places - 1))]
}

/// A row's number of the vector `behind` this unit's.
#[cube]
fn behind(
    shared: &SharedMemory<f32>,
    row: usize,
    place: Place,
    behind: usize,
    #[comptime] tile: Tile,
) -> f32 {
    shared[row * tile.places + max(place.position, behind) - behind]
}

/// Shows Ĥ and m̂ of this unit's vector, and fills the windows with those of the b columns after it.
#[cube]
pub(super) fn exchange_statistics(
    shared: &mut SharedMemory<f32>,
    window: &mut Window,
    moments: &mut Array<f32>,
    place: Place,
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    if comptime!(plan.band > 0) {
        let farthest = comptime!(core::cmp::max(plan.band, 1) - 1);
        #[unroll]
        for lane in 0..tile.lanes {
            show(shared, lane, place, window.diagonal[lane], tile);
            if comptime!(!tile.factors_only) {
                show(shared, tile.lanes + lane, place, moments[lane], tile);
            }
            #[unroll]
            for k in 0..farthest {
                let row = comptime!((2 + k) * tile.lanes) + lane;
                show(shared, row, place, window.edges[k * plan.span + lane], tile);
            }
        }
        sync_cube();
        #[unroll]
        for c in 0..plan.band {
            // The c-th column after this unit's last.
            let v = comptime!(c / plan.width + 1);
            let lane = comptime!(c % plan.width);
            let to = comptime!(plan.width + c);
            window.diagonal[to] = ahead(shared, lane, place, v, tile);
            if comptime!(!tile.factors_only) {
                moments[to] = ahead(shared, comptime!(tile.lanes + lane), place, v, tile);
            }
            #[unroll]
            for k in 0..farthest {
                let row = comptime!((2 + k) * tile.lanes + lane);
                window.edges[comptime!(k * plan.span + to)] = ahead(shared, row, place, v, tile);
            }
        }
    }
}

/// Shows which columns of this unit keep their edges, fills the window with those after them, and returns whether all do.
#[cube]
pub(super) fn exchange_keeps(
    shared: &mut SharedMemory<f32>,
    window: &mut Window,
    place: Place,
    #[comptime] tile: Tile,
) -> bool {
    let plan = comptime!(tile.plan);
    let first = comptime!(tile.first_keep());
    #[unroll]
    for lane in 0..tile.lanes {
        show(shared, first + lane, place, window.keep[lane], tile);
    }
    sync_cube();
    let mut all = 1.0f32.runtime();
    #[unroll]
    for lane in 0..plan.width {
        all *= window.keep[lane];
    }
    #[unroll]
    for c in 0..plan.band {
        let v = comptime!(c / plan.width + 1);
        let row = comptime!(first + c % plan.width);
        let keep = ahead(shared, row, place, v, tile);
        window.keep[comptime!(plan.width + c)] = keep;
        all *= keep;
    }
    all > 0.5
}

/// Shows the products that reach vectors after this unit's.
#[cube]
pub(super) fn exchange_products(
    shared: &mut SharedMemory<f32>,
    products: &Array<f32>,
    place: Place,
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    if comptime!(plan.band > 0) {
        if comptime!(!tile.apart() && !plan.incident) {
            // All windows are filled before their rows are written again; the keeps have waited for that.
            sync_cube();
        }
        #[unroll]
        for lane in 0..plan.width {
            #[unroll]
            for k in 0..plan.band {
                if comptime!(lane + 1 + k >= plan.width) {
                    let row = comptime!(tile.first_product() + k * plan.width + lane);
                    show(
                        shared,
                        row,
                        place,
                        products[comptime!(lane * plan.band + k)],
                        tile,
                    );
                }
            }
        }
        sync_cube();
    }
}

/// u_j = y_j − Σ_k ψ_{j−1−k,k} y_{j−1−k}, the farthest first.
#[cube]
pub(super) fn gather<A: Arithmetic>(
    shared: &SharedMemory<f32>,
    products: &Array<f32>,
    y: &Array<f32>,
    place: Place,
    #[comptime] tile: Tile,
) -> Sequence<f32> {
    let plan = comptime!(tile.plan);
    let mut u = Sequence::<f32>::new();
    #[unroll]
    for lane in 0..plan.width {
        let mut carry = 0.0f32.runtime();
        #[unroll]
        for step in 0..plan.band {
            let k = comptime!(plan.band - 1 - step);
            let value = if comptime!(lane > k) {
                products[comptime!((lane - 1 - k) * plan.band + k)]
            } else {
                let v = comptime!((k + 1 - lane).div_ceil(plan.width));
                let from = comptime!(lane + v * plan.width - 1 - k);
                let row = comptime!(tile.first_product() + k * plan.width + from);
                behind(shared, row, place, v, tile)
            };
            if comptime!(step == 0) {
                carry = -value;
            } else {
                carry = difference::<A>(carry, value);
            }
        }
        if comptime!(plan.band > 0) {
            u.push(sum::<A>(carry, y[lane]));
        } else {
            u.push(y[lane]);
        }
    }
    u
}
