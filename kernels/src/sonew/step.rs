//! A whole step in one launch: statistics, factor, precondition and descent (or staging for a graft), each state read and written
//! once.
//!
//! A tridiagonal step moves 9 arenas' worth of values where [`super::statistics`] and [`super::update`] together move
//! 12; on a driver that pays per access that is its time. The price is [`Ghosts`].

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::blueprint::{Blueprint, EdgeRemoval, Form, Tolerance};
use super::elimination::{Gamma, GammaLaunch};
use super::ghosts::Ghosts;
use super::graft::{Graft, GraftBuffers, Lengths, graft_direction, stage};
use super::statistics::{Decay, accumulate, check_range, read_gradient};
use super::tile;
use super::walk::{Walk, append_moment, lower, move_on, precondition_vector, restart};
use super::window::{Plan, append_diagonal, append_edge};
use crate::buffers::{array, optional, require_arena};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::evidence::{
    Found, PivotsFound, Slots, magnitude_bits, note_non_finite, require_slots, slots,
};
use crate::first_order::{Average, average, moving_average};
use crate::precision::{Precision, Storage, held, require};
use crate::segments::Segments;
use crate::sweep::{Strategy, run_start};

/// The buffers of a step. States hold [`Ghosts::state_len`] values.
#[derive(Clone, Copy)]
pub struct StepBuffers<'a> {
    /// Parameters, an arena updated in place where there is no graft.
    pub params: &'a Handle,
    /// Where u is stored for [`super::apply_graft`] instead. Not [`Graft::RmsProp`], which needs a norm of the gradient first.
    pub graft: Option<GraftBuffers<'a>>,
    /// Gradients, an arena.
    pub grads: &'a Handle,
    /// First moment m, updated in place.
    pub moment: &'a Handle,
    /// Diagonal of H, updated in place.
    pub diagonal: &'a Handle,
    /// Off-diagonals of H, nearest first, updated in place; as many as the band is wide.
    pub edges: &'a [Handle],
    /// Non-finite gradients seen, one slot a unit.
    pub non_finite: &'a Slots,
    /// What the factor saw, one slot a unit: [`crate::evidence::PivotEvidence`].
    pub cut: &'a Slots,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRates {
    /// Learning rate η ≥ 0.
    pub lr: f64,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// How old statistics and the new product are weighed.
    pub decay: Decay,
    /// Ĥ_jj + ε, ε ≥ 0.
    pub epsilon: f64,
    /// m̂ = `corrections.0` · m, Ĥ = `corrections.1` · H.
    pub corrections: (f64, f64),
}

/// [`StepRates`] as the kernel sees them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Rates {
    pub(super) lr: f32,
    pub(super) shrink: f32,
    pub(super) beta1: Average,
    pub(super) rho: f32,
    pub(super) omega: f32,
    pub(super) epsilon: f32,
    pub(super) correction1: f32,
    pub(super) correction2: f32,
    pub(super) graft_epsilon: f32,
}

#[cube]
impl Rates {
    /// A copy in registers.
    pub(super) fn held(&self) -> Rates {
        Rates {
            lr: held(self.lr),
            shrink: held(self.shrink),
            beta1: self.beta1.held(),
            rho: held(self.rho),
            omega: held(self.omega),
            epsilon: held(self.epsilon),
            correction1: held(self.correction1),
            correction2: held(self.correction2),
            graft_epsilon: held(self.graft_epsilon),
        }
    }
}

