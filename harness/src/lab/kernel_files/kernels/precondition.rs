//! The application of SONew's factor.

use sonew_kernels::context::Context;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{PreconditionBuffers, precondition, reference};
use sonew_kernels::sweep::Strategy;

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::spec::{B, KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// A factor, and what it is applied to.
pub(in crate::lab::kernel_files) struct Precondition {
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

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            psi: inputs.take_band("psi"),
            d: inputs.take("d"),
            m: inputs.take("m"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let factor = reference::Factor {
            psi: self.psi.iter().map(|psi| wide(psi)).collect(),
            d: wide(&self.d),
            cut: Vec::new(),
        };
        let u = factor.precondition(&wide(&self.m));
        Ok(Found::new().exact("u", [u.len()], &u))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
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
