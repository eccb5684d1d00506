//! What Shampoo keeps on the device beside its factors, and what a step checks before any of it moves.

use cubecl::server::Handle;
use sonew_kernels::arena::{self, Arena, Layout, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::graft::Graft;
use sonew_kernels::kronecker::{Assignment, Blocking};
use sonew_kernels::launch::Sweep;
use sonew_kernels::precision::{HostFormat, Precision};

use crate::Error;

/// States and scratch.
pub(super) struct States {
    pub second: Option<Arena>,
    pub momentum: Arena,
    pub graft_momentum: Arena,
    pub tensor_of_block: Handle,
    /// For each tensor 0, and whether it is preconditioned.
    pub nothing: Handle,
    pub preconditioned: Handle,
    pub block_norms: Handle,
    pub tensor_norms: Handle,
    pub block_partials: Handle,
    pub grad_norms: Handle,
    pub non_finite: Slots,
}

impl States {
    pub fn new<P: Precision>(
        context: &Context,
        layout: &Layout,
        blocking: &Blocking,
        sweep: Sweep,
        graft: Graft,
    ) -> Self {
        let arena = || Arena::zeros(context, layout, P::State::FORMAT);
        let values = |count: usize| context.upload(&vec![0f32; count]);
        let tensors = layout.tensors().len();
        let flags: Vec<u32> = blocking
            .assignments()
            .iter()
            .map(|a| u32::from(!matches!(a, Assignment::Graft { .. })))
            .collect();
        let second = matches!(graft, Graft::Adam | Graft::RmsProp);
        Self {
            second: second.then(arena),
            momentum: arena(),
            graft_momentum: arena(),
            tensor_of_block: context.upload(&layout.tensor_of_block()),
            nothing: context.upload(&vec![0u32; tensors]),
            preconditioned: context.upload(&flags),
            block_norms: values(sweep.norms(layout)),
            tensor_norms: values(2 * tensors),
            block_partials: values(layout.blocks() - 2),
            grad_norms: values(tensors),
            non_finite: Slots::of(context, layout, sweep),
        }
    }
}

/// Refuses what a launch would refuse, before any state has moved.
pub(super) fn check_step<P: Precision>(
    layout: &Layout,
    params: &Arena,
    grads: &Arena,
    lr: f64,
) -> Result<(), Error> {
    let operation = "shampoo";
    let arenas = [("params", params), ("grads", grads)];
    arena::require::<P::Params>(operation, layout, arenas)?;
    if lr >= 0.0 && (lr as f32).is_finite() {
        return Ok(());
    }
    Err(Error::Kernel(KernelError::Range {
        operation,
        argument: "lr",
        found: lr,
        expected: "≥ 0 and finite in f32",
    }))
}
