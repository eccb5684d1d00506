//! What becomes of Shampoo's direction.

use sonew_kernels::context::Context;
use sonew_kernels::first_order::Hyper;
use sonew_kernels::graft::Graft;
use sonew_kernels::kronecker::{DescentBuffers, DescentRates, MeasureBuffers, descend, measure};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;

use super::SWITCH;
use super::graft_length::{length, measured, pair};
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::descending::Descending;
use crate::lab::kernel_files::found::{Found, non_finite, norm, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::{Setting, descent_settings, step_setting};
use crate::lab::kernel_files::spec::{KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// Both updates that have a momentum of their own: no graft of that name.
const GRAFTS: [(&str, Graft); 4] = [
    ("rmsprop", Graft::RmsProp),
    ("adam", Graft::Adam),
    ("sgd", Graft::Sgd),
    ("none", Graft::None),
];

/// A direction, a gradient and the states of a descent.
pub(in crate::lab::kernel_files) struct KroneckerDescent {
    w: Vec<f32>,
    g: Vec<f32>,
    direction: Vec<f32>,
    second: Option<Vec<f32>>,
    momentum: Vec<f32>,
    graft_momentum: Vec<f32>,
    graft: Graft,
    nesterov: bool,
    preconditioned: bool,
    rates: DescentRates,
    descending: Descending,
}

impl KroneckerDescent {
    /// The graft's update r, and its new second moment.
    fn graft_update(&self) -> (Vec<f64>, Option<Vec<f64>>) {
        let g = wide(&self.g);
        let Some(second) = &self.second else {
            return (g, None);
        };
        let (below, correction) = match self.graft {
            Graft::RmsProp => (norm(&g) + 1e-16, 1.0),
            Graft::Adam | Graft::Sgd | Graft::Momentum | Graft::None => {
                (1.0, self.rates.correction)
            }
        };
        let DescentRates { beta2, epsilon, .. } = self.rates;
        let pairs = g.iter().zip(wide(second)).map(|(g, d)| {
            let g = g / below;
            let d = beta2 * d + (1.0 - beta2) * g * g;
            let root = (correction * d).sqrt() + epsilon;
            (if root == 0.0 { 0.0 } else { g / root }, d)
        });
        let (update, second) = pairs.unzip();
        (update, Some(second))
    }
}

impl Kernel for KroneckerDescent {
    fn spec() -> KernelSpec {
        let summary = "s' = s ‖r‖ / (‖s‖ + 10⁻¹⁶) with r a graft's update; μ_s ← β₁ μ_s + (1−β₁) s', μ_r ← β₁ μ_r + (1−β₁) r; w ← w − η (μ_s + λ w)";
        let spec = KernelSpec::new("kronecker-descent", summary)
            .needs("w", &[N])
            .needs("g", &[N])
            .needs("direction", &[N])
            .state("momentum", &[N])
            .state("graft_momentum", &[N])
            .state("second", &[N])
            .gives("w", &[N])
            .gives("momentum", &[N])
            .gives("graft_momentum", &[N])
            .gives("second", &[N])
            .only_with("graft=rmsprop or adam")
            .counts("non_finite")
            .set(Setting::choice(
                "graft",
                &GRAFTS,
                "whose length s takes over",
            ))
            .set(Setting::choice("nesterov", &SWITCH, "Nesterov's momentum").by_default("false"))
            .set(Setting::choice(
                "preconditioned",
                &SWITCH,
                "whether w follows μ_s, or μ_r",
            ))
            .set(Setting::decay("beta1", "0.9", "decay of both momenta"))
            .set(Setting::decay(
                "beta2",
                "0.999",
                "decay of the second moment of rmsprop and adam",
            ))
            .set(Setting::non_negative(
                "graft-epsilon",
                "1e-8",
                "ε of rmsprop and adam",
            ))
            .set(step_setting());
        descent_settings().into_iter().fold(spec, KernelSpec::set)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let settings = &inputs.settings;
        let descending = settings.descent()?;
        let graft = settings.choice("graft", &GRAFTS);
        let mut rates = DescentRates {
            lr: descending.lr,
            weight_decay: descending.weight_decay,
            beta1: settings.number("beta1"),
            beta2: 0.0,
            epsilon: 0.0,
            correction: 1.0,
        };
        let has_second = matches!(graft, Graft::Adam | Graft::RmsProp);
        if has_second {
            rates.beta2 = settings.number("beta2");
            rates.epsilon = settings.number("graft-epsilon");
        }
        if graft == Graft::Adam {
            rates.correction = Hyper::correction(rates.beta2, settings.whole("step"));
        }
        Ok(Self {
            graft,
            nesterov: settings.choice("nesterov", &SWITCH),
            preconditioned: settings.choice("preconditioned", &SWITCH),
            rates,
            descending,
            w: inputs.take("w"),
            g: inputs.take("g"),
            direction: inputs.take("direction"),
            second: has_second.then(|| inputs.take("second")),
            momentum: inputs.take("momentum"),
            graft_momentum: inputs.take("graft_momentum"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let n = self.w.len();
        let (r, second) = self.graft_update();
        let s = wide(&self.direction);
        let scale = match self.graft {
            Graft::None => 1.0,
            Graft::Sgd | Graft::Momentum | Graft::Adam | Graft::RmsProp => {
                norm(&r) / (norm(&s) + 1e-16)
            }
        };
        let s: Vec<_> = s.iter().map(|s| scale * s).collect();
        let beta1 = self.rates.beta1;
        let moved = |old: &[f64], new: &[f64]| -> Vec<f64> {
            let both = old.iter().zip(new);
            both.map(|(old, new)| beta1 * old + (1.0 - beta1) * new)
                .collect()
        };
        let momentum = moved(&wide(&self.momentum), &s);
        let graft_momentum = moved(&wide(&self.graft_momentum), &r);
        let (mu, ahead) = if self.preconditioned {
            (&momentum, &s)
        } else {
            (&graft_momentum, &r)
        };
        let mu = if self.nesterov {
            moved(mu, ahead)
        } else {
            mu.clone()
        };
        let (lr, weight_decay) = (self.descending.own_lr(), self.descending.weight_decay);
        let both = wide(&self.w).into_iter().zip(&mu);
        let w: Vec<_> = both
            .map(|(w, mu)| w - lr * (mu + weight_decay * w))
            .collect();
        let found = Found::new()
            .exact("w", [n], &w)
            .exact("momentum", [n], &momentum)
            .exact("graft_momentum", [n], &graft_momentum)
            .count("non_finite", non_finite(&self.g));
        Ok(match second {
            Some(second) => found.exact("second", [n], &second),
            None => found,
        })
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.w.len();
        let tensor = Tensor::new(context, "kronecker-descent", n)?;
        let (params, grads) = (tensor.upload(&self.w)?, tensor.upload(&self.g)?);
        let direction = tensor.upload(&self.direction)?;
        let (momentum, graft_momentum) = (
            tensor.upload(&self.momentum)?,
            tensor.upload(&self.graft_momentum)?,
        );
        let second = self.second.as_ref();
        let second = second.map(|values| tensor.upload(values)).transpose()?;
        let needs_norm = self.graft == Graft::RmsProp;
        let norms = needs_norm.then(|| length(&tensor, &grads)).transpose()?;
        let sweep = Sweep::measuring::<F32>(context, "kronecker-descent");
        let strategy = Strategy::Forced(sweep);
        let (of_blocks, evidence) = (measured(&tensor, sweep), tensor.slots(sweep));
        let table = tensor.table();
        let buffers = MeasureBuffers {
            grads: &grads,
            direction: &direction,
            second: second.as_ref(),
            grad_norms: norms.as_ref(),
            norms: &of_blocks,
            tensor_of_block: &table,
            evidence: &evidence,
        };
        measure::<F32>(context, buffers, self.graft, self.rates, strategy)?;
        let lengths = pair(&tensor, &of_blocks, sweep)?;
        let preconditioned = context.upload(&[u32::from(self.preconditioned)]);
        let own_rates = tensor.rates(&self.descending)?;
        let buffers = DescentBuffers {
            params: &params,
            grads: &grads,
            direction: &direction,
            second: second.as_ref(),
            grad_norms: norms.as_ref(),
            norms: &lengths,
            tensor_of_block: &table,
            preconditioned: &preconditioned,
            rates: own_rates.as_ref(),
            momentum: &momentum,
            graft_momentum: &graft_momentum,
        };
        descend::<F32>(
            context,
            buffers,
            self.graft,
            self.nesterov,
            self.rates,
            strategy,
        )?;
        let mut found = Found::new()
            .values("w", [n], tensor.read(&params)?)
            .values("momentum", [n], tensor.read(&momentum)?)
            .values("graft_momentum", [n], tensor.read(&graft_momentum)?)
            .count("non_finite", tensor.noted(&evidence)?.count);
        if let Some(second) = &second {
            found = found.values("second", [n], tensor.read(second)?);
        }
        Ok(found)
    }
}
