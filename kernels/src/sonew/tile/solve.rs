//! The columns of one unit of a team, solved together, so that the first elimination can serve.

use cubecl::prelude::*;

use super::Tile;
use super::exchange::{Place, exchange_keeps};
use crate::evidence::PivotsFound;
use crate::precision::{Arithmetic, difference, product};
use crate::sonew::elimination::{Gamma, Window, Workspace, eliminate, trusted};
use crate::sonew::window::{conclude, note_column};

/// y_j = D_j (m̂_j − Σ_k ψ_jk m̂_{j+1+k}) and ψ_jk y_j of this unit's columns; of a tile that only factors D_j and ψ_jk.
#[cube]
pub(super) fn solve_vector<A: Arithmetic>(
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
                tile,
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
                tile,
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
    #[comptime] tile: Tile,
) {
    let plan = comptime!(tile.plan);
    let column = conclude::<A>(window, lane, pivot, gamma, work, psi, plan);
    if comptime!(tile.factors_only) {
        y[lane] = column.d;
        #[unroll(plan.unroll)]
        for k in 0..plan.band {
            products[lane * plan.band + k] = psi[k];
        }
    } else {
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
    }
    note_column(pivots, &column, owned, at * plan.width + lane);
}
