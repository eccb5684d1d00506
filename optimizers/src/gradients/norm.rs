//! The norm over all tensors, on the device.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::norms::{GLOBAL, Reduction, global_norm, norm_of_each};

use crate::Error;

/// What the launches need that find it, in three whatever the number of tensors.
pub(super) struct GlobalNorm {
    most: f64,
    reduction: Reduction,
    partials: Handle,
    of_each: Handle,
    /// For each tensor whether it counts.
    counted: Handle,
    /// The norm and the factor.
    found: Handle,
}

impl GlobalNorm {
    /// `frozen` tensors are left out.
    pub fn new(context: &Context, layout: &Layout, most: f64, frozen: &[usize]) -> Self {
        let zeros = |count: usize| context.upload(&vec![0f32; count]);
        let tensors = layout.tensors().len();
        let counted: Vec<u32> = (0..tensors)
            .map(|tensor| u32::from(!frozen.contains(&tensor)))
            .collect();
        Self {
            most,
            reduction: Reduction::new(context, layout),
            partials: zeros(layout.blocks() - 2),
            of_each: zeros(tensors),
            counted: context.upload(&counted),
            found: zeros(GLOBAL),
        }
    }

    /// The norm of a gradient, and the factor that brings it down to the largest.
    pub fn of(&self, context: &Context, grads: &Arena) -> Result<&Handle, Error> {
        let Self {
            partials, of_each, ..
        } = self;
        norm_of_each(context, &self.reduction, grads, partials, of_each)?;
        let layout = grads.layout();
        let (counted, found) = (&self.counted, &self.found);
        global_norm(context, layout, of_each, counted, self.most, found)?;
        Ok(found)
    }
}
