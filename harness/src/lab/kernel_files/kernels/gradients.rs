//! Gradients clipped and accumulated, and the average of the weights.

use sonew_kernels::context::Context;
use sonew_kernels::first_order::{average_weights, average_weights_reference};
use sonew_kernels::gradients::{Clipping, accumulate, clip, reference};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{GLOBAL, global_norm};
use sonew_kernels::precision::F32;

use super::graft_length::length;
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, N, ONE};
use crate::lab::kernel_files::table::{Entry, Kernel};
use crate::lab::kernel_files::tensor::Tensor;

pub(super) fn entries() -> [Entry; 4] {
    [
        Entry::of::<GlobalNorm>(),
        Entry::of::<Clip>(),
        Entry::of::<Accumulate>(),
        Entry::of::<AverageWeights>(),
    ]
}

fn sweep(context: &Context, kernel: &'static str) -> Strategy<Sweep> {
    Strategy::Forced(Sweep::plain::<F32>(context, kernel))
}

/// A gradient of one tensor, and how long it may be.
struct GlobalNorm {
    g: Vec<f32>,
    most: f64,
}

impl Kernel for GlobalNorm {
    fn spec() -> KernelSpec {
        let summary = "‖g‖, and s = c / ‖g‖ where that is less than 1, otherwise 1";
        KernelSpec::new("global-norm", summary)
            .needs("g", &[N])
            .gives("norm", &[ONE])
            .gives("factor", &[ONE])
            .set(Setting::positive("most", "1", "c, the largest norm"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            most: inputs.settings.number("most"),
            g: inputs.take("g"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let norm = reference::global_norm(&[wide(&self.g)], &[true]);
        Ok(Found::new()
            .number("norm", norm)
            .number("factor", reference::clip_factor(norm, self.most)))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let tensor = Tensor::new(context, "global-norm", self.g.len())?;
        let of_g = length(&tensor, &tensor.upload(&self.g)?)?;
        let (counted, out) = (context.upload(&[1u32]), tensor.zeros(GLOBAL));
        global_norm(context, &tensor.layout, &of_g, &counted, self.most, &out)?;
        let pair: Vec<f32> = context.download("global-norm", &out)?;
        Ok(Found::new()
            .values("norm", [1], vec![pair[0]])
            .values("factor", [1], vec![pair[1]]))
    }
}

/// A gradient, and what it is clipped by.
struct Clip {
    g: Vec<f32>,
    factor: f64,
    bound: Option<f64>,
}

impl Kernel for Clip {
    fn spec() -> KernelSpec {
        let summary = "s · min(max(g, −v), v); what is not finite stays";
        KernelSpec::new("clip", summary)
            .needs("g", &[N])
            .gives("clipped", &[N])
            .set(Setting::number("factor", "1", "s"))
            .set(Setting::positive("bound", "none", "v").or_none())
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            factor: inputs.settings.number("factor"),
            bound: inputs.settings.optional_number("bound"),
            g: inputs.take("g"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let clipped = |&g: &f64| reference::clipped(g, self.bound, self.factor);
        let all: Vec<f64> = wide(&self.g).iter().map(clipped).collect();
        Ok(Found::new().exact("clipped", [all.len()], &all))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.g.len();
        let tensor = Tensor::new(context, "clip", n)?;
        let (grads, to) = (tensor.upload(&self.g)?, tensor.empty());
        // Behind the norm, which clipping does not read.
        let global = context.upload(&[0.0, self.factor as f32]);
        let clipping = Clipping {
            bound: self.bound,
            global: Some(&global),
        };
        clip(context, Some(&grads), &to, clipping, sweep(context, "clip"))?;
        Ok(Found::new().values("clipped", [n], tensor.read(&to)?))
    }
}

/// A gradient, and the mean that it is added to.
struct Accumulate {
    g: Vec<f32>,
    /// Absent with the first.
    mean: Option<Vec<f32>>,
    of: u64,
}

impl Kernel for Accumulate {
    fn spec() -> KernelSpec {
        let summary =
            "the mean of K gradients in the making: mean + g / K, or g / K without a mean";
        KernelSpec::new("accumulate", summary)
            .needs("g", &[N])
            .may_have("mean", &[N])
            .gives("mean", &[N])
            .set(Setting::whole("of", "4", 1..=1 << 24, "K"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            of: inputs.settings.whole("of"),
            g: inputs.take("g"),
            mean: inputs.take_if_given("mean"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let (g, first) = (wide(&self.g), self.mean.is_none());
        let mut mean = self
            .mean
            .as_ref()
            .map_or_else(|| vec![0.0; g.len()], |it| wide(it));
        reference::accumulate(&mut mean, &g, self.of, first);
        Ok(Found::new().exact("mean", [mean.len()], &mean))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.g.len();
        let tensor = Tensor::new(context, "accumulate", n)?;
        let grads = tensor.upload(&self.g)?;
        let mean = match &self.mean {
            Some(mean) => tensor.upload(mean)?,
            None => tensor.empty(),
        };
        let (first, sweep) = (self.mean.is_none(), sweep(context, "accumulate"));
        accumulate(context, &grads, &mean, self.of, first, sweep)?;
        Ok(Found::new().values("mean", [n], tensor.read(&mean)?))
    }
}

/// Weights, and their average.
struct AverageWeights {
    w: Vec<f32>,
    /// Absent at the first time.
    average: Option<Vec<f32>>,
    decay: f64,
}

impl Kernel for AverageWeights {
    fn spec() -> KernelSpec {
        let summary = "the moving average of the weights: β·average + (1−β)·w, or w without one";
        KernelSpec::new("average-weights", summary)
            .needs("w", &[N])
            .may_have("average", &[N])
            .gives("average", &[N])
            .set(Setting::decay("decay", "0.999", "β"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            decay: inputs.settings.number("decay"),
            w: inputs.take("w"),
            average: inputs.take_if_given("average"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let (w, first) = (wide(&self.w), self.average.is_none());
        let mut average = self
            .average
            .as_ref()
            .map_or_else(|| vec![0.0; w.len()], |it| wide(it));
        average_weights_reference(&mut average, &w, self.decay, first);
        Ok(Found::new().exact("average", [average.len()], &average))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.w.len();
        let tensor = Tensor::new(context, "average-weights", n)?;
        let weights = tensor.upload(&self.w)?;
        let averages = match &self.average {
            Some(average) => tensor.upload(average)?,
            None => tensor.empty(),
        };
        let (first, sweep) = (self.average.is_none(), sweep(context, "average-weights"));
        average_weights(context, &weights, &averages, self.decay, first, sweep)?;
        Ok(Found::new().values("average", [n], tensor.read(&averages)?))
    }
}
