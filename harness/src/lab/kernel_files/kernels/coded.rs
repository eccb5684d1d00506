//! What is between codes: rows of a table and its gradient, and softmax cross-entropy.

use sonew_kernels::context::Context;
use sonew_kernels::network::{CodedRows, Embedding, Logits, reference};
use sonew_kernels::precision::PrecisionKind;

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{K, KernelSpec, M, N, P};
use crate::lab::kernel_files::table::Kernel;

/// Rows of codes, a table, and the gradient of what they stand for.
pub(in crate::lab::kernel_files) struct Table {
    /// Rows of codes, places of each, rows of the table, values of each.
    sides: [usize; 4],
    codes: Vec<u32>,
    table: Vec<f32>,
    delta: Vec<f32>,
}

impl Kernel for Table {
    fn spec() -> KernelSpec {
        let summary = "rows of a table, x = table[codes], and the gradient of the table, dtable[v] = Σ delta where codes = v";
        KernelSpec::new("embedding", summary)
            .needs("codes", &[M, P])
            .needs("table", &[K, N])
            .needs("delta", &[M, P, N])
            .gives("x", &[M, P, N])
            .gives("dtable", &[K, N])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let sides = [M, P, K, N].map(|axis| inputs.size(axis));
        Ok(Self {
            sides,
            codes: inputs.take_indices("codes", sides[2])?,
            table: inputs.take("table"),
            delta: inputs.take("delta"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, p, k, n] = self.sides;
        let x = reference::look_up(&wide(&self.table), n, &self.codes);
        let gradient = reference::table_gradient(k * n, n, &self.codes, &wide(&self.delta));
        Ok(Found::new()
            .exact("x", [m, p, n], &x)
            .exact("dtable", [k, n], &gradient))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, p, k, n] = self.sides;
        let table = Embedding {
            codes: k,
            width: n,
            start: 0,
        };
        let (batch, stride) = ([0, m], p * n);
        let codes = CodedRows::new(context, &self.codes, p, &vec![0; m])?;
        let params = context.upload(&self.table);
        let delta = context.upload(&self.delta);
        let x = context.upload(&vec![0f32; self.delta.len()]);
        let gradient = context.upload(&vec![0f32; self.table.len()]);
        table.look_up(context, &params, &codes, batch, &x, stride)?;
        table.gradient(context, &codes, batch, &delta, stride, &gradient)?;
        Ok(Found::new()
            .values("x", [m, p, n], context.download("embedding", &x)?)
            .values("dtable", [k, n], context.download("embedding", &gradient)?))
    }
}

/// Rows of logits, and the class of each.
pub(in crate::lab::kernel_files) struct Softmax {
    /// Rows and columns.
    sides: [usize; 2],
    z: Vec<f32>,
    classes: Vec<u32>,
    scale: f64,
}

impl Kernel for Softmax {
    fn spec() -> KernelSpec {
        let summary = "loss = ln Σ e^z − z[class] a row, and its gradient dz = scale · (e^z / Σ e^z − [column = class])";
        KernelSpec::new("softmax-cross-entropy", summary)
            .needs("z", &[M, N])
            .needs("classes", &[M])
            .gives("loss", &[M])
            .gives("dz", &[M, N])
            .set(Setting::number("scale", "1", "a factor of the gradient"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let sides = [M, N].map(|axis| inputs.size(axis));
        Ok(Self {
            sides,
            z: inputs.take("z"),
            classes: inputs.take_indices("classes", sides[1])?,
            scale: inputs.settings.number("scale"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, n] = self.sides;
        let (losses, gradient) = reference::softmax_cross_entropy(&wide(&self.z), &self.classes);
        let scaled: Vec<f64> = gradient.iter().map(|g| self.scale * g).collect();
        Ok(Found::new()
            .exact("loss", [m], &losses)
            .exact("dz", [m, n], &scaled))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [rows, columns] = self.sides;
        let classes = CodedRows::new(context, &vec![0; rows], 1, &self.classes)?;
        let buffer = context.upload(&self.z);
        let losses = context.upload(&vec![0f32; rows]);
        let logits = Logits {
            buffer: &buffer,
            rows,
            columns,
            stride: columns,
        };
        let weight = Some(self.scale);
        logits.softmax(context, PrecisionKind::F32, (&classes, 0), weight, &losses)?;
        let gradient = context.download("softmax-cross-entropy", &buffer)?;
        Ok(Found::new()
            .values(
                "loss",
                [rows],
                context.download("softmax-cross-entropy", &losses)?,
            )
            .values("dz", [rows, columns], gradient))
    }
}
