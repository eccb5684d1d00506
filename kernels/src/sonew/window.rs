//! The columns of H that a unit holds in registers while it walks along the chain.

use cubecl::prelude::*;

use super::blueprint::{Blueprint, EdgeRemoval, Reach};
use super::elimination::{
    Gamma, Window, Workspace, eliminate, inverse_column, out_of_range, reciprocal, trusted,
};
use crate::evidence::{PivotsFound, note};
use crate::launch::Sweep;
use crate::precision::{Arithmetic, Precision, Storage, difference, product, quotient, sum};

/// Everything about a walk that is fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Plan {
    pub band: usize,
    pub width: usize,
    pub sweep: Sweep,
    pub unroll: bool,
    pub incident: bool,
    pub removal: EdgeRemoval,
    pub reach: usize,
    pub ahead: usize,
    pub behind: usize,
    /// Columns in the window.
    pub span: usize,
}

impl Plan {
    pub fn new(band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        // Without edges there is nothing to remove.
        let incident = removal == EdgeRemoval::Incident && band > 0;
        let reach = Reach::of(blueprint.sweep, band, removal);
        Self {
            band,
            width: blueprint.sweep.width,
            sweep: blueprint.sweep,
            unroll: blueprint.unroll,
            incident,
            removal,
            reach: reach.reach,
            ahead: reach.ahead,
            behind: reach.behind,
            span: (reach.ahead + 1) * blueprint.sweep.width,
        }
    }

    /// For a window of one vector and the b columns after it.
    pub fn of_vector(band: usize, removal: EdgeRemoval, blueprint: Blueprint) -> Self {
        let plan = Self::new(band, removal, blueprint);
        Self {
            ahead: plan.reach,
            behind: plan.reach,
            span: (plan.reach + 1) * plan.width,
            ..plan
        }
    }
}

/// What solving one column found; ψ is left in the array given to [`solve`].
#[derive(CubeType)]
pub(crate) struct Column {
    /// D_j.
    pub d: f32,
    /// Whether the pivot was too small, and there were edges to cut or change.
    pub cut: bool,
    /// Whether D has lost digits, or all of them.
    pub out_of_range: bool,
}

/// Notes what the column at `at` shows, if it is `owned`.
#[cube]
pub(crate) fn note_column(found: &mut PivotsFound, column: &Column, owned: bool, at: usize) {
    note(&mut found.cut, column.cut && owned, at);
    note(&mut found.out_of_range, column.out_of_range && owned, at);
}

#[cube]
impl Window {
    /// A window without edges, every vertex kept.
    pub(crate) fn new(#[comptime] plan: Plan) -> Window {
        let mut diagonal = Array::<f32>::new(plan.span);
        let mut edges = Array::<f32>::new(comptime!(core::cmp::max(plan.band * plan.span, 1)));
        let mut keep = Array::<f32>::new(comptime!((plan.reach + 1) * plan.width));
        #[unroll(plan.unroll)]
        for c in 0..plan.span {
            diagonal[c] = 0.0;
        }
        #[unroll(plan.unroll)]
        for c in 0..comptime!(plan.band * plan.span) {
            edges[c] = 0.0;
        }
        #[unroll(plan.unroll)]
        for c in 0..comptime!((plan.reach + 1) * plan.width) {
            keep[c] = 1.0;
        }
        Window {
            diagonal,
            edges,
            keep,
        }
    }
}

/// Drops the first vector of the window and makes room for the next at its end.
#[cube]
pub(crate) fn shift(window: &mut Window, #[comptime] plan: Plan) {
    let kept = comptime!(plan.ahead * plan.width);
    #[unroll(plan.unroll)]
    for c in 0..kept {
        window.diagonal[c] = window.diagonal[c + plan.width];
    }
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        #[unroll(plan.unroll)]
        for c in 0..kept {
            window.edges[k * plan.span + c] = window.edges[k * plan.span + c + plan.width];
        }
    }
}

/// Sets the last vector of the window to Ĥ + ε, from the vector `at` of H.
#[cube]
pub(crate) fn append<S: Precision, N: Size>(
    window: &mut Window,
    diagonal: &Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    at: usize,
    correction: f32,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    let h = S::State::load::<N>(diagonal, at, plan.width);
    append_diagonal::<S::Math>(window, &h, correction, epsilon, plan);
    #[unroll]
    for k in 0..plan.band {
        let e = S::State::load::<N>(edges.index(k), at, plan.width);
        append_edge::<S::Math>(window, k, &e, correction, plan);
    }
}

/// Sets the diagonal of the last vector of the window.
#[cube]
pub(crate) fn append_diagonal<A: Arithmetic>(
    window: &mut Window,
    h: &Sequence<f32>,
    correction: f32,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    let kept = comptime!(plan.ahead * plan.width);
    #[unroll]
    for lane in 0..plan.width {
        window.diagonal[kept + lane] = sum::<A>(product::<A>(correction, *h.index(lane)), epsilon);
    }
}

