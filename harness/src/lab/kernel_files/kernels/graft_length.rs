//! Lengths of tensors on the device, which grafts and norms are made of: the one place here that knows in what form the kernels
//! keep them.

use cubecl::server::Handle;
use sonew_kernels::arena::Arena;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::launch::Sweep;
use sonew_kernels::norms::norm_per_tensor;
use sonew_kernels::precision::F32;

use crate::lab::kernel_files::tensor::Tensor;

/// The length of an arena's tensor, as kernels take it.
pub(super) fn length(tensor: &Tensor<'_>, values: &Arena) -> Result<Handle, KernelError> {
    let (reduction, partials) = tensor.reduction();
    let out = tensor.zeros(1);
    norm_per_tensor::<F32>(tensor.context, &reduction, values, &partials, &out)?;
    Ok(out)
}

/// The length that such a buffer holds.
pub(super) fn read_length(tensor: &Tensor<'_>, length: &Handle) -> Result<f64, KernelError> {
    let held: Vec<f32> = tensor.context.download("norms", length)?;
    Ok(f64::from(held[0]))
}

/// The pair of lengths of a tensor, from those that the launch of a sweep has measured.
pub(super) fn pair(
    tensor: &Tensor<'_>,
    measured: &Handle,
    sweep: Sweep,
) -> Result<Handle, KernelError> {
    let (reduction, _) = tensor.reduction();
    let out = tensor.zeros(2);
    reduction.pairs_of_norms(tensor.context, measured, sweep, &out)?;
    Ok(out)
}

/// Room for what the launch of a sweep measures.
pub(super) fn measured(tensor: &Tensor<'_>, sweep: Sweep) -> Handle {
    tensor.zeros(sweep.norms(&tensor.layout))
}
