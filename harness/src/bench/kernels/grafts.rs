//! Descents whose length is that of another method.

use sonew_kernels::contract::Check;
use sonew_kernels::kronecker::{self, DescentBuffers, DescentRates, MeasureBuffers, measure};
use sonew_kernels::precision::{Precision, Storage};
use sonew_kernels::sonew::{Graft, apply_graft};
use sonew_kernels::sweep::{Strategy, Sweep};

use super::{RATES, Times};
use crate::bench::BenchError;

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
        self.time::<P>(subject, (checks, (kernel, "")), bytes, || {
            let (lr, inferred) = (RATES.lr, Strategy::Inferred);
            apply_graft::<P>(
                context, &segments, &params, &direction, &norms, &table, lr, 0.0, inferred,
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
        let sweep = Sweep::plain::<P>(context, kernel);
        let runs = sweep.runs_per_block() * (segments.blocks() - 2);
        let (of_runs, evidence) = (context.upload(&vec![0f32; 2 * runs]), self.slots(sweep));
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
        self.time::<P>(subject, (checks, (kernel, "adam")), bytes, || {
            let strategy = Strategy::Forced(sweep);
            let buffers = MeasureBuffers {
                grads: &grads,
                direction: &direction,
                second: Some(&second),
                grad_norms: None,
                norms: &of_runs,
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
