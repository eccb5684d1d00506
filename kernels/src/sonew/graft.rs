//! Grafting: the direction of u with the length that another optimizer's update would have, per tensor:
//! w ← w − η (u · ‖graft‖ / (‖u‖ + 10⁻¹²) + λ w).

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::rates::Rates;
use crate::arena::{self, Arena, Layout, TensorRates, rate_of_run};
use crate::context::Context;
use crate::error::{Error, require_decay, require_non_negative};
use crate::first_order::moving_average;
use crate::graft::Graft;
use crate::launch::{Strategy, Sweep, array, require_bytes, run_start};
use crate::norms::PerTensor;
use crate::precision::{Arithmetic, Precision, Storage, difference, held, product, quotient, sum};

/// What a staged update writes and what its graft reads.
#[derive(Clone, Copy)]
pub struct GraftBuffers<'a> {
    /// Whose length.
    pub graft: Graft,
    /// The graft's ε ≥ 0.
    pub epsilon: f64,
    /// Decay of the RMSProp graft's second moment, in [0, 1).
    pub decay: f64,
    /// u, in the state's format.
    pub direction: &'a Arena,
    /// (‖u‖, ‖graft‖) of each block between the pads, or of each part of one: [`Sweep::norms`] numbers; f32.
    pub norms: &'a Handle,
    /// Gradients, for [`Graft::Sgd`] and [`Graft::RmsProp`].
    pub grads: Option<&'a Arena>,
    /// ‖g‖ of each tensor, for [`Graft::RmsProp`].
    pub grad_norms: Option<PerTensor<'a>>,
    /// The RMSProp graft's d, updated in place.
    pub second: Option<&'a Arena>,
}

impl GraftBuffers<'_> {
    pub(crate) fn check<S: Precision>(
        &self,
        operation: &'static str,
        layout: &Layout,
        norms: usize,
    ) -> Result<(), Error> {
        let needs = |argument, wanted: bool, given: bool| {
            if wanted == given {
                return Ok(());
            }
            let word = |yes| if yes { "given" } else { "absent" };
            Err(Error::Shape {
                operation,
                argument,
                found: word(given).into(),
                expected: format!("{} for the graft {:?}", word(wanted), self.graft),
            })
        };
        let rmsprop = self.graft == Graft::RmsProp;
        let gradient = rmsprop || self.graft == Graft::Sgd;
        needs("grads", gradient, self.grads.is_some())?;
        needs("grad_norms", rmsprop, self.grad_norms.is_some())?;
        needs("second", rmsprop, self.second.is_some())?;
        require_non_negative(operation, "graft-epsilon", self.epsilon)?;
        require_decay(operation, "graft-decay", self.decay)?;
        let states = arena::named("direction", [self.direction]);
        let states = states.chain(arena::named("second", self.second));
        arena::require::<S::State>(operation, layout, states)?;
        arena::require::<S::Params>(operation, layout, arena::named("grads", self.grads))?;
        require_bytes(operation, "norms", self.norms, 4 * norms as u64)
    }
}

/// The graft's own update for the vector `at`: `moment` starts with m̂ of it, `diagonal` is that of the new H as it is stored, and
/// `gradient` is g, the latter two where the graft looks at them.
#[cube]
pub(super) fn graft_direction<S: Precision, N: Size>(
    moment: &Array<f32>,
    diagonal: &Sequence<f32>,
    gradient: &Sequence<f32>,
    grad_norms: &Sequence<Array<f32>>,
    second: &mut Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    at: usize,
    tensor: usize,
    rates: &Rates,
    #[comptime] width: usize,
    #[comptime] graft: Graft,
) -> Sequence<f32> {
    let mut out = Sequence::<f32>::new();
    if comptime!(graft == Graft::Sgd) {
        #[unroll]
        for lane in 0..width {
            out.push(*gradient.index(lane));
        }
    } else if comptime!(graft == Graft::Momentum || graft == Graft::None) {
        #[unroll]
        for lane in 0..width {
            out.push(moment[lane]);
        }
    } else if comptime!(graft == Graft::Adam) {
        #[unroll]
        for lane in 0..width {
            let v = product::<S::Math>(rates.correction2, *diagonal.index(lane));
            let below = sum::<S::Math>(S::Math::round(v.sqrt()), rates.graft_epsilon);
            out.push(select(
                below > 0.0,
                quotient::<S::Math>(moment[lane], below),
                0.0,
            ));
        }
    } else {
        let d = S::State::load::<N>(second.index(0usize), at, width);
        let below = grad_norms.index(0usize)[tensor] + 1e-16f32;
        let mut new = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..width {
            let scaled = quotient::<S::Math>(*gradient.index(lane), below);
            let moved = moving_average::<S::Math>(
                *d.index(lane),
                product::<S::Math>(scaled, scaled),
                &rates.graft_decay,
            );
            let root = sum::<S::Math>(S::Math::round(moved.sqrt()), rates.graft_epsilon);
            new.push(moved);
            out.push(select(root > 0.0, quotient::<S::Math>(scaled, root), 0.0));
        }
        S::State::store::<N>(second.index_mut(0usize), at, &new, width);
    }
    out
}

