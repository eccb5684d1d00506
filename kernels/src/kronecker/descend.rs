//! What becomes of a direction s: it takes over the length of the graft's update r, per tensor, and both run through a
//! momentum of their own, so that the step can go over from one to the other:
//!
//! s' = s · ‖r‖ / (‖s‖ + 10⁻¹⁶),  μ_s ← β₁ μ_s + (1−β₁) s',  μ_r ← β₁ μ_r + (1−β₁) r,  w ← w − η (μ + λ w)
//!
//! with μ = μ_s, or μ_r before the start of preconditioning and for tensors that are not preconditioned. With Nesterov's
//! momentum μ is β₁ μ_s + (1−β₁) s', likewise for r.
//!
//! [`measure`] updates the graft's second moment d and sums ‖s‖² and ‖r‖² over each run; [`descend`] does the rest. The
//! benchmark's graft is normalised RMSProp: ĝ = g / (‖g‖ + 10⁻¹⁶), d ← β₂ d + (1−β₂) ĝ², r = ĝ / (√d + ε).

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::buffers::{array, optional, require_arena, require_bytes};
use crate::context::Context;
use crate::error::{Error, require_decay, require_non_negative};
use crate::evidence::{Found, magnitude_bits, note_non_finite, require_slots};
use crate::first_order::moving_average;
use crate::precision::{Arithmetic, Precision, Storage, difference, held, product, quotient, sum};
use crate::segments::Segments;
use crate::sonew::Graft;
use crate::sweep::{Strategy, Sweep, run_start};

/// The numbers of a descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescentRates {
    /// Learning rate η ≥ 0.
    pub lr: f64,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
    /// Decay of both momenta, in [0, 1).
    pub beta1: f64,
    /// Decay of the graft's second moment, in [0, 1).
    pub beta2: f64,
    /// ε ≥ 0 of the graft.
    pub epsilon: f64,
    /// 1/(1−β₂ᵗ), for the Adam graft.
    pub correction: f64,
}

/// [`DescentRates`] as the kernels see them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Rates {
    lr: f32,
    shrink: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    correction: f32,
}

#[cube]
impl Rates {
    /// A copy in registers.
    fn held(&self) -> Rates {
        Rates {
            lr: held(self.lr),
            shrink: held(self.shrink),
            beta1: held(self.beta1),
            beta2: held(self.beta2),
            epsilon: held(self.epsilon),
            correction: held(self.correction),
        }
    }
}

/// The arenas of [`measure`].
#[derive(Clone, Copy)]
pub struct MeasureBuffers<'a> {
    /// Gradients g.
    pub grads: &'a Handle,
    /// Directions s, in the state's format.
    pub direction: &'a Handle,
    /// The graft's second moment d, updated in place; for [`Graft::Adam`] and [`Graft::RmsProp`].
    pub second: Option<&'a Handle>,
    /// ‖g‖² of each tensor, for [`Graft::RmsProp`]; f32.
    pub grad_squares: Option<&'a Handle>,
    /// (‖s‖², ‖r‖²) of each run; f32.
    pub squares: &'a Handle,
    /// For each block the tensor it belongs to; u32.
    pub tensor_of_block: &'a Handle,
    /// Non-finite gradients seen, one slot a unit.
    pub evidence: &'a Handle,
}

/// The arenas of [`descend`].
#[derive(Clone, Copy)]
pub struct DescentBuffers<'a> {
    /// Parameters, updated in place.
    pub params: &'a Handle,
    /// Gradients g.
    pub grads: &'a Handle,
    /// Directions s, in the state's format.
    pub direction: &'a Handle,
    /// The graft's second moment d, as [`measure`] left it.
    pub second: Option<&'a Handle>,
    /// ‖g‖² of each tensor, for [`Graft::RmsProp`]; f32.
    pub grad_squares: Option<&'a Handle>,
    /// (‖s‖², ‖r‖²) of each tensor; f32.
    pub squares: &'a Handle,
    /// For each block the tensor it belongs to; u32.
    pub tensor_of_block: &'a Handle,
    /// For each tensor 1 if its step is μ_s, 0 if it is μ_r; u32.
    pub preconditioned: &'a Handle,
    /// μ_s, updated in place.
    pub momentum: &'a Handle,
    /// μ_r, updated in place.
    pub graft_momentum: &'a Handle,
}

/// Whether a graft has a second moment, and whether it needs ‖g‖².
fn needs(graft: Graft) -> (bool, bool) {
    let rmsprop = graft == Graft::RmsProp;
    (rmsprop || graft == Graft::Adam, rmsprop)
}