#[cube(launch_unchecked)]
fn step_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    grads: &Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    non_finite: &mut Array<u32>,
    cut: &mut Array<u32>,
    bad_stamp: u32,
    cut_stamp: u32,
    direction: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    norms: &mut Sequence<Array<f32>>,
    rates: &Rates,
    gamma: &Gamma,
    runs: u32,
    // The first vector behind the arena.
    behind_arena: u32,
    #[comptime] plan: Plan,
    #[comptime] graft: Graft,
) {
    let mut run = ABSOLUTE_POS;
    let grad_norms = Sequence::<Array<f32>>::new();
    let mut second = Sequence::<Array<Vector<<S::State as Storage>::Word, NS>>>::new();
    let gradient = grads.index(0usize);
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
        let mut largest = 0u32;
        let mut lengths = Lengths::new();
        restart(&mut walk, plan);
        #[unroll]
        for v in 0..plan.reach {
            read_gradient::<S::Params, NP>(&mut g, gradient, origin + v, v, plan.width);
        }
        // The window has to hold `ahead` vectors, and as many ghosts lie before the run.
        for step in 0..plan.behind {
            let next = origin + step + plan.reach;
            read_gradient::<S::Params, NP>(&mut g, gradient, next, plan.reach, plan.width);
            accumulate_vector::<S, NS>(
                &mut walk,
                &mut g,
                moment,
                diagonal,
                edges,
                ghosts + step,
                &rates,
                plan,
            );
        }
        for step in 0..comptime!(plan.sweep.run + plan.ahead) {
            let next = start + step + plan.reach;
            read_gradient::<S::Params, NP>(&mut g, gradient, next, plan.reach, plan.width);
            #[unroll]
            for lane in 0..plan.width {
                largest = max(largest, magnitude_bits(g[lane]));
            }
            // Behind the last vector of the run come its ghosts.
            let ghost = ghosts + plan.behind + step - plan.sweep.run;
            let state = select(step < plan.sweep.run, start + step, ghost);
            accumulate_vector::<S, NS>(
                &mut walk, &mut g, moment, diagonal, edges, state, &rates, plan,
            );
            let at = origin + step;
            let owned = step >= plan.behind;
            let u = precondition_vector::<S::Math>(&mut walk, &mut pivots, owned, at, gamma, plan);
            if owned {
                if comptime!(graft == Graft::None) {
                    let weights = S::Params::load::<NP>(params.index(0usize), at, plan.width);
                    let lowered =
                        lower::<S::Math>(&weights, &u, rates.lr, rates.shrink, plan.width);
                    S::Params::store::<NP>(params.index_mut(0usize), at, &lowered, plan.width);
                } else {
                    let other = graft_direction::<S, NP, NS>(
                        &walk.moment,
                        diagonal,
                        grads,
                        &grad_norms,
                        &mut second,
                        at,
                        0usize,
                        rates.correction2,
                        rates.graft_epsilon,
                        &rates.beta1,
                        plan.width,
                        graft,
                    );
                    let direction = direction.index_mut(0usize);
                    stage::<S::State, NS>(&u, &other, direction, &mut lengths, at, plan.width);
                }
            }
        }
        if comptime!(graft != Graft::None) {
            norms.index_mut(0usize)[run * 2] = lengths.u.root();
            norms.index_mut(0usize)[run * 2 + 1] = lengths.graft.root();
        }
        note_non_finite::<S::Params, NP>(&mut bad, gradient, start, largest, plan.sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&bad, non_finite, bad_stamp);
    crate::evidence::write_pivots(&pivots, cut, cut_stamp);
}

/// Updates the vector `at` of every state with the first vector of `g` and the b values after it, moves the walk on by
/// it, and moves `g` on.
#[cube]
fn accumulate_vector<S: Precision, N: Size>(
    walk: &mut Walk,
    g: &mut Array<f32>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    at: usize,
    rates: &Rates,
    #[comptime] plan: Plan,
) {
    move_on(walk, plan);
    let old_moment = S::State::load::<N>(moment, at, plan.width);
    let old_diagonal = S::State::load::<N>(diagonal, at, plan.width);
    let mut new_moment = Sequence::<f32>::new();
    let mut new_diagonal = Sequence::<f32>::new();
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
    append_moment::<S::Math>(walk, &new_moment, rates.correction1, plan);
    append_diagonal::<S::Math>(
        &mut walk.window,
        &new_diagonal,
        rates.correction2,
        rates.epsilon,
        plan,
    );
    #[unroll]
    for k in 0..plan.band {
        let old = S::State::load::<N>(edges.index(k), at, plan.width);
        let mut new = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..plan.width {
            let e = *old.index(lane);
            let other = g[lane + k + 1];
            new.push(accumulate::<S>(e, g[lane], other, rates.rho, rates.omega));
        }
        S::State::store::<N>(edges.index_mut(k), at, &new, plan.width);
        append_edge::<S::Math>(&mut walk.window, k, &new, rates.correction2, plan);
    }
    #[unroll]
    for c in 0..comptime!(plan.reach * plan.width) {
        g[c] = g[c + plan.width];
    }
}

/// Statistics, factor, precondition and descent over the whole arena, in one launch; the same step as
/// [`super::statistics`] and then [`super::update`] with an absolute ε.
///
/// # Errors
/// [`Error::Unsupported`] for the graft that needs a norm first, [`Error::Length`] if a buffer has another length than it needs,
/// [`Error::Range`] for a number outside its range; launch errors as [`Context::launch`].
pub fn step<S: Precision>(
    context: &Context,
    segments: &Segments,
    buffers: StepBuffers<'_>,
    rates: StepRates,
    gamma: Tolerance,
    removal: EdgeRemoval,
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let band = buffers.edges.len();
    let blueprint = strategy.resolve(|| {
        let blueprint = Blueprint::of_step::<S>(context, band);
        match buffers.graft {
            Some(_) => blueprint.walking::<S>(context.processor(), band),
            None => blueprint,
        }
    });
    if blueprint.sweep.twins {
        require::<S::Twin>(context)?;
        launch::<S::Twin>(context, segments, buffers, rates, gamma, removal, blueprint)
    } else {
        launch::<S>(context, segments, buffers, rates, gamma, removal, blueprint)
    }
}

/// The numbers of a step that were found to be in their ranges.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    lr: f32,
    shrink: f32,
    beta1: f64,
    rho: f32,
    omega: f32,
    epsilon: f32,
    corrections: [f32; 2],
    graft_epsilon: f32,
    pub gamma: Tolerance,
}

