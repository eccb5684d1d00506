//! What a step of SONew needs beside its states where it takes norms per tensor: a graft's, or ‖H‖₁ for a relative ε.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout, TensorRates};
use sonew_kernels::context::Context;
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::{HostFormat, Precision};
use sonew_kernels::sonew::{apply_graft, largest_row_sum};

use crate::Error;

/// Allocated once.
pub(super) struct Scratch {
    reduction: Reduction,
    tensor_of_block: Handle,
    /// One value for each block between the pads.
    block_partials: Handle,
    /// One value for each tensor: ‖H‖₁, then ‖g‖.
    row_sums: Handle,
    grad_norms: Handle,
    pub staged: Option<Staged>,
}

/// What grafting needs.
pub(super) struct Staged {
    sweep: Sweep,
    pub direction: Arena,
    pub block_norms: Handle,
    tensor_norms: Handle,
    /// The second moment of the RMSProp graft, a state.
    pub second: Option<Arena>,
}

impl Scratch {
    /// `sweep` is that of the launch that stages.
    pub fn new<P: Precision>(
        context: &Context,
        layout: &Layout,
        sweep: Sweep,
        graft: Graft,
    ) -> Self {
        let arena = || Arena::zeros(context, layout, P::State::FORMAT);
        let values = |count: usize| context.upload(&vec![0f32; count]);
        let tensors = layout.tensors().len();
        Self {
            reduction: Reduction::new(context, layout),
            tensor_of_block: context.upload(&layout.tensor_of_block()),
            block_partials: values(layout.blocks() - 2),
            row_sums: values(tensors),
            grad_norms: values(tensors),
            staged: (graft != Graft::None).then(|| Staged {
                sweep,
                direction: arena(),
                block_norms: values(sweep.norms(layout)),
                tensor_norms: values(2 * tensors),
                second: (graft == Graft::RmsProp).then(arena),
            }),
        }
    }

    fn per_tensor<'a>(&'a self, values: &'a Handle) -> PerTensor<'a> {
        PerTensor {
            values,
            tensor_of_block: &self.tensor_of_block,
        }
    }

    /// ‖H‖₁ of each tensor.
    pub fn row_sums<P: Precision>(
        &self,
        context: &Context,
        diagonal: &Arena,
        edges: &[Arena],
    ) -> Result<PerTensor<'_>, Error> {
        let (partials, sums) = (&self.block_partials, &self.row_sums);
        let reduction = &self.reduction;
        largest_row_sum::<P>(context, reduction, diagonal, edges, partials, sums)?;
        Ok(self.per_tensor(sums))
    }

    /// ‖g‖ of each tensor.
    pub fn grad_norms<P: Precision>(
        &self,
        context: &Context,
        grads: &Arena,
    ) -> Result<PerTensor<'_>, Error> {
        let (partials, norms) = (&self.block_partials, &self.grad_norms);
        norm_per_tensor::<P>(context, &self.reduction, grads, partials, norms)?;
        Ok(self.per_tensor(norms))
    }

    /// Takes the norms of the blocks together, and descends along what was staged, if there is a graft.
    pub fn descend<P: Precision>(
        &self,
        context: &Context,
        params: &Arena,
        lr: f64,
        weight_decay: f64,
        rates: Option<&TensorRates>,
    ) -> Result<(), Error> {
        let Some(staged) = &self.staged else {
            return Ok(());
        };
        let (blocks, tensors) = (&staged.block_norms, &staged.tensor_norms);
        self.reduction
            .pairs_of_norms(context, blocks, staged.sweep, tensors)?;
        apply_graft::<P>(
            context,
            params,
            &staged.direction,
            tensors,
            &self.tensor_of_block,
            lr,
            weight_decay,
            rates,
            Strategy::Inferred,
        )?;
        Ok(())
    }
}
