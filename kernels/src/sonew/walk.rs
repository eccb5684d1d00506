//! The walk of a unit along its run: factor and precondition column by column, everything in registers.
//!
//! At column j the walk has Ĥ and m̂ of the next columns in a window, solves for ψ_j and D_j, forms
//! y_j = D_j (m̂_j − Σ_k ψ_jk m̂_{j+1+k}), and adds −ψ_jk y_j to the u of the b later columns; u_j is complete once y_j
//! is added. A walk starts some columns before its run, where only what reaches the run's own columns matters.

use cubecl::prelude::*;

use super::elimination::{Gamma, Window, Workspace};
use super::window::{Plan, mark, note_column, shift, solve};
use crate::evidence::PivotsFound;
use crate::precision::{Arithmetic, difference, product, sum};

/// The registers of a walk.
#[derive(CubeType)]
pub(crate) struct Walk {
    /// Ĥ + ε of the current vector of columns and of those ahead.
    pub window: Window,
    /// m̂ of the same columns.
    pub moment: Array<f32>,
    /// What earlier columns add to u of the next b.
    carry: Array<f32>,
    psi: Array<f32>,
    work: Workspace,
}

#[cube]
impl Walk {
    pub(crate) fn new(#[comptime] plan: Plan) -> Walk {
        Walk {
            window: Window::new(plan),
            moment: Array::new(plan.span),
            carry: Array::new(comptime!(core::cmp::max(plan.band, 1))),
            psi: Array::new(comptime!(core::cmp::max(plan.band, 1))),
            work: Workspace::new(plan.band),
        }
    }
}

/// Forgets what the run before carries on; the window is filled anew before it is used.
#[cube]
pub(crate) fn restart(walk: &mut Walk, #[comptime] plan: Plan) {
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        walk.carry[k] = 0.0;
    }
}

/// Moves on by a vector: the window and m̂ drop their first, room for the next is at their end.
#[cube]
pub(crate) fn move_on(walk: &mut Walk, #[comptime] plan: Plan) {
    shift(&mut walk.window, plan);
    #[unroll(plan.unroll)]
    for c in 0..comptime!(plan.ahead * plan.width) {
        walk.moment[c] = walk.moment[c + plan.width];
    }
}

/// Sets m̂ of the last vector of the window, from m.
#[cube]
pub(crate) fn append_moment<A: Arithmetic>(
    walk: &mut Walk,
    moment: &Sequence<f32>,
    correction: f32,
    #[comptime] plan: Plan,
) {
    let kept = comptime!(plan.ahead * plan.width);
    #[unroll]
    for lane in 0..plan.width {
        walk.moment[kept + lane] = product::<A>(correction, *moment.index(lane));
    }
}

/// u of the first vector of the window; what its pivots show is noted where `owned`, `at` being that vector.
#[cube]
pub(crate) fn precondition_vector<A: Arithmetic>(
    walk: &mut Walk,
    found: &mut PivotsFound,
    owned: bool,
    at: usize,
    gamma: Gamma,
    #[comptime] plan: Plan,
) -> Sequence<f32> {
    if comptime!(plan.incident) {
        mark::<A>(&mut walk.window, gamma, &mut walk.work, &mut walk.psi, plan);
    }
    let mut u = Sequence::<f32>::new();
    #[unroll]
    for lane in 0..plan.width {
        let column = solve::<A>(
            &walk.window,
            lane,
            gamma,
            &mut walk.work,
            &mut walk.psi,
            plan,
        );
        let mut y = walk.moment[lane];
        #[unroll(plan.unroll)]
        for k in 0..plan.band {
            y = difference::<A>(y, product::<A>(walk.psi[k], walk.moment[lane + k + 1]));
        }
        y = product::<A>(column.d, y);
        if comptime!(plan.band > 0) {
            u.push(sum::<A>(walk.carry[0], y));
            let last = comptime!(core::cmp::max(plan.band, 1) - 1);
            #[unroll(plan.unroll)]
            for k in 0..last {
                walk.carry[k] = difference::<A>(walk.carry[k + 1], product::<A>(walk.psi[k], y));
            }
            walk.carry[last] = -product::<A>(walk.psi[last], y);
        } else {
            u.push(y);
        }
        note_column(found, &column, owned, at * plan.width + lane);
    }
    u
}

/// w ← w − (shrink · w + lr · u) for one vector; `shrink` = η λ.
#[cube]
pub(crate) fn lower<A: Arithmetic>(
    weights: &Sequence<f32>,
    u: &Sequence<f32>,
    lr: f32,
    shrink: f32,
    #[comptime] width: usize,
) -> Sequence<f32> {
    let mut lowered = Sequence::<f32>::new();
    #[unroll]
    for lane in 0..width {
        let w = *weights.index(lane);
        let kept = difference::<A>(w, product::<A>(shrink, w));
        lowered.push(difference::<A>(kept, product::<A>(lr, *u.index(lane))));
    }
    lowered
}
