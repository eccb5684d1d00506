//! What becomes of a direction s: it takes over the length of the graft's update r, per tensor, and both run through a
//! momentum of their own, so that the step can go over from one to the other:
//!
//! s' = s · ‖r‖ / (‖s‖ + 10⁻¹⁶),  μ_s ← β₁ μ_s + (1−β₁) s',  μ_r ← β₁ μ_r + (1−β₁) r,  w ← w − η (μ + λ w)
//!
//! with μ = μ_s, or μ_r before the start of preconditioning and for tensors that are not preconditioned. With Nesterov's
//! momentum μ is β₁ μ_s + (1−β₁) s', likewise for r. The norms come from [`super::measure()`].

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::graft::{
    DescentRates, Prepared, Rates, graft_update, launch_rates, needs, norm_below, normalised,
};
use crate::arena::{self, Arena, BLOCK, TensorRates, rate_of_block};
use crate::context::Context;
use crate::error::Error;
use crate::first_order::moving_average;
use crate::graft::Graft;
use crate::launch::{
    Strategy, Sweep, array, first_run, offset_of_unit, optional, require_bytes, run_start,
    steps_within, stride_of_runs,
};
use crate::precision::{Precision, Storage, difference, product};

/// What [`descend`] reads and writes.
#[derive(Clone, Copy)]
pub struct DescentBuffers<'a> {
    /// Parameters, updated in place.
    pub params: &'a Arena,
    /// Gradients g.
    pub grads: &'a Arena,
    /// Directions s, in the state's format.
    pub direction: &'a Arena,
    /// The graft's second moment d, as [`super::measure()`] left it.
    pub second: Option<&'a Arena>,
    /// ‖g‖ of each tensor, for [`Graft::RmsProp`]; f32.
    pub grad_norms: Option<&'a Handle>,
    /// (‖s‖, ‖r‖) of each tensor; f32.
    pub norms: &'a Handle,
    /// For each block the tensor it belongs to; u32.
    pub tensor_of_block: &'a Handle,
    /// For each tensor 1 if its step is μ_s, 0 if it is μ_r; u32.
    pub preconditioned: &'a Handle,
    /// What tensors have in place of [`DescentRates::weight_decay`], and what [`DescentRates::lr`] is multiplied by.
    pub rates: Option<&'a TensorRates>,
    /// μ_s, updated in place.
    pub momentum: &'a Arena,
    /// μ_r, updated in place.
    pub graft_momentum: &'a Arena,
}

#[cube(launch_unchecked)]
fn descend_kernel<S: Precision, NP: Size, NS: Size>(
    params: &mut Array<Vector<<S::Params as Storage>::Word, NP>>,
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    direction: &Array<Vector<<S::State as Storage>::Word, NS>>,
    second: &Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    grad_norms: &Sequence<Array<f32>>,
    norms: &Array<f32>,
    tensor_of_block: &Array<u32>,
    preconditioned: &Array<u32>,
    momentum: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    graft_momentum: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    own_rates: &Sequence<Array<f32>>,
    rates: &Rates,
    runs: u32,
    // The first vector behind the tensors.
    end: u32,
    #[comptime] sweep: Sweep,
    #[comptime] graft: Graft,
    #[comptime] nesterov: bool,
    #[comptime] per_tensor: bool,
) {
    let width = comptime!(sweep.width);
    let rates = rates.held();
    let mut run = first_run(sweep);
    while run < runs as usize {
        let start = run_start(run, sweep) + offset_of_unit(sweep);
        let block = min(start, end as usize) / comptime!(BLOCK / sweep.width);
        let tensor = tensor_of_block[block] as usize;
        let rate = rate_of_block(own_rates, block, rates.lr, rates.shrink, per_tensor);
        let below = norm_below(grad_norms, tensor, graft);
        let mut scale = 1.0f32;
        if comptime!(graft != Graft::None) {
            let wanted = norms[tensor * 2 + 1];
            scale = wanted / (norms[tensor * 2] + 1e-16f32);
        }
        let chosen = preconditioned[tensor] > 0;
        for step in 0..steps_within(start, end as usize, sweep) {
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
                let mu_s = moving_average::<S::Math>(*old_s.index(lane), length, &rates.beta1);
                let mu_r = moving_average::<S::Math>(*old_r.index(lane), r, &rates.beta1);
                new_s.push(mu_s);
                new_r.push(mu_r);
                let mut mu = select(chosen, mu_s, mu_r);
                if comptime!(nesterov) {
                    let ahead = select(chosen, length, r);
                    mu = moving_average::<S::Math>(mu, ahead, &rates.beta1);
                }
                let w = *weights.index(lane);
                let kept = difference::<S::Math>(w, product::<S::Math>(rate.shrink, w));
                new_w.push(difference::<S::Math>(kept, product::<S::Math>(rate.lr, mu)));
            }
            S::State::store::<NS>(momentum, at, &new_s, width);
            S::State::store::<NS>(graft_momentum, at, &new_r, width);
            S::Params::store::<NP>(params, at, &new_w, width);
        }
        run += stride_of_runs(sweep);
    }
}

/// Both momenta and the descent, in one launch.
///
/// # Errors
/// As [`super::measure()`].
pub fn descend<S: Precision>(
    context: &Context,
    buffers: DescentBuffers<'_>,
    graft: Graft,
    nesterov: bool,
    rates: DescentRates,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "kronecker descent";
    let (second, norms) = (buffers.second, buffers.grad_norms);
    let layout = buffers.params.layout();
    let prepared = Prepared::new::<S>(operation, context, layout, graft, second, norms, strategy)?;
    let Prepared {
        sweep,
        runs,
        tensors,
    } = prepared;
    let given = [("params", buffers.params), ("grads", buffers.grads)];
    let states = [
        ("direction", buffers.direction),
        ("momentum", buffers.momentum),
        ("graft_momentum", buffers.graft_momentum),
    ];
    arena::require::<S::Params>(operation, layout, given)?;
    arena::require::<S::State>(operation, layout, states)?;
    require_bytes(operation, "norms", buffers.norms, 8 * tensors as u64)?;
    let per_tensor = 4 * tensors as u64;
    require_bytes(
        operation,
        "preconditioned",
        buffers.preconditioned,
        per_tensor,
    )?;
    let table = 4 * layout.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let own_rates = buffers.rates;
    if let Some(own) = own_rates {
        own.check(operation, layout, rates.lr)?;
    }
    let per_tensor = own_rates.is_some();
    let grid = sweep.grid(layout, 10 + usize::from(per_tensor));
    let rates = launch_rates(operation, rates)?;
    let width = sweep.width;
    let variant = (type_name::<S>(), sweep, graft, nesterov, per_tensor);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout, and the tables have an entry or two for each block or tensor of it, all checked above;
        // runs cover the blocks between the pads.
        unsafe {
            descend_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::Params::PER_WORD,
                sweep.width / S::State::PER_WORD,
                buffers.params.vectors(width),
                buffers.grads.vectors(width),
                buffers.direction.vectors(width),
                arena::sequence(second, width),
                optional(norms, tensors),
                array(buffers.norms, 2 * tensors),
                array(buffers.tensor_of_block, layout.blocks()),
                array(buffers.preconditioned, tensors),
                buffers.momentum.vectors(width),
                buffers.graft_momentum.vectors(width),
                TensorRates::argument(own_rates),
                rates,
                runs as u32,
                ((layout.arena_len() - BLOCK) / width) as u32,
                sweep,
                graft,
                nesterov,
                per_tensor,
            );
        }
    })
}