impl Prepared {
    fn new(
        operation: &'static str,
        rates: StepRates,
        gamma: Tolerance,
        band: usize,
    ) -> Result<Self, Error> {
        check_range(operation, rates.beta1, rates.decay, band)?;
        gamma.check(operation)?;
        let non_negative = |argument, found| require_non_negative(operation, argument, found);
        let lr = non_negative("lr", rates.lr)?;
        let (rho, omega) = rates.decay.weights();
        Ok(Self {
            lr,
            shrink: lr * non_negative("weight-decay", rates.weight_decay)?,
            beta1: rates.beta1,
            rho: rho as f32,
            omega: omega as f32,
            epsilon: non_negative("epsilon", rates.epsilon)?,
            corrections: [
                non_negative("correction", rates.corrections.0)?,
                non_negative("correction", rates.corrections.1)?,
            ],
            graft_epsilon: 0.0,
            gamma,
        })
    }

    pub fn rates(&self) -> RatesLaunch<Gpu> {
        RatesLaunch::new(
            self.lr,
            self.shrink,
            average(self.beta1),
            self.rho,
            self.omega,
            self.epsilon,
            self.corrections[0],
            self.corrections[1],
            self.graft_epsilon,
        )
    }
}

fn launch<S: Precision>(
    context: &Context,
    segments: &Segments,
    buffers: StepBuffers<'_>,
    rates: StepRates,
    gamma: Tolerance,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> Result<(), Error> {
    let operation = "sonew step";
    let band = buffers.edges.len();
    let processor = context.processor();
    blueprint.check::<S>(operation, band, removal, segments, processor, true)?;
    let mut prepared = Prepared::new(operation, rates, gamma, band)?;
    prepared.graft_epsilon = buffers.graft.map_or(0.0, |it| it.epsilon as f32);
    let n = segments.arena_len();
    let states = Ghosts::new(segments, band, removal, blueprint).state_len();
    let runs = blueprint.sweep.runs(segments);
    match buffers.graft {
        None => require_arena::<S::Params>(operation, "params", buffers.params, n)?,
        Some(graft) if graft.graft == Graft::RmsProp => {
            return Err(Error::Unsupported {
                operation,
                reason: "the RMSProp graft needs the norm of the gradient before the step; use `statistics` and `update`"
                    .into(),
            });
        }
        Some(graft) => graft.check::<S>(operation, n, 8 * runs as u64, 0)?,
    }
    require_arena::<S::Params>(operation, "grads", buffers.grads, n)?;
    require_arena::<S::State>(operation, "moment", buffers.moment, states)?;
    require_arena::<S::State>(operation, "diagonal", buffers.diagonal, states)?;
    for edge in buffers.edges {
        require_arena::<S::State>(operation, "edges", edge, states)?;
    }
    if blueprint.sweep.team {
        if buffers.graft.is_some() {
            return Err(Error::Unsupported {
                operation,
                reason: "a team does not stage for a graft; use the blueprint of a walk".into(),
            });
        }
        return tile::launch::<S>(context, segments, buffers, prepared, removal, blueprint);
    }
    let plan = Plan::new(band, removal, blueprint);
    let graft = buffers.graft.map_or(Graft::None, |it| it.graft);
    let form = Form {
        one_launch: true,
        graft,
        relative: false,
    };
    let grid = blueprint.sweep.grid(segments, form.buffers(band));
    let (non_finite, bad_stamp) = require_slots(operation, buffers.non_finite, grid)?;
    let (cut, cut_stamp) = require_slots(operation, buffers.cut, grid)?;
    let variant = (type_name::<S>(), plan, blueprint, graft);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let vectors = n / plan.width;
        let state_vectors = states / plan.width;
        let mut edges = SequenceArg::new();
        for edge in buffers.edges {
            edges.push(array(edge, state_vectors));
        }
        let mut grads = SequenceArg::new();
        grads.push(array(buffers.grads, vectors));
        let params = buffers.graft.is_none().then_some(buffers.params);
        // SAFETY: parameters (or u) and gradients hold the arena, states the arena and the ghosts of every run, the norms two
        // values for each run, and the evidence a slot for each unit, all checked above. Runs cover the blocks between
        // the pads; a run reads at most 3 · reach · width < BLOCK gradients before and after itself, which lie in the arena.
        unsafe {
            step_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                plan.width / S::Params::PER_WORD,
                plan.width / S::State::PER_WORD,
                optional(params, vectors),
                grads,
                array(buffers.moment, state_vectors),
                array(buffers.diagonal, state_vectors),
                edges,
                slots(non_finite, grid),
                slots(cut, grid),
                bad_stamp,
                cut_stamp,
                optional(buffers.graft.map(|it| it.direction), vectors),
                optional(buffers.graft.map(|it| it.norms), 2 * runs),
                prepared.rates(),
                GammaLaunch::new(gamma.absolute as f32, gamma.relative as f32),
                runs as u32,
                vectors as u32,
                plan,
                graft,
            );
        }
    })
}
