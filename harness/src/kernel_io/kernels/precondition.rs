//! The application of SONew's factor.

use sonew_kernels::context::Context;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{PreconditionBuffers, precondition, reference};
use sonew_kernels::sweep::Strategy;

use crate::kernel_io::KernelIoError;
use crate::kernel_io::found::{Found, wide};
use crate::kernel_io::inputs::Inputs;
use crate::kernel_io::spec::{B, KernelSpec, N};
use crate::kernel_io::table::Kernel;
use crate::kernel_io::tensor::Tensor;

/// A factor, and what it is applied to.
pub(in crate::kernel_io) struct Precondition {
    psi: Vec<Vec<f32>>,
    d: Vec<f32>,
    m: Vec<f32>,
}

impl Kernel for Precondition {
    fn spec() -> KernelSpec {
        KernelSpec::new("precondition", "u = L D Lᵀ m")
            .needs("psi", &[B, N])
            .needs("d", &[N])
            .needs("m", &[N])
            .gives("u", &[N])
            .passes_over(&["pivots_cut", "first_cut", "pivots_out_of_range"])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            psi: inputs.take_band("psi"),
            d: inputs.take("d"),
            m: inputs.take("m"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let factor = reference::Factor {
            psi: self.psi.iter().map(|psi| wide(psi)).collect(),
            d: wide(&self.d),
            cut: Vec::new(),
        };
        let u = factor.precondition(&wide(&self.m));
        Ok(Found::new().exact("u", [u.len()], &u))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let n = self.m.len();
        let tensor = Tensor::new(context, "precondition", n)?;
        let psi = tensor.upload_all(&self.psi)?;
        let (d, moment) = (tensor.upload(&self.d)?, tensor.upload(&self.m)?);
        let direction = tensor.empty();
        let buffers = PreconditionBuffers {
            psi: &psi,
            d: &d,
            moment: &moment,
            direction: &direction,
        };
        precondition::<F32>(context, &tensor.segments, buffers, Strategy::Inferred)?;
        Ok(Found::new().values("u", [n], tensor.read(&direction)?))
    }
}
