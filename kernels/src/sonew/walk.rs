//! The walk of a unit along its run: factor and precondition column by column, everything in registers.
//!
//! At column j the walk has Ĥ and m̂ of the next columns in a window, solves for ψ_j and D_j, forms
//! y_j = D_j (m̂_j − Σ_k ψ_jk m̂_{j+1+k}), and adds −ψ_jk y_j to the u of the b later columns; u_j is complete once y_j
//! is added. A walk starts some columns before its run, where only what reaches the run's own columns matters.

use cubecl::prelude::*;

use super::blueprint::Form;
use super::elimination::{Gamma, Window, Workspace};
use super::graft::graft_direction;
use super::launch::epsilon_of;
use super::rates::Rates;
use super::rows::{columns_after, within_row};
use super::statistics::{accumulate, read_gradient};
use super::tables::Tables;
use super::window::{Plan, append_diagonal, append_edge, mark, note_column, shift, solve};
use crate::arena::rate_of_run;
use crate::evidence::{Found, PivotsFound, magnitude_bits, note_non_finite};
use crate::first_order::moving_average;
use crate::graft::Graft;
use crate::launch::run_start;
use crate::norms::{BlockLength, measure_vector};
use crate::precision::{Arithmetic, Precision, Storage, difference, product, sum};

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

