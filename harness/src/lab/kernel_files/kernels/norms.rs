//! Norms of a tensor and of its statistics.

use sonew_kernels::context::Context;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{largest_row_sum, reference};

use super::graft_length::{length, read_length};
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, norm, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::spec::{B, KernelSpec, N, ONE};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// A gradient and statistics.
pub(in crate::lab::kernel_files) struct Norms {
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

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            g: inputs.take("g"),
            diagonal: inputs.take("diagonal"),
            edges: inputs.take_band("edges"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let h = reference::Statistics {
            moment: Vec::new(),
            diagonal: wide(&self.diagonal),
            edges: self.edges.iter().map(|edge| wide(edge)).collect(),
        };
        Ok(Found::new()
            .number("norm", norm(&wide(&self.g)))
            .number("largest_row_sum", h.largest_row_sum()))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
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
