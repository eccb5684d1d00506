//! SONew's statistics.

use sonew_kernels::context::Context;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{Decay, StatisticsBuffers, reference, statistics};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, non_finite, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::{Setting, Settings};
use crate::lab::kernel_files::spec::{B, KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// Statistics of a tensor, and how a gradient enters them.
pub(in crate::lab::kernel_files) struct Statistics {
    pub g: Vec<f32>,
    pub moment: Vec<f32>,
    pub diagonal: Vec<f32>,
    pub edges: Vec<Vec<f32>>,
    pub beta1: f64,
    pub decay: Decay,
    /// Values of a row, each row a chain of its own; 0 where all are one.
    pub row: usize,
}

/// The two decays, and the sum instead of one.
pub(super) fn decay_settings() -> [Setting; 3] {
    [
        Setting::decay("beta1", "0.9", "decay of m"),
        Setting::decay("beta2", "0.999", "decay of H"),
        Setting::positive("lambda", "none", "instead of beta2: H ← H + P(g gᵀ)/λ").or_none(),
    ]
}

/// Which columns are coupled.
pub(super) fn row_setting() -> Setting {
    let meaning = "values of a row, each row a chain of its own; 0 where all are one";
    Setting::whole("row", "0", 0..=1 << 31, meaning)
}

/// How old statistics and the new product are weighed: by λ if it is given, else by β₂.
fn decay(settings: &Settings) -> Decay {
    match settings.optional_number("lambda") {
        Some(lambda) => Decay::Sum(lambda),
        None => Decay::Average(settings.number("beta2")),
    }
}

impl Statistics {
    /// Takes the gradient, the states and the decays.
    pub fn take(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let g = inputs.take("g");
        let (row, n) = (inputs.settings.whole("row"), g.len());
        if row > 0 && !(n as u64).is_multiple_of(row) {
            let expected = format!("expected a divisor of the {n} values, or 0");
            return Err(inputs.settings.refuse(format!("row={row}"), expected));
        }
        Ok(Self {
            row: row as usize,
            beta1: inputs.settings.number("beta1"),
            decay: decay(&inputs.settings),
            g,
            moment: inputs.take("moment"),
            diagonal: inputs.take("diagonal"),
            edges: inputs.take_band("edges"),
        })
    }

    /// The statistics after the gradient, in f64.
    pub fn accumulated(&self) -> reference::Statistics {
        let mut h = reference::Statistics {
            moment: wide(&self.moment),
            diagonal: wide(&self.diagonal),
            edges: self.edges.iter().map(|edge| wide(edge)).collect(),
        };
        h.accumulate_rows(self.row, &wide(&self.g), self.beta1, self.decay);
        h
    }

    /// Adds those of the oracle to what was found.
    pub fn with_exact(&self, found: Found, h: &reference::Statistics) -> Found {
        let n = self.g.len();
        found
            .exact("moment", [n], &h.moment)
            .exact("diagonal", [n], &h.diagonal)
            .exact("edges", [h.edges.len(), n], &h.edges.concat())
            .count("non_finite", non_finite(&self.g))
    }
}

impl Kernel for Statistics {
    fn spec() -> KernelSpec {
        let summary = "m ← β₁ m + (1−β₁) g; H ← β₂ H + (1−β₂) P(g gᵀ)";
        let spec = KernelSpec::new("statistics", summary)
            .needs("g", &[N])
            .state("moment", &[N])
            .state("diagonal", &[N])
            .needs("edges", &[B, N])
            .gives("moment", &[N])
            .gives("diagonal", &[N])
            .gives("edges", &[B, N])
            .counts("non_finite")
            .set(row_setting());
        decay_settings().into_iter().fold(spec, KernelSpec::set)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Self::take(inputs)
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        Ok(self.with_exact(Found::new(), &self.accumulated()))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.g.len();
        let tensor = Tensor::new(context, "statistics", n)?;
        let grads = tensor.upload(&self.g)?;
        let (moment, diagonal) = (tensor.upload(&self.moment)?, tensor.upload(&self.diagonal)?);
        let edges = tensor.upload_all(&self.edges)?;
        let sweep = Sweep::of::<F32>(context, "statistics", edges.len());
        let evidence = tensor.slots(sweep);
        let rows = tensor.rows(self.row)?;
        let buffers = StatisticsBuffers {
            grads: &grads,
            moment: &moment,
            diagonal: &diagonal,
            edges: &edges,
            rows: rows.as_ref(),
            evidence: &evidence,
        };
        let forced = Strategy::Forced(sweep);
        statistics::<F32>(context, buffers, self.beta1, self.decay, forced)?;
        Ok(Found::new()
            .values("moment", [n], tensor.read(&moment)?)
            .values("diagonal", [n], tensor.read(&diagonal)?)
            .values("edges", [edges.len(), n], tensor.read_all(&edges)?)
            .count("non_finite", tensor.noted(&evidence)?.count))
    }
}