/// The launch of units that each walk along runs of their own.
#[cube]
pub(super) fn walk<S: Precision, NP: Size, NS: Size>(
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
    runs: u32,
    behind_arena: u32,
    #[comptime] plan: Plan,
    #[comptime] form: Form,
) {
    let mut run = ABSOLUTE_POS;
    let rates = rates.held();
    let gamma = gamma.held();
    let mut bad = Found::new();
    let mut pivots = PivotsFound::new();
    let mut walk = Walk::new(plan);
    // The gradient of the last vector of the window and of the b values after it.
    let mut g = Array::<f32>::new(comptime!((plan.reach + 1) * plan.width));
    while run < runs as usize {
        let start = run_start(run, plan.sweep);
        let origin = start - plan.behind;
        let ghosts = behind_arena as usize + run * comptime!(plan.behind + plan.ahead);
        let mut tensor = 0usize.runtime();
        if comptime!(form.needs_tensor()) {
            let block = run / comptime!(plan.sweep.runs_per_block()) + 1;
            tensor = tensor_of_block.index(0usize)[block] as usize;
        }
        let epsilon = epsilon_of(row_sums, tensor, &rates, form);
        let (lr, shrink) = (rates.lr, rates.shrink);
        let rate = rate_of_run(&tables.rates, run, lr, shrink, plan.sweep, form.rates);
        let mut largest = 0u32;
        let mut length = BlockLength::new();
        let mut graft_length = BlockLength::new();
        restart(&mut walk, plan);
        if comptime!(form.one_launch) {
            #[unroll]
            for v in 0..plan.reach {
                let gradient = grads.index(0usize);
                read_gradient::<S::Params, NP>(&mut g, gradient, origin + v, v, plan.width);
            }
        }
        // The window has to hold `ahead` vectors, and as many ghosts lie before the run.
        for step in 0..plan.behind {
            let mut state = origin + step;
            if comptime!(form.one_launch) {
                let next = origin + step + plan.reach;
                let gradient = grads.index(0usize);
                read_gradient::<S::Params, NP>(&mut g, gradient, next, plan.reach, plan.width);
                state = ghosts + step;
            }
            append_vector::<S, NS>(
                &mut walk, &mut g, moment, diagonal, edges, tables, state, origin, step, epsilon,
                &rates, plan, form,
            );
        }
        for step in 0..comptime!(plan.sweep.run + plan.ahead) {
            let mut state = start + step;
            if comptime!(form.one_launch) {
                let next = start + step + plan.reach;
                let gradient = grads.index(0usize);
                read_gradient::<S::Params, NP>(&mut g, gradient, next, plan.reach, plan.width);
                #[unroll]
                for lane in 0..plan.width {
                    largest = max(largest, magnitude_bits(g[lane]));
                }
                // Behind the last vector of the run come its ghosts.
                let ghost = ghosts + plan.behind + step - plan.sweep.run;
                state = select(step < plan.sweep.run, start + step, ghost);
            }
            append_vector::<S, NS>(
                &mut walk, &mut g, moment, diagonal, edges, tables, state, start, step, epsilon,
                &rates, plan, form,
            );
            let at = origin + step;
            let owned = step >= plan.behind;
            let u = precondition_vector::<S::Math>(&mut walk, &mut pivots, owned, at, gamma, plan);
            if owned {
                if comptime!(form.graft == Graft::None) {
                    let weights = S::Params::load::<NP>(params.index(0usize), at, plan.width);
                    let lowered = lower::<S::Math>(&weights, &u, rate.lr, rate.shrink, plan.width);
                    S::Params::store::<NP>(params.index_mut(0usize), at, &lowered, plan.width);
                } else {
                    let mut v = Sequence::<f32>::new();
                    if comptime!(form.graft == Graft::Adam) {
                        let new = S::State::load::<NS>(diagonal, at, plan.width);
                        push_all(&mut v, &new, plan.width);
                    }
                    let mut own = Sequence::<f32>::new();
                    if comptime!(form.reads_gradient()) {
                        let new = S::Params::load::<NP>(grads.index(0usize), at, plan.width);
                        push_all(&mut own, &new, plan.width);
                    }
                    let other = graft_direction::<S, NS>(
                        &walk.moment,
                        &v,
                        &own,
                        grad_norms,
                        second,
                        at,
                        tensor,
                        &rates,
                        plan.width,
                        form.graft,
                    );
                    S::State::store::<NS>(direction.index_mut(0usize), at, &u, plan.width);
                    let norms = norms.index_mut(0usize);
                    let (width, parts) = comptime!((plan.width, plan.sweep.norms_per_block() > 1));
                    measure_vector(&mut length, norms, &u, at, width, parts, 0usize, 2usize);
                    measure_vector(
                        &mut graft_length,
                        norms,
                        &other,
                        at,
                        width,
                        parts,
                        1usize,
                        2usize,
                    );
                }
            }
        }
        if comptime!(form.graft != Graft::None && plan.sweep.norms_per_block() == 1) {
            norms.index_mut(0usize)[run * 2] = length.root();
            norms.index_mut(0usize)[run * 2 + 1] = graft_length.root();
        }
        if comptime!(form.one_launch) {
            let gradient = grads.index(0usize);
            note_non_finite::<S::Params, NP>(&mut bad, gradient, start, largest, plan.sweep);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    if comptime!(form.one_launch) {
        crate::evidence::write(&bad, non_finite.index_mut(0usize), bad_stamp);
    }
    crate::evidence::write_pivots(&pivots, cut, cut_stamp);
}

/// Moves the walk on by the vector `at` of the states, which holds the columns of the `step`-th after `first`. Where they are made, it updates them with the first vector of `g` and
/// the b values after it, and moves `g` on.
#[cube]
fn append_vector<S: Precision, N: Size>(
    walk: &mut Walk,
    g: &mut Array<f32>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    tables: &Tables,
    at: usize,
    first: usize,
    step: usize,
    epsilon: f32,
    rates: &Rates,
    #[comptime] plan: Plan,
    #[comptime] form: Form,
) {
    move_on(walk, plan);
    let old_moment = S::State::load::<N>(moment, at, plan.width);
    let old_diagonal = S::State::load::<N>(diagonal, at, plan.width);
    let mut new_moment = Sequence::<f32>::new();
    let mut new_diagonal = Sequence::<f32>::new();
    if comptime!(form.one_launch) {
        #[unroll]
        for lane in 0..plan.width {
            let gl = g[lane];
            let m = *old_moment.index(lane);
            let h = *old_diagonal.index(lane);
            new_moment.push(moving_average::<S::Math>(m, gl, &rates.beta1));
            new_diagonal.push(accumulate::<S>(h, gl, gl, rates.rho, rates.omega));
        }
        S::State::store::<N>(moment, at, &new_moment, plan.width);
        S::State::store::<N>(diagonal, at, &new_diagonal, plan.width);
    } else {
        push_all(&mut new_moment, &old_moment, plan.width);
        push_all(&mut new_diagonal, &old_diagonal, plan.width);
    }
    append_moment::<S::Math>(walk, &new_moment, rates.correction1, plan);
    append_diagonal::<S::Math>(
        &mut walk.window,
        &new_diagonal,
        rates.correction2,
        epsilon,
        plan,
    );
    let after = columns_after(&tables.rows, first, step, plan.width, form.rows);
    #[unroll]
    for k in 0..plan.band {
        let old = S::State::load::<N>(edges.index(k), at, plan.width);
        let mut new = Sequence::<f32>::new();
        if comptime!(form.one_launch) {
            #[unroll]
            for lane in 0..plan.width {
                let e = *old.index(lane);
                let other = g[lane + k + 1];
                let moved = accumulate::<S>(e, g[lane], other, rates.rho, rates.omega);
                new.push(within_row(&after, moved, lane, k, form.rows));
            }
            S::State::store::<N>(edges.index_mut(k), at, &new, plan.width);
        } else {
            push_all(&mut new, &old, plan.width);
        }
        append_edge::<S::Math>(&mut walk.window, k, &new, rates.correction2, plan);
    }
    if comptime!(form.one_launch) {
        #[unroll]
        for c in 0..comptime!(plan.reach * plan.width) {
            g[c] = g[c + plan.width];
        }
    }
}

/// Appends the values of a vector.
#[cube]
pub(super) fn push_all(to: &mut Sequence<f32>, values: &Sequence<f32>, #[comptime] width: usize) {
    #[unroll]
    for lane in 0..width {
        to.push(*values.index(lane));
    }
}