#[cube(launch_unchecked)]
fn graft_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Array<Vector<<S::Params as Storage>::Word, NP>>,
    direction: &Array<Vector<<S::State as Storage>::Word, NS>>,
    norms: &Array<f32>,
    tensor_of_block: &Array<u32>,
    rates: &Sequence<Array<f32>>,
    lr: f32,
    shrink: f32,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] per_tensor: bool,
) {
    let mut run = ABSOLUTE_POS;
    let lr = held(lr);
    let shrink = held(shrink);
    while run < runs as usize {
        let tensor = tensor_of_block[run / comptime!(sweep.runs_per_block()) + 1] as usize;
        let wanted = norms[tensor * 2 + 1];
        let own = rate_of_run(rates, run, lr, shrink, sweep, per_tensor);
        let rate = own.lr * wanted / (norms[tensor * 2] + 1e-12f32);
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let weight = S::Params::load::<NP>(params, at, sweep.width);
            let u = S::State::load::<NS>(direction, at, sweep.width);
            let mut lowered = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..sweep.width {
                let w = *weight.index(lane);
                let kept = difference::<S::Math>(w, product::<S::Math>(own.shrink, w));
                let down = product::<S::Math>(rate, *u.index(lane));
                lowered.push(difference::<S::Math>(kept, down));
            }
            S::Params::store::<NP>(params, at, &lowered, sweep.width);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Descends along a staged direction; `norms` holds (‖u‖, ‖graft‖) of each tensor, from
/// [`Reduction`](crate::norms::Reduction). Where tensors have `rates` of their own, `weight_decay` is that of none, and `lr` is
/// multiplied by theirs.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format or rates of another layout, [`Error::Length`] for a table of another
/// length, [`Error::Range`] for a hyperparameter outside its range; launch errors as [`Context::launch`].
pub fn apply_graft<S: Precision>(
    context: &Context,
    params: &Arena,
    direction: &Arena,
    norms: &Handle,
    tensor_of_block: &Handle,
    lr: f64,
    weight_decay: f64,
    rates: Option<&TensorRates>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "sonew graft";
    require_non_negative(operation, "lr", lr)?;
    require_non_negative(operation, "weight-decay", weight_decay)?;
    let layout = params.layout();
    arena::require::<S::Params>(operation, layout, [("params", params)])?;
    arena::require::<S::State>(operation, layout, [("direction", direction)])?;
    let tensors = layout.tensors().len();
    require_bytes(operation, "norms", norms, 8 * tensors as u64)?;
    require_bytes(
        operation,
        "tensor_of_block",
        tensor_of_block,
        4 * layout.blocks() as u64,
    )?;
    if let Some(rates) = rates {
        rates.check(operation, layout, lr)?;
    }
    let sweep = strategy.resolve(|| Sweep::plain::<S>(context, "sonew-graft"));
    sweep.check::<S>(operation)?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    let per_tensor = rates.is_some();
    let grid = sweep.grid(layout, 4 + usize::from(per_tensor));
    let variant = (type_name::<S>(), sweep, per_tensor);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout, the tables have one entry or two a block and two a tensor, all checked above.
        unsafe {
            graft_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                params.vectors(sweep.width),
                direction.vectors(sweep.width),
                array(norms, 2 * tensors),
                array(tensor_of_block, layout.blocks()),
                TensorRates::argument(rates),
                lr as f32,
                (lr * weight_decay) as f32,
                sweep.runs(layout) as u32,
                sweep,
                per_tensor,
            );
        }
    })
}
