//! Descents whose length is that of another method.

use cubecl::server::Handle;
use sonew_kernels::contract::Check;
use sonew_kernels::kronecker::{self, DescentBuffers, DescentRates, MeasureBuffers, measure};
use sonew_kernels::precision::{Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, Ghosts, Graft, GraftBuffers, Reduction, StepBuffers, apply_graft, step,
};
use sonew_kernels::sweep::{Strategy, Sweep};

use super::banded::{GAMMA, removal};
use super::{RATES, Times};
use crate::lab::bench::BenchError;

impl Times<'_> {
    /// The descent along a direction that was staged for a graft.
    pub(super) fn graft<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        let kernel = "sonew-graft";
        if !self.request.asks(kernel) {
            return Ok(());
        }
        let (params, direction) = (self.filled::<P::Params>(1), self.filled::<P::State>(3));
        let (context, segments) = (self.context, self.segments.clone());
        let norms = context.upload(&vec![1f32; 2 * self.lengths.len()]);
        let table = context.upload(&segments.tensor_of_block());
        let bytes = 2 * <P::Params as Storage>::BYTES + <P::State as Storage>::BYTES;
        let subject = (kernel, "descent".into());
        let written = Self::outputs::<P>([&params], []);
        self.time::<P>(subject, (checks, (kernel, "")), bytes, written, || {
            let (lr, inferred) = (RATES.lr, Strategy::Inferred);
            apply_graft::<P>(
                context, &segments, &params, &direction, &norms, &table, lr, 0.0, inferred,
            )?;
            Ok(())
        })
    }

    /// A tridiagonal step with the length of Adam's: everything up to u and the norms, the norms of tensors, the descent.
    pub(super) fn grafted_step<P: Precision>(
        &mut self,
        checks: &[Check],
    ) -> Result<(), BenchError> {
        let kernel = "sonew-step";
        if !self.request.asks(kernel) {
            return Ok(());
        }
        const BAND: usize = 1;
        let (context, segments) = (self.context, self.segments.clone());
        let removal = removal(BAND);
        let blueprint = Blueprint::of::<P>(context, kernel, BAND);
        let values = Ghosts::new(&segments, BAND, removal, blueprint).state_len();
        let states: Vec<Handle> = (0..2 + BAND)
            .map(|_| self.zeros::<P::State>(values))
            .collect();
        let (params, grads) = (self.filled::<P::Params>(1), self.filled::<P::Params>(2));
        let direction = self.zeros::<P::State>(segments.arena_len());
        let (non_finite, cut) = (self.slots(blueprint.sweep), self.slots(blueprint.sweep));
        let zeros = |count: usize| context.upload(&vec![0f32; count]);
        let of_blocks = zeros(blueprint.sweep.norms(&segments));
        let of_tensors = zeros(2 * self.lengths.len());
        let reduction = Reduction::new(context, &segments);
        let table = context.upload(&segments.tensor_of_block());
        // Beside a plain step u, written and read once norms are known.
        let bytes = 3 * <P::Params as Storage>::BYTES
            + 2 * (states.len() + 1) * <P::State as Storage>::BYTES;
        let subject = (kernel, format!("band {BAND}, adam"));
        let proof = (checks, ("sonew-graft", "band 1, adam, in one launch"));
        // Not the parameters: how far they go depends on the whole tensor.
        let written = Self::outputs::<P>([], states.iter().chain([&direction]));
        self.time::<P>(subject, proof, bytes, written, || {
            let buffers = StepBuffers {
                params: &params,
                graft: Some(GraftBuffers {
                    graft: Graft::Adam,
                    epsilon: 1e-3,
                    decay: 0.0,
                    direction: &direction,
                    norms: &of_blocks,
                    grads: None,
                    grad_norms: None,
                    second: None,
                }),
                grads: &grads,
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                non_finite: &non_finite,
                cut: &cut,
            };
            let (lr, inferred) = (RATES.lr, Strategy::Inferred);
            let forced = Strategy::Forced(blueprint);
            step::<P>(context, &segments, buffers, RATES, GAMMA, removal, forced)?;
            reduction.pairs_of_norms(context, &of_blocks, blueprint.sweep, &of_tensors)?;
            apply_graft::<P>(
                context,
                &segments,
                &params,
                &direction,
                &of_tensors,
                &table,
                lr,
                0.0,
                inferred,
            )?;
            Ok(())
        })
    }

    /// Shampoo's graft, momenta and descent: two launches.
    pub(super) fn kronecker<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        let kernel = "kronecker-descent";
        if !self.request.asks(kernel) {
            return Ok(());
        }
        let (params, grads) = (self.filled::<P::Params>(1), self.filled::<P::Params>(2));
        let direction = self.filled::<P::State>(3);
        let [second, momentum, graft_momentum] =
            [0; 3].map(|_| self.zeros::<P::State>(self.segments.arena_len()));
        let (context, segments) = (self.context, self.segments.clone());
        let sweep = Sweep::measuring::<P>(context, kernel);
        let of_blocks = context.upload(&vec![0f32; sweep.norms(&segments)]);
        let evidence = self.slots(sweep);
        let tensors = self.lengths.len();
        let norms = context.upload(&vec![1f32; 2 * tensors]);
        let preconditioned = context.upload(&vec![1u32; tensors]);
        let table = context.upload(&segments.tensor_of_block());
        let rates = DescentRates {
            lr: RATES.lr,
            weight_decay: 0.0,
            beta1: RATES.beta1,
            beta2: 0.99,
            epsilon: 1e-3,
            correction: 1.0,
        };
        // The gradient, the direction and the second moment twice, the latter written once; momenta and parameters.
        let bytes = 4 * <P::Params as Storage>::BYTES + 9 * <P::State as Storage>::BYTES;
        let subject = (kernel, "adam".into());
        let written = Self::outputs::<P>([&params], [&second, &momentum, &graft_momentum]);
        self.time::<P>(subject, (checks, (kernel, "adam")), bytes, written, || {
            let strategy = Strategy::Forced(sweep);
            let buffers = MeasureBuffers {
                grads: &grads,
                direction: &direction,
                second: Some(&second),
                grad_norms: None,
                norms: &of_blocks,
                tensor_of_block: &table,
                evidence: &evidence,
            };
            measure::<P>(context, &segments, buffers, Graft::Adam, rates, strategy)?;
            let buffers = DescentBuffers {
                params: &params,
                grads: &grads,
                direction: &direction,
                second: Some(&second),
                grad_norms: None,
                norms: &norms,
                tensor_of_block: &table,
                preconditioned: &preconditioned,
                momentum: &momentum,
                graft_momentum: &graft_momentum,
            };
            let graft = Graft::Adam;
            kronecker::descend::<P>(context, &segments, buffers, graft, false, rates, strategy)?;
            Ok(())
        })
    }
}
