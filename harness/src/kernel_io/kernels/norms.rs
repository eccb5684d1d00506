//! Norms of a tensor and of its statistics.

use sonew_kernels::context::Context;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{largest_row_sum, reference};

use super::graft_length::{length, read_length};
use crate::kernel_io::KernelIoError;
use crate::kernel_io::found::{Found, norm, wide};
use crate::kernel_io::inputs::Inputs;
use crate::kernel_io::spec::{B, KernelSpec, N, ONE};
use crate::kernel_io::table::Kernel;
use crate::kernel_io::tensor::Tensor;

/// A gradient and statistics.
pub(in crate::kernel_io) struct Norms {
    g: Vec<f32>,
    diagonal: Vec<f32>,
    edges: Vec<Vec<f32>>,
}

impl Kernel for Norms {
    fn spec() -> KernelSpec {
        KernelSpec::new(
            "norms",
            "‖g‖, and ‖H‖₁ = max_i Σ_j |H_ij| of a symmetric band matrix",
        )
        .needs("g", &[N])
        .needs("diagonal", &[N])
        .needs("edges", &[B, N])
        .gives("norm", &[ONE])
        .gives("largest_row_sum", &[ONE])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            g: inputs.take("g"),
            diagonal: inputs.take("diagonal"),
            edges: inputs.take_band("edges"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let h = reference::Statistics {
            moment: Vec::new(),
            diagonal: wide(&self.diagonal),
            edges: self.edges.iter().map(|edge| wide(edge)).collect(),
        };
        Ok(Found::new()
            .number("norm", norm(&wide(&self.g)))
            .number("largest_row_sum", h.largest_row_sum()))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let tensor = Tensor::new(context, "norms", self.g.len())?;
        let grads = tensor.upload(&self.g)?;
        let of_g = length(&tensor, &grads)?;
        let (diagonal, edges) = (
            tensor.upload(&self.diagonal)?,
            tensor.upload_all(&self.edges)?,
        );
        let (reduction, partials) = tensor.reduction();
        let out = tensor.zeros(1);
        largest_row_sum::<F32>(context, &reduction, &diagonal, &edges, &partials, &out)?;
        let rows: Vec<f32> = context.download("norms", &out)?;
        Ok(Found::new()
            .number("norm", read_length(&tensor, &of_g)?)
            .values("largest_row_sum", [1], rows))
    }
}