/// g, or ĝ = g / (‖g‖ + 10⁻¹⁶).
#[cube]
fn normalised<A: Arithmetic>(g: f32, below: f32, #[comptime] graft: Graft) -> f32 {
    if comptime!(graft == Graft::RmsProp) {
        quotient::<A>(g, below)
    } else {
        g
    }
}

/// The graft's update r from g or ĝ and its new second moment.
#[cube]
fn graft_update<A: Arithmetic>(
    g: f32,
    second: f32,
    rates: &Rates,
    #[comptime] graft: Graft,
) -> f32 {
    if comptime!(graft == Graft::RmsProp || graft == Graft::Adam) {
        let mut moment = second;
        if comptime!(graft == Graft::Adam) {
            moment = product::<A>(rates.correction, second);
        }
        let root = sum::<A>(A::round(moment.sqrt()), rates.epsilon);
        // No information, no move.
        select(root == 0.0, 0.0, quotient::<A>(g, root))
    } else {
        g
    }
}

#[cube(launch_unchecked)]
fn measure_kernel<S: Precision, NP: Size, NS: Size>(
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    direction: &Array<Vector<<S::State as Storage>::Word, NS>>,
    second: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    grad_squares: &Sequence<Array<f32>>,
    squares: &mut Array<f32>,
    tensor_of_block: &Array<u32>,
    evidence: &mut Array<u32>,
    rates: &Rates,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] graft: Graft,
) {
    let width = comptime!(sweep.width);
    let mut run = ABSOLUTE_POS;
    let rates = rates.held();
    let mut found = Found::new();
    while run < runs as usize {
        let tensor = tensor_of_block[run / comptime!(sweep.runs_per_block()) + 1] as usize;
        let below = norm_below::<S::Math>(grad_squares, tensor, graft);
        let start = run_start(run, sweep);
        let mut largest = 0u32;
        let mut square = 0.0f32;
        let mut graft_square = 0.0f32;
        for step in 0..sweep.run {
            let at = start + step;
            let g = S::Params::load::<NP>(grads, at, width);
            let s = S::State::load::<NS>(direction, at, width);
            if comptime!(needs(graft).0) {
                let old = S::State::load::<NS>(second.index(0usize), at, width);
                let mut new = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    let scaled = normalised::<S::Math>(*g.index(lane), below, graft);
                    let moved = moving_average::<S::Math>(
                        *old.index(lane),
                        product::<S::Math>(scaled, scaled),
                        rates.beta2,
                    );
                    let r = graft_update::<S::Math>(scaled, moved, &rates, graft);
                    graft_square += r * r;
                    new.push(moved);
                }
                S::State::store::<NS>(second.index_mut(0usize), at, &new, width);
            } else {
                #[unroll]
                for lane in 0..width {
                    graft_square += *g.index(lane) * *g.index(lane);
                }
            }
            #[unroll]
            for lane in 0..width {
                square += *s.index(lane) * *s.index(lane);
                largest = max(largest, magnitude_bits(*g.index(lane)));
            }
        }
        squares[run * 2] = square;
        squares[run * 2 + 1] = graft_square;
        note_non_finite::<S::Params, NP>(&mut found, grads, start, largest, sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&found, evidence);
}

/// ‖g‖ + 10⁻¹⁶ of a tensor, where the graft needs it.
#[cube]
fn norm_below<A: Arithmetic>(
    grad_squares: &Sequence<Array<f32>>,
    tensor: usize,
    #[comptime] graft: Graft,
) -> f32 {
    if comptime!(needs(graft).1) {
        sum::<A>(
            A::round(grad_squares.index(0usize)[tensor].sqrt()),
            1e-16f32,
        )
    } else {
        1.0f32.runtime()
    }
}

