//! What the autoencoder needs beyond a matrix product.

use sonew_kernels::context::Context;
use sonew_kernels::network::{activation, dense, loss, reference};

use super::SWITCH;
use crate::kernel_io::KernelIoError;
use crate::kernel_io::found::{Found, wide};
use crate::kernel_io::inputs::Inputs;
use crate::kernel_io::settings::Setting;
use crate::kernel_io::spec::{KernelSpec, M, N, ONE};
use crate::kernel_io::table::Kernel;

/// Sums of a layer, one row an image.
pub(in crate::kernel_io) struct Activation {
    shape: [usize; 2],
    z: Vec<f32>,
    bias: Vec<f32>,
    linear: bool,
}

impl Kernel for Activation {
    fn spec() -> KernelSpec {
        KernelSpec::new("activation", "a = tanh(z + b), or z + b on a linear layer")
            .needs("z", &[M, N])
            .needs("b", &[N])
            .gives("a", &[M, N])
            .set(Setting::choice("linear", &SWITCH, "no tanh").by_default("false"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            z: inputs.take("z"),
            bias: inputs.take("b"),
            linear: inputs.settings.choice("linear", &SWITCH),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let a = reference::activation(&wide(&self.z), &wide(&self.bias), self.linear);
        Ok(Found::new().exact("a", self.shape, &a))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let [rows, columns] = self.shape;
        let (z, bias) = (context.upload(&self.z), context.upload(&self.bias));
        activation::activate(context, &z, &bias, rows, columns, self.linear)?;
        Ok(Found::new().values("a", self.shape, context.download("activation", &z)?))
    }
}

/// Derivatives by activations, and the activations.
pub(in crate::kernel_io) struct BackwardTanh {
    shape: [usize; 2],
    delta: Vec<f32>,
    a: Vec<f32>,
}

impl Kernel for BackwardTanh {
    fn spec() -> KernelSpec {
        KernelSpec::new(
            "backward-tanh",
            "δ ← δ (1 − a²), the derivative of tanh at a = tanh(z)",
        )
        .needs("delta", &[M, N])
        .needs("a", &[M, N])
        .gives("delta", &[M, N])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            delta: inputs.take("delta"),
            a: inputs.take("a"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let both = wide(&self.delta).into_iter().zip(wide(&self.a));
        let delta: Vec<_> = both.map(|(d, a)| d * (1.0 - a * a)).collect();
        Ok(Found::new().exact("delta", self.shape, &delta))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let [rows, columns] = self.shape;
        let (delta, a) = (context.upload(&self.delta), context.upload(&self.a));
        activation::backward_tanh(context, &delta, &a, rows, columns)?;
        let delta = context.download("backward-tanh", &delta)?;
        Ok(Found::new().values("delta", self.shape, delta))
    }
}

/// Derivatives by the sums of a layer.
pub(in crate::kernel_io) struct ColumnSums {
    shape: [usize; 2],
    delta: Vec<f32>,
}

impl Kernel for ColumnSums {
    fn spec() -> KernelSpec {
        KernelSpec::new("column-sums", "the gradient of a bias: Σ_i δ_ij")
            .needs("delta", &[M, N])
            .gives("sums", &[N])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            delta: inputs.take("delta"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let columns = self.shape[1];
        let mut sums = vec![0.0; columns];
        for (at, delta) in wide(&self.delta).into_iter().enumerate() {
            sums[at % columns] += delta;
        }
        Ok(Found::new().exact("sums", [columns], &sums))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let [rows, columns] = self.shape;
        let zeros = |count: usize| context.upload(&vec![0f32; count]);
        let delta = context.upload(&self.delta);
        let (scratch, sums) = (
            zeros(dense::column_sums_scratch(rows, columns)),
            zeros(columns),
        );
        dense::column_sums(context, &delta, &scratch, &sums, rows, columns)?;
        let sums = context.download("column-sums", &sums)?;
        Ok(Found::new().values("sums", [columns], sums))
    }
}

/// Logits and what they should be, one row an image.
pub(in crate::kernel_io) struct Loss {
    shape: [usize; 2],
    z: Vec<f32>,
    targets: Vec<f32>,
    scale: f64,
}

impl Kernel for Loss {
    fn spec() -> KernelSpec {
        let summary = "sigmoid cross-entropy of logits, summed over a row and averaged over rows: ℓ = Σ max(z, 0) − z t + ln(1 + e^−|z|); δ = (σ(z) − t) / m";
        KernelSpec::new("loss", summary)
            .needs("z", &[M, N])
            .needs("targets", &[M, N])
            .gives("loss", &[ONE])
            .gives("delta", &[M, N])
            .set(Setting::number("scale", "1", "a factor of δ"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelIoError> {
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            scale: inputs.settings.number("scale"),
            z: inputs.take("z"),
            targets: inputs.take("targets"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelIoError> {
        let (z, targets) = (wide(&self.z), wide(&self.targets));
        let (loss, delta) = reference::cross_entropy(&z, &targets, self.shape[0]);
        let delta: Vec<_> = delta.iter().map(|d| self.scale * d).collect();
        Ok(Found::new()
            .number("loss", loss)
            .exact("delta", self.shape, &delta))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelIoError> {
        let [rows, columns] = self.shape;
        let (z, targets) = (context.upload(&self.z), context.upload(&self.targets));
        let partials = context.upload(&vec![0f32; rows * loss::LANES]);
        let scale = Some(self.scale);
        loss::loss(context, &z, &targets, &partials, rows, columns, scale)?;
        Ok(Found::new()
            .number("loss", loss::mean_loss(context, &partials, rows)?)
            .values("delta", self.shape, context.download("loss", &z)?))
    }
}
