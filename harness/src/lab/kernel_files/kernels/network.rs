//! The autoencoder's layers, of which one hidden layer has every part.

use sonew_kernels::arena::Layout;
use sonew_kernels::context::Context;
use sonew_kernels::network::{DenseLayers, Layer, reference};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::SWITCH;
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{K, KernelSpec, M, N, ONE};
use crate::lab::kernel_files::table::Kernel;

/// Images, one a row, and the weights and biases of two layers.
pub(in crate::lab::kernel_files) struct Dense {
    /// Images, pixels, hidden units.
    sides: [usize; 3],
    x: Vec<f32>,
    /// w0, b0, w1, b1.
    tensors: [Vec<f32>; 4],
    linear: bool,
    scale: f64,
}

impl Dense {
    fn found(&self, loss: f64, gradients: [Vec<f32>; 4]) -> Found {
        let [_, n, k] = self.sides;
        let [w0, b0, w1, b1] = gradients;
        Found::new()
            .number("loss", loss)
            .values("dw0", [k, n], w0)
            .values("db0", [k], b0)
            .values("dw1", [n, k], w1)
            .values("db1", [n], b1)
    }
}

impl Kernel for Dense {
    fn spec() -> KernelSpec {
        let summary = "loss and gradients of an autoencoder: a = tanh(x W0ᵀ + b0), z = a W1ᵀ + b1, loss = Σ max(z, 0) − z x + ln(1 + e^−|z|) a row, in the mean of the rows";
        KernelSpec::new("dense-layers", summary)
            .needs("x", &[M, N])
            .needs("w0", &[K, N])
            .needs("b0", &[K])
            .needs("w1", &[N, K])
            .needs("b1", &[N])
            .gives("loss", &[ONE])
            .gives("dw0", &[K, N])
            .gives("db0", &[K])
            .gives("dw1", &[N, K])
            .gives("db1", &[N])
            .set(Setting::choice("linear", &SWITCH, "no tanh").by_default("false"))
            .set(Setting::number("scale", "1", "a factor of the gradients"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            sides: [M, N, K].map(|axis| inputs.size(axis)),
            x: inputs.take("x"),
            tensors: ["w0", "b0", "w1", "b1"].map(|name| inputs.take(name)),
            linear: inputs.settings.choice("linear", &SWITCH),
            scale: inputs.settings.number("scale"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, n, k] = self.sides;
        let [w0, b0, w1, b1] = &self.tensors;
        let layer = |inputs: usize, weight: &[f32], bias: &[f32], linear: bool| reference::Layer {
            inputs,
            weight: wide(weight),
            bias: wide(bias),
            linear,
        };
        let layers = [layer(n, w0, b0, self.linear), layer(k, w1, b1, true)];
        let x = wide(&self.x);
        let (loss, gradients) = reference::loss_and_gradients(&layers, &x, &x, m);
        let scaled = |values: &[f64]| values.iter().map(|x| self.scale * x).collect::<Vec<_>>();
        let mut found = Found::new().number("loss", loss);
        let names = [("dw0", "db0", k, n), ("dw1", "db1", n, k)];
        for ((weight, bias, rows, columns), (dw, db)) in names.into_iter().zip(&gradients) {
            found =
                found
                    .exact(weight, [rows, columns], &scaled(dw))
                    .exact(bias, [rows], &scaled(db));
        }
        Ok(found)
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, n, k] = self.sides;
        let layout = Layout::new(&self.tensors.each_ref().map(Vec::len))?;
        let start = |tensor: usize| layout.tensors()[tensor].start;
        let layer = |inputs, outputs, linear, tensor| Layer {
            inputs,
            outputs,
            linear,
            weight: start(tensor),
            bias: start(tensor + 1),
        };
        let layers = vec![layer(n, k, self.linear, 0), layer(k, n, true, 2)];
        let arena = layout.arena_len();
        let precision = PrecisionKind::F32;
        let auto = Multiplication::Auto;
        let mut dense = DenseLayers::new(context, layers, precision, arena, m, auto)?;
        let params = context.upload(&layout.gather(&self.tensors.each_ref().map(Vec::as_slice))?);
        let gradient = context.upload(&vec![0f32; arena]);
        let images = context.upload(&self.x);
        dense.place(context, &images, m)?;
        dense.forward(context, &params, m, Some(self.scale), 0)?;
        dense.backward(context, &params, &gradient)?;
        let loss = dense.mean_losses(context, &[m])?.iter().sum();
        let values: Vec<f32> = context.download("dense-layers", &gradient)?;
        let own = |tensor: usize| values[layout.tensors()[tensor].clone()].to_vec();
        Ok(self.found(loss, [0, 1, 2, 3].map(own)))
    }
}
