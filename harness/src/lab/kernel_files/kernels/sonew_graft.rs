//! A step of SONew with the length of another method's.

use sonew_kernels::context::Context;
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::PerTensor;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{GraftBuffers, apply_graft};

use super::graft_length::{length, measured, pair};
use super::sonew_step::{Exact, Launches, SonewStep};
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, norm, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

const GRAFTS: [(&str, Graft); 4] = [
    ("adam", Graft::Adam),
    ("sgd", Graft::Sgd),
    ("momentum", Graft::Momentum),
    ("rmsprop", Graft::RmsProp),
];

/// A step, and whose length it takes over.
pub(in crate::lab::kernel_files) struct SonewGraft {
    step: SonewStep,
    graft: Graft,
    epsilon: f64,
    /// The second moment of the normalised RMSProp, and its decay.
    second: Option<(Vec<f32>, f64)>,
}

impl SonewGraft {
    /// The update whose length is taken over, and its new second moment.
    fn other(&self, exact: &Exact) -> (Vec<f64>, Option<Vec<f64>>) {
        let g = wide(&self.step.statistics.g);
        let corrections = self.step.corrections;
        let moment = exact.h.moment.iter().map(|m| corrections.0 * m);
        let over = |x: f64, root: f64| {
            let below = root + self.epsilon;
            if below > 0.0 { x / below } else { 0.0 }
        };
        match (self.graft, &self.second) {
            (Graft::Sgd, _) => (g, None),
            (Graft::None | Graft::Momentum, _) => (moment.collect(), None),
            (Graft::Adam, _) => {
                let seconds = exact.h.diagonal.iter().map(|v| corrections.1 * v);
                let both = moment.zip(seconds);
                (both.map(|(m, v)| over(m, v.sqrt())).collect(), None)
            }
            (Graft::RmsProp, second) => {
                let below = norm(&g) + 1e-16;
                let (old, decay) = second
                    .as_ref()
                    .map_or((vec![0.0; g.len()], 0.0), |(old, decay)| {
                        (wide(old), *decay)
                    });
                let scaled = g.iter().map(|g| g / below);
                let pairs = scaled.zip(old).map(|(x, d)| {
                    let d = decay * d + (1.0 - decay) * x * x;
                    (over(x, d.sqrt()), d)
                });
                let (update, second) = pairs.unzip();
                (update, Some(second))
            }
        }
    }
}

impl Kernel for SonewGraft {
    fn spec() -> KernelSpec {
        let summary = "as sonew-step, but w ← w − η (u ‖r‖ / (‖u‖ + 10⁻¹²) + λ w) with r another method's update";
        SonewStep::declared("sonew-graft", summary)
            .state("second", &[N])
            .gives("second", &[N])
            .only_with("graft=rmsprop")
            .set(Setting::choice("graft", &GRAFTS, "the other method"))
            .set(Setting::non_negative(
                "graft-epsilon",
                "1e-8",
                "ε of adam and rmsprop",
            ))
            .set(Setting::decay(
                "graft-decay",
                "0.999",
                "decay of rmsprop's second moment",
            ))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let step = SonewStep::take(inputs)?;
        let settings = &inputs.settings;
        let graft = settings.choice("graft", &GRAFTS);
        if graft == Graft::RmsProp && step.launches == Launches::One {
            let expected = "expected two with graft=rmsprop, which needs the gradient's norm first";
            return Err(settings.refuse("launches=one".into(), expected.into()));
        }
        let epsilon = match graft {
            Graft::Adam | Graft::RmsProp => settings.number("graft-epsilon"),
            Graft::None | Graft::Sgd | Graft::Momentum => 0.0,
        };
        let second = if graft == Graft::RmsProp {
            let decay = settings.number("graft-decay");
            Some((inputs.take("second"), decay))
        } else {
            None
        };
        Ok(Self {
            step,
            graft,
            epsilon,
            second,
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let exact = self.step.exact();
        let (other, second) = self.other(&exact);
        let length = norm(&other) / (norm(&exact.u) + 1e-12);
        let found = self.step.descended(&exact, length);
        Ok(match second {
            Some(second) => found.exact("second", [second.len()], &second),
            None => found,
        })
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let step = &self.step;
        let n = step.w.len();
        let tensor = Tensor::new(context, "sonew-graft", n)?;
        let (params, grads) = (tensor.upload(&step.w)?, tensor.upload(&step.statistics.g)?);
        let sweep = step.blueprint(context).sweep;
        let direction = tensor.empty();
        let norms = measured(&tensor, sweep);
        let table = tensor.table();
        let (mut grad_norms, mut second) = (None, None);
        let mut decay = 0.0;
        if let Some((values, of_second)) = &self.second {
            second = Some(tensor.upload(values)?);
            grad_norms = Some(length(&tensor, &grads)?);
            decay = *of_second;
        }
        let stage = GraftBuffers {
            graft: self.graft,
            epsilon: self.epsilon,
            decay,
            direction: &direction,
            norms: &norms,
            grads: matches!(self.graft, Graft::RmsProp | Graft::Sgd).then_some(&grads),
            grad_norms: grad_norms.as_ref().map(|values| PerTensor {
                values,
                tensor_of_block: &table,
            }),
            second: second.as_ref(),
        };
        let stepped = step.launch(&tensor, &params, &grads, Some(stage))?;
        let step_rates = tensor.rates(&step.descending)?;
        apply_graft::<F32>(
            context,
            &params,
            &direction,
            &pair(&tensor, &norms, sweep)?,
            &table,
            step.descending.lr,
            step.descending.weight_decay,
            step_rates.as_ref(),
            Strategy::<Sweep>::Inferred,
        )?;
        let mut found = Found::new().values("w", [n], tensor.read(&params)?);
        if let Some(second) = &second {
            found = found.values("second", [n], tensor.read(second)?);
        }
        Ok(stepped.read(&tensor, found, n)?)
    }
}
