//! What Shampoo keeps on the device beside its factors, and what a step checks before any of it moves.

use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::evidence::Slots;
use sonew_kernels::kronecker::{Assignment, Blocking};
use sonew_kernels::precision::{HostFormat, Precision, Storage};
use sonew_kernels::segments::Segments;
use sonew_kernels::sonew::Graft;
use sonew_kernels::sweep::Sweep;

use crate::Error;

/// States and scratch.
pub(super) struct States {
    pub second: Option<Handle>,
    pub momentum: Handle,
    pub graft_momentum: Handle,
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
        segments: &Segments,
        blocking: &Blocking,
        sweep: Sweep,
        graft: Graft,
    ) -> Self {
        let arena = || context.upload(&P::State::encode(&vec![0.0; segments.arena_len()]));
        let values = |count: usize| context.upload(&vec![0f32; count]);
        let tensors = segments.tensors().len();
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
            tensor_of_block: context.upload(&segments.tensor_of_block()),
            nothing: context.upload(&vec![0u32; tensors]),
            preconditioned: context.upload(&flags),
            block_norms: values(sweep.norms(segments)),
            tensor_norms: values(2 * tensors),
            block_partials: values(segments.blocks() - 2),
            grad_norms: values(tensors),
            non_finite: Slots::of(context, segments, sweep),
        }
    }
}

/// Refuses what a launch would refuse, before any state has moved.
pub(super) fn check_step<P: Precision>(
    segments: &Segments,
    params: &Handle,
    grads: &Handle,
    lr: f64,
) -> Result<(), Error> {
    let operation = "shampoo";
    let bytes = <P::Params as Storage>::BYTES;
    let expected = (bytes * segments.arena_len()) as u64;
    for (argument, buffer) in [("params", params), ("grads", grads)] {
        let found = buffer.size_in_used();
        if found != expected {
            return Err(Error::Kernel(KernelError::Length {
                operation,
                argument,
                found,
                expected,
            }));
        }
    }
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
