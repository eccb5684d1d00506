//! The first-order rules.

use std::marker::PhantomData;

use sonew_kernels::context::Context;
use sonew_kernels::first_order::{
    self, Buffers, FirstOrder, Hyper, Number, RuleVisitor, descend, each_rule,
};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::descending::Descending;
use crate::lab::kernel_files::found::{Found, non_finite, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::{Setting, descent_settings, step_setting};
use crate::lab::kernel_files::spec::{KernelSpec, N};
use crate::lab::kernel_files::table::{Entry, Kernel};
use crate::lab::kernel_files::tensor::Tensor;

/// One step of the rule `L`.
struct Descent<L> {
    w: Vec<f32>,
    g: Vec<f32>,
    states: Vec<Vec<f32>>,
    hyper: Hyper,
    descending: Descending,
    rule: PhantomData<L>,
}

/// Every rule.
pub(in crate::lab::kernel_files) fn entries() -> Vec<Entry> {
    struct Declared;
    impl RuleVisitor for Declared {
        type Output = Entry;
        fn visit<L: FirstOrder>(&mut self) -> Entry {
            Entry::of::<Descent<L>>()
        }
    }
    each_rule(&mut Declared)
}

fn setting(number: &Number) -> Setting {
    match number {
        Number::Beta1 => Setting::decay("beta1", "0.9", "β₁, the decay of the momentum"),
        Number::Beta2 => Setting::decay("beta2", "0.999", "β₂, the decay of the second moment"),
        Number::Epsilon => Setting::non_negative("epsilon", "1e-8", "ε"),
        Number::Step => step_setting(),
    }
}

impl<L> Descent<L> {
    fn found(&self) -> Found {
        Found::new().count("non_finite", non_finite(&self.g))
    }
}

impl<L: FirstOrder> Kernel for Descent<L> {
    fn spec() -> KernelSpec {
        let mut spec = KernelSpec::new(L::NAME, L::FORMULA)
            .needs("w", &[N])
            .needs("g", &[N])
            .gives("w", &[N]);
        for state in L::STATES {
            spec = spec.state(state, &[N]).gives(state, &[N]);
        }
        spec = spec.counts("non_finite");
        let numbers = L::NUMBERS.iter().map(setting);
        for setting in descent_settings().into_iter().chain(numbers) {
            spec = spec.set(setting);
        }
        spec
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let settings = &inputs.settings;
        let descending = settings.descent()?;
        let hyper = Hyper {
            lr: descending.lr,
            weight_decay: descending.weight_decay,
            beta1: settings.number_or("beta1", 0.0),
            beta2: settings.number_or("beta2", 0.0),
            epsilon: settings.number_or("epsilon", 0.0),
            step: settings.whole_or("step", 1),
        };
        Ok(Self {
            w: inputs.take("w"),
            g: inputs.take("g"),
            states: L::STATES.iter().map(|name| inputs.take(name)).collect(),
            hyper,
            descending,
            rule: PhantomData,
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let (mut w, n) = (wide(&self.w), self.w.len());
        let mut states: Vec<_> = self.states.iter().map(|state| wide(state)).collect();
        let hyper = Hyper {
            lr: self.descending.own_lr(),
            ..self.hyper
        };
        first_order::reference::<L>(&mut w, &wide(&self.g), &mut states, hyper);
        let mut found = self.found().exact("w", [n], &w);
        for (name, state) in L::STATES.iter().zip(&states) {
            found = found.exact(name, [n], state);
        }
        Ok(found)
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.w.len();
        let tensor = Tensor::new(context, L::NAME, n)?;
        let (params, grads) = (tensor.upload(&self.w)?, tensor.upload(&self.g)?);
        let states = tensor.upload_all(&self.states)?;
        let sweep = Sweep::of::<F32>(context, L::NAME, 0);
        let evidence = tensor.slots(sweep);
        let rates = tensor.rates(&self.descending)?;
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            rates: rates.as_ref(),
            evidence: &evidence,
        };
        let forced = Strategy::Forced(sweep);
        descend::<L, F32>(context, buffers, self.hyper, forced)?;
        let mut found = Found::new()
            .values("w", [n], tensor.read(&params)?)
            .count("non_finite", tensor.noted(&evidence)?.count);
        for (name, state) in L::STATES.iter().zip(&states) {
            found = found.values(name, [n], tensor.read(state)?);
        }
        Ok(found)
    }
}