/// Sets the `k`-th off-diagonal of the last vector of the window.
#[cube]
pub(crate) fn append_edge<A: Arithmetic>(
    window: &mut Window,
    #[comptime] k: usize,
    e: &Sequence<f32>,
    correction: f32,
    #[comptime] plan: Plan,
) {
    let kept = comptime!(plan.ahead * plan.width);
    #[unroll]
    for lane in 0..plan.width {
        window.edges[comptime!(k * plan.span + kept) + lane] =
            product::<A>(correction, *e.index(lane));
    }
}

/// Incident removal: decides which vertices of the vector `reach` ahead keep their edges.
#[cube]
pub(crate) fn mark<A: Arithmetic>(
    window: &mut Window,
    gamma: Gamma,
    work: &mut Workspace,
    psi: &mut Array<f32>,
    #[comptime] plan: Plan,
) {
    let base = comptime!(plan.reach * plan.width);
    #[unroll(plan.unroll)]
    for c in 0..base {
        window.keep[c] = window.keep[c + plan.width];
    }
    #[unroll(plan.unroll)]
    for lane in 0..plan.width {
        let c = base + lane;
        let pivot = eliminate::<A>(
            window,
            c,
            gamma,
            work,
            psi,
            plan.band,
            plan.span,
            false,
            plan.unroll,
        );
        window.keep[c] = select(trusted::<A>(pivot, window.diagonal[c], gamma), 1.0, 0.0);
    }
}

/// Solves column `lane` of the window: leaves ψ_j in `psi` and returns D_j.
#[cube]
pub(crate) fn solve<A: Arithmetic>(
    window: &Window,
    lane: usize,
    gamma: Gamma,
    work: &mut Workspace,
    psi: &mut Array<f32>,
    #[comptime] plan: Plan,
) -> Column {
    let pivot = eliminate::<A>(
        window,
        lane,
        gamma,
        work,
        psi,
        plan.band,
        plan.span,
        plan.incident,
        plan.unroll,
    );
    conclude::<A>(window, lane, pivot, gamma, work, psi, plan)
}

/// What follows for a column from its pivot, the elimination just done for it, and ψ, which is changed where edges go.
#[cube]
pub(crate) fn conclude<A: Arithmetic>(
    window: &Window,
    lane: usize,
    pivot: f32,
    gamma: Gamma,
    work: &mut Workspace,
    psi: &mut Array<f32>,
    #[comptime] plan: Plan,
) -> Column {
    let h = window.diagonal[lane];
    let mut trust = trusted::<A>(pivot, h, gamma);
    if comptime!(plan.incident) {
        trust = trust && window.keep[lane] > 0.5;
    }
    let mut linked = false;
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        linked = linked || window.edges[k * plan.span + lane] != 0.0;
    }
    let least = sum::<A>(gamma.absolute, product::<A>(gamma.relative, h));
    let mut keeps = trust;
    let mut last = select(trust, pivot, h);
    // A pivot that is a number, and a γ that it can be raised to.
    let raises = pivot <= least && least >= A::least_invertible();
    if comptime!(plan.removal == EdgeRemoval::Clamp) {
        keeps = trust || raises;
        last = select(raises && !trust, least, last);
    }
    if comptime!(plan.removal == EdgeRemoval::Reweight && plan.band > 0) {
        // With t added to the farthest entry S becomes S − 2 t ψ_f − t² g_f.
        let far = comptime!(core::cmp::max(plan.band, 1) - 1);
        let mut g = Array::<f32>::new(comptime!(core::cmp::max(plan.band, 1)));
        inverse_column::<A>(work, &mut g, plan.band, plan.unroll);
        let (psi_f, g_f) = (psi[far], g[far]);
        let lacking = difference::<A>(least, pivot);
        let square = difference::<A>(product::<A>(psi_f, psi_f), product::<A>(g_f, lacking));
        let root = A::round(max(square, 0.0).sqrt());
        let nearer = select(psi_f < 0.0, -root, root);
        // The root nearest 0, in the form in which nothing cancels.
        let below = sum::<A>(psi_f, nearer);
        let t = select(below == 0.0, 0.0, -quotient::<A>(lacking, below));
        let coupled = window.edges[far * plan.span + lane] != 0.0;
        let changes = !trust && raises && coupled && square >= 0.0 && g_f > 0.0;
        #[unroll(plan.unroll)]
        for k in 0..plan.band {
            let changed = sum::<A>(psi[k], product::<A>(t, g[k]));
            psi[k] = select(changes, changed, psi[k]);
        }
        keeps = trust || changes;
        last = select(changes, least, last);
    }
    #[unroll(plan.unroll)]
    for k in 0..plan.band {
        psi[k] = select(keeps, psi[k], 0.0);
    }
    Column {
        d: reciprocal::<A>(last),
        cut: !trust && linked,
        out_of_range: out_of_range::<A>(last, h),
    }
}