#[cube(launch_unchecked)]
fn descend_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Array<Vector<<S::Params as Storage>::Word, NP>>,
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    direction: &Array<Vector<<S::State as Storage>::Word, NS>>,
    second: &Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    grad_squares: &Sequence<Array<f32>>,
    squares: &Array<f32>,
    tensor_of_block: &Array<u32>,
    preconditioned: &Array<u32>,
    momentum: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    graft_momentum: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    rates: &Rates,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] graft: Graft,
    #[comptime] nesterov: bool,
) {
    let width = comptime!(sweep.width);
    let mut run = ABSOLUTE_POS;
    let rates = rates.held();
    while run < runs as usize {
        let tensor = tensor_of_block[run / comptime!(sweep.runs_per_block()) + 1] as usize;
        let below = norm_below::<S::Math>(grad_squares, tensor, graft);
        let mut scale = 1.0f32;
        if comptime!(graft != Graft::None) {
            let length = S::Math::round(squares[tensor * 2].sqrt());
            let wanted = S::Math::round(squares[tensor * 2 + 1].sqrt());
            scale = quotient::<S::Math>(wanted, sum::<S::Math>(length, 1e-16f32));
        }
        let chosen = preconditioned[tensor] > 0;
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let g = S::Params::load::<NP>(grads, at, width);
            let s = S::State::load::<NS>(direction, at, width);
            let old_s = S::State::load::<NS>(momentum, at, width);
            let old_r = S::State::load::<NS>(graft_momentum, at, width);
            let weights = S::Params::load::<NP>(params, at, width);
            let mut moments = Sequence::<f32>::new();
            if comptime!(needs(graft).0) {
                let d = S::State::load::<NS>(second.index(0usize), at, width);
                #[unroll]
                for lane in 0..width {
                    moments.push(*d.index(lane));
                }
            } else {
                #[unroll]
                for _lane in 0..width {
                    moments.push(0.0f32.runtime());
                }
            }
            let mut new_s = Sequence::<f32>::new();
            let mut new_r = Sequence::<f32>::new();
            let mut new_w = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                let scaled = normalised::<S::Math>(*g.index(lane), below, graft);
                let r = graft_update::<S::Math>(scaled, *moments.index(lane), &rates, graft);
                let length = product::<S::Math>(scale, *s.index(lane));
                let mu_s = moving_average::<S::Math>(*old_s.index(lane), length, rates.beta1);
                let mu_r = moving_average::<S::Math>(*old_r.index(lane), r, rates.beta1);
                new_s.push(mu_s);
                new_r.push(mu_r);
                let mut mu = select(chosen, mu_s, mu_r);
                if comptime!(nesterov) {
                    let ahead = select(chosen, length, r);
                    mu = moving_average::<S::Math>(mu, ahead, rates.beta1);
                }
                let w = *weights.index(lane);
                let kept = difference::<S::Math>(w, product::<S::Math>(rates.shrink, w));
                new_w.push(difference::<S::Math>(
                    kept,
                    product::<S::Math>(rates.lr, mu),
                ));
            }
            S::State::store::<NS>(momentum, at, &new_s, width);
            S::State::store::<NS>(graft_momentum, at, &new_r, width);
            S::Params::store::<NP>(params, at, &new_w, width);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// What both launches check and need.
struct Prepared {
    sweep: Sweep,
    n: usize,
    runs: usize,
    tensors: usize,
}

impl Prepared {
    fn new<S: Precision, R: Runtime>(
        operation: &'static str,
        context: &Context<R>,
        segments: &Segments,
        graft: Graft,
        second: Option<&Handle>,
        grad_squares: Option<&Handle>,
        strategy: Strategy<Sweep>,
    ) -> Result<Self, Error> {
        if graft == Graft::Momentum {
            return Err(Error::Unsupported {
                operation,
                reason: "both updates have a momentum; the graft `sgd` is gradient descent with it"
                    .into(),
            });
        }
        let n = segments.arena_len();
        let tensors = segments.tensors().len();
        let word = |yes| if yes { "given" } else { "absent" };
        let (wants_second, wants_norm) = needs(graft);
        for (argument, wanted, found) in [
            ("second", wants_second, second.is_some()),
            ("grad_squares", wants_norm, grad_squares.is_some()),
        ] {
            if wanted != found {
                return Err(Error::Shape {
                    operation,
                    argument,
                    found: word(found).into(),
                    expected: format!("{} for the graft {graft:?}", word(wanted)),
                });
            }
        }
        if let Some(second) = second {
            require_arena::<S::State>(operation, "second", second, n)?;
        }
        if let Some(squares) = grad_squares {
            require_bytes(operation, "grad_squares", squares, 4 * tensors as u64)?;
        }
        let sweep = strategy.resolve(|| Sweep::infer(context.processor()));
        sweep.check(operation)?;
        // The walk, and a second look for what is not finite.
        let iterations = 2 * (sweep.run + 1);
        sweep.check_loops(operation, segments, context.processor(), iterations)?;
        Ok(Self {
            sweep,
            n,
            runs: sweep.runs(segments),
            tensors,
        })
    }
}

fn launch_rates<R: Runtime>(
    operation: &'static str,
    rates: DescentRates,
) -> Result<RatesLaunch<R>, Error> {
    let lr = require_non_negative(operation, "lr", rates.lr)?;
    let decay = require_non_negative(operation, "weight-decay", rates.weight_decay)?;
    Ok(RatesLaunch::new(
        lr,
        lr * decay,
        require_decay(operation, "beta1", rates.beta1)?,
        require_decay(operation, "beta2", rates.beta2)?,
        require_non_negative(operation, "graft-epsilon", rates.epsilon)?,
        require_non_negative(operation, "correction", rates.correction)?,
    ))
}

/// Updates the graft's second moment and sums ‖s‖² and ‖r‖² over each run, in one launch.
///
/// # Errors
/// [`Error::Length`] for a buffer of another length, [`Error::Shape`] for a buffer that the graft lacks or has no use
/// for, [`Error::Range`] for a number outside its range; launch errors as [`Context::launch`].
pub fn measure<S: Precision, R: Runtime>(
    context: &Context<R>,
    segments: &Segments,
    buffers: MeasureBuffers<'_>,
    graft: Graft,
    rates: DescentRates,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "kronecker measure";
    let (second, norms) = (buffers.second, buffers.grad_squares);
    let prepared =
        Prepared::new::<S, R>(operation, context, segments, graft, second, norms, strategy)?;
    let Prepared {
        sweep,
        n,
        runs,
        tensors,
    } = prepared;
    require_arena::<S::Params>(operation, "grads", buffers.grads, n)?;
    require_arena::<S::State>(operation, "direction", buffers.direction, n)?;
    require_bytes(operation, "squares", buffers.squares, 8 * runs as u64)?;
    let table = 4 * segments.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let grid = sweep.grid(segments, 7);
    require_slots(operation, buffers.evidence, grid)?;
    let rates = launch_rates::<R>(operation, rates)?;
    let vectors = n / sweep.width;
    let variant = (type_name::<S>(), sweep, graft);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas hold n values, the tables one entry a block, a tensor or two a run, and the evidence a slot
        // for each unit, all checked above; runs cover the blocks between the pads.
        unsafe {
            measure_kernel::launch_unchecked::<S, R>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                array::<R>(buffers.grads, vectors),
                array::<R>(buffers.direction, vectors),
                optional(second, vectors),
                optional(norms, tensors),
                array::<R>(buffers.squares, 2 * runs),
                array::<R>(buffers.tensor_of_block, segments.blocks()),
                array::<R>(buffers.evidence, 2 * (grid.cubes * grid.units) as usize),
                rates,
                runs as u32,
                sweep,
                graft,
            );
        }
    })
}

