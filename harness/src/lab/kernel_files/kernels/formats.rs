//! Values in the formats of parameters: converted, rounded, and looked at.

use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{F32, Precision, PrecisionKind, PrecisionVisitor, inspect, require};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, non_finite, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// Each format by the precision whose parameters have it.
pub(super) const FORMATS: [(&str, PrecisionKind); 3] = [
    ("bf16", PrecisionKind::Bf16),
    ("f16", PrecisionKind::F16),
    ("f32", PrecisionKind::F32),
];

/// Refuses a device that lacks a format.
pub(super) fn require_format(context: &Context, format: PrecisionKind) -> Result<(), KernelError> {
    struct Has<'a>(&'a Context);
    impl PrecisionVisitor for Has<'_> {
        type Output = Result<(), KernelError>;
        fn visit<P: Precision>(self) -> Self::Output {
            require::<P>(self.0)
        }
    }
    format.accept(Has(context))
}

/// An arena in a format, widened.
pub(super) fn widened(
    tensor: &Tensor<'_>,
    format: PrecisionKind,
    narrow: &Arena,
) -> Result<Vec<f32>, KernelError> {
    let back = tensor.empty();
    format.widen(tensor.context, narrow, &back)?;
    tensor.read(&back)
}

/// Room for an arena in a format.
pub(super) fn empty(tensor: &Tensor<'_>, format: PrecisionKind) -> Arena {
    Arena::zeros(tensor.context, &tensor.layout, format.format())
}

/// Values, and the format that they are brought into.
struct Values {
    x: Vec<f32>,
    format: PrecisionKind,
}

impl Values {
    fn spec(kernel: &'static str, summary: &'static str) -> KernelSpec {
        KernelSpec::new(kernel, summary)
            .needs("x", &[N])
            .gives("y", &[N])
            .set(Setting::choice("format", &FORMATS, "the format"))
    }

    fn read(inputs: &mut Inputs) -> Self {
        Self {
            format: inputs.settings.choice("format", &FORMATS),
            x: inputs.take("x"),
        }
    }

    fn rounded(&self) -> Found {
        let mut y = self.x.clone();
        self.format.round_all(&mut y);
        Found::new().values("y", [y.len()], y)
    }
}

/// Values stored and read again.
pub(in crate::lab::kernel_files) struct Convert(Values);

impl Kernel for Convert {
    fn spec() -> KernelSpec {
        let summary = "y is x, stored in a format and read again; to nearest, ties to even";
        Values::spec("convert", summary)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self(Values::read(inputs)))
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        Ok(self.0.rounded())
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let Values { x, format } = &self.0;
        require_format(context, *format)?;
        let tensor = Tensor::new(context, "convert", x.len())?;
        let narrow = empty(&tensor, *format);
        format.narrow(context, &tensor.upload(x)?, &narrow)?;
        Ok(Found::new().values("y", [x.len()], widened(&tensor, *format, &narrow)?))
    }
}

/// A tensor that moves on the device.
pub(in crate::lab::kernel_files) struct ArenaMove(Values);

impl Kernel for ArenaMove {
    fn spec() -> KernelSpec {
        let summary =
            "y is x, rounded to a format, moved into an arena and out of it on the device";
        Values::spec("arena-move", summary)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self(Values::read(inputs)))
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        Ok(self.0.rounded())
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let Values { x, format } = &self.0;
        require_format(context, *format)?;
        let tensor = Tensor::new(context, "arena-move", x.len())?;
        let arena = empty(&tensor, *format);
        arena.write(context, 0, &context.upload(&format.encode(x)))?;
        let out: Vec<u8> = context.download("arena-move", &arena.read(context, 0)?)?;
        let mut y = format.decode(&out);
        y.truncate(x.len());
        Ok(Found::new().values("y", [x.len()], y))
    }
}

/// A gradient, and what it is multiplied with.
pub(in crate::lab::kernel_files) struct Inspect {
    g: Vec<f32>,
    factor: f64,
}

impl Kernel for Inspect {
    fn spec() -> KernelSpec {
        let summary =
            "how many values of g are not finite, which is the first (n if none), and factor · g";
        KernelSpec::new("inspect", summary)
            .needs("g", &[N])
            .gives("scaled", &[N])
            .counts("non_finite")
            .counts("first_non_finite")
            .set(Setting::number("factor", "1", "the factor"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            factor: inputs.settings.number("factor"),
            g: inputs.take("g"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let n = self.g.len();
        let scaled: Vec<_> = wide(&self.g).iter().map(|g| self.factor * g).collect();
        let first = self.g.iter().position(|g| !g.is_finite());
        Ok(Found::new()
            .exact("scaled", [n], &scaled)
            .count("non_finite", non_finite(&self.g))
            .count("first_non_finite", first.unwrap_or(n) as u64))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.g.len();
        let tensor = Tensor::new(context, "inspect", n)?;
        let (grads, scaled) = (tensor.upload(&self.g)?, tensor.empty());
        let sweep = Sweep::plain::<F32>(context, "inspect");
        let slots = tensor.slots(sweep);
        type Format = <F32 as Precision>::Params;
        inspect::<Format>(
            context,
            &grads,
            Some(&scaled),
            self.factor,
            &slots,
            Strategy::Forced(sweep),
        )?;
        let noted = tensor.noted(&slots)?;
        Ok(Found::new()
            .values("scaled", [n], tensor.read(&scaled)?)
            .count("non_finite", noted.count)
            .count("first_non_finite", noted.first))
    }
}