/// Both momenta and the descent, in one launch.
///
/// # Errors
/// As [`measure`].
pub fn descend<S: Precision, R: Runtime>(
    context: &Context<R>,
    segments: &Segments,
    buffers: DescentBuffers<'_>,
    graft: Graft,
    nesterov: bool,
    rates: DescentRates,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "kronecker descent";
    let (second, norms) = (buffers.second, buffers.grad_squares);
    let prepared =
        Prepared::new::<S, R>(operation, context, segments, graft, second, norms, strategy)?;
    let Prepared {
        sweep,
        n,
        runs,
        tensors,
    } = prepared;
    require_arena::<S::Params>(operation, "params", buffers.params, n)?;
    require_arena::<S::Params>(operation, "grads", buffers.grads, n)?;
    require_arena::<S::State>(operation, "direction", buffers.direction, n)?;
    require_arena::<S::State>(operation, "momentum", buffers.momentum, n)?;
    require_arena::<S::State>(operation, "graft_momentum", buffers.graft_momentum, n)?;
    require_bytes(operation, "squares", buffers.squares, 8 * tensors as u64)?;
    let per_tensor = 4 * tensors as u64;
    require_bytes(
        operation,
        "preconditioned",
        buffers.preconditioned,
        per_tensor,
    )?;
    let table = 4 * segments.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let grid = sweep.grid(segments, 10);
    let rates = launch_rates::<R>(operation, rates)?;
    let vectors = n / sweep.width;
    let variant = (type_name::<S>(), sweep, graft, nesterov);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas hold n values and the tables an entry or two for each block or tensor, all checked above;
        // runs cover the blocks between the pads.
        unsafe {
            descend_kernel::launch_unchecked::<S, R>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                array::<R>(buffers.params, vectors),
                array::<R>(buffers.grads, vectors),
                array::<R>(buffers.direction, vectors),
                optional(second, vectors),
                optional(norms, tensors),
                array::<R>(buffers.squares, 2 * tensors),
                array::<R>(buffers.tensor_of_block, segments.blocks()),
                array::<R>(buffers.preconditioned, tensors),
                array::<R>(buffers.momentum, vectors),
                array::<R>(buffers.graft_momentum, vectors),
                rates,
                runs as u32,
                sweep,
                graft,
                nesterov,
            );
        }
    })
}
