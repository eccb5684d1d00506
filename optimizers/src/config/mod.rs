//! What an optimizer is made from: serde structs with documented defaults and checked ranges.

use std::rc::Rc;

use cubecl::Runtime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{LARGEST_ORDER, Limits, Method, Ridge};
use sonew_kernels::segments::{GAP, Segments};
use sonew_kernels::sonew::{EdgeRemoval, Graft};

use crate::first_order::{self, FirstOrderKind};
use crate::{Error, Optimizer, shampoo, sonew};

/// Settings of a first-order optimizer. A rule ignores what its formula does not name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FirstOrderConfig {
    /// Which rule.
    pub rule: FirstOrderKind,
    /// Decay of the momentum, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// ε ≥ 0; outside the root for Adam, inside for Adagrad and RMSProp.
    pub epsilon: f64,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
    /// Where Adagrad's accumulator starts, ≥ 0.
    pub initial_accumulator: f64,
}

/// How SONew weighs old statistics and the new gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatisticsForm {
    /// H ← β₂ H + (1−β₂) P(g gᵀ), bias-corrected; what the authors run.
    Average,
    /// H ← H + P(g gᵀ)/λ, the form of the regret analysis; ε plays the part of H₀ = εI.
    Sum,
}

/// Settings of SONew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SonewConfig {
    /// Band width b: 0 diagonal, 1 tridiagonal, at most 32.
    pub band: usize,
    /// Decay of the momentum on the raw gradient, in [0, 1).
    pub beta1: f64,
    /// Decay of the statistics, in [0, 1).
    pub beta2: f64,
    /// Moving average or sum.
    pub statistics: StatisticsForm,
    /// λ > 0 of the sum form.
    pub lambda: f64,
    /// ε ≥ 0 added to the diagonal of Ĥ.
    pub epsilon: f64,
    /// If above 0, max(this · ‖Ĥ‖₁, 10⁻¹⁶) per tensor is added instead of `epsilon`.
    pub relative_epsilon: f64,
    /// Absolute part of the pivot tolerance γ, ≥ 0.
    pub gamma: f64,
    /// Part of the pivot tolerance γ relative to Ĥ_jj, in [0, 1).
    pub relative_gamma: f64,
    /// Which edges of a failing pivot are cut.
    pub removal: EdgeRemoval,
    /// Whose step length is taken over, per tensor.
    pub graft: Graft,
    /// ε ≥ 0 of the graft.
    pub graft_epsilon: f64,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
}

impl SonewConfig {
    /// The defaults for a band: those of the authors' logged f32 run.
    pub fn with_band(band: usize) -> Self {
        Self {
            band,
            beta1: 0.9,
            beta2: 0.999,
            statistics: StatisticsForm::Average,
            lambda: 1.0,
            epsilon: 1e-8,
            relative_epsilon: 0.0,
            gamma: 0.0,
            relative_gamma: 1e-7,
            // What the authors' tridiagonal code does; for wider bands only the incident rule keeps X⁻¹ = H.
            removal: if band <= 1 {
                EdgeRemoval::Outgoing
            } else {
                EdgeRemoval::Incident
            },
            graft: Graft::None,
            graft_epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// What Shampoo's ε is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RidgeForm {
    /// ε · λ_max of each factor.
    Relative,
    /// ε.
    Absolute,
}

/// Where Shampoo's products run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductsPlace {
    /// In host memory on a CPU adapter, on the device elsewhere.
    #[default]
    Auto,
    /// In host memory.
    Host,
    /// On the device.
    Device,
}

/// Settings of Shampoo.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ShampooConfig {
    /// Decay of both momenta, in [0, 1).
    pub beta1: f64,
    /// Decay of the statistics and of the graft's second moment, in (0, 1).
    pub beta2: f64,
    /// ε ≥ 0, the ridge of a root; statistics start at ε · I.
    pub epsilon: f64,
    /// What ε is relative to.
    pub ridge: RidgeForm,
    /// p of the inverse p-th roots, at most 64; 0 for twice the number of axes.
    pub exponent: u32,
    /// How roots are computed.
    pub root: Method,
    /// Where the products of statistics and directions run.
    pub products: ProductsPlace,
    /// A root whose residual or check is not below this is refused, > 0.
    pub residual_threshold: f64,
    /// Refused roots of one factor in a row that are no error; the last good root stays in use.
    pub tolerated_failures: u32,
    /// Steps from one computation of the roots to the next, ≥ 1.
    pub root_interval: u64,
    /// Computes the roots of an interval's start over the interval and puts them to use at its end.
    pub spread_roots: bool,
    /// Steps from one update of the statistics to the next, ≥ 1.
    pub statistics_interval: u64,
    /// The first step, from 0 on, that descends along the preconditioned gradient; before it the graft's update, with
    /// `graft=none` the gradient itself.
    pub start_step: u64,
    /// Whose step length is taken over, per tensor: none, sgd, adam or rmsprop (normalised).
    pub graft: Graft,
    /// ε ≥ 0 of the graft.
    pub graft_epsilon: f64,
    /// Nesterov's form of both momenta.
    pub nesterov: bool,
    /// Whether vectors, such as biases, are preconditioned (p = 2), or left to the graft.
    pub vectors: bool,
    /// Longest side of a block, ≥ 1.
    pub block_size: usize,
    /// Neighbouring axes are merged while their product is at most this.
    pub merge_size: usize,
    /// Tensors with a longer axis are left to the graft.
    pub largest_size: usize,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
}

impl Default for ShampooConfig {
    /// The benchmark's settings as its authors tuned them in f32 for roots every 20 steps.
    fn default() -> Self {
        Self {
            beta1: 0.900_055,
            beta2: 0.950_822,
            epsilon: 9.66e-9,
            ridge: RidgeForm::Relative,
            exponent: 0,
            root: Method::Eigen,
            products: ProductsPlace::Auto,
            residual_threshold: 0.1,
            tolerated_failures: 3,
            root_interval: 20,
            spread_roots: false,
            statistics_interval: 1,
            start_step: 25,
            graft: Graft::RmsProp,
            graft_epsilon: 1e-12,
            nesterov: false,
            vectors: true,
            block_size: 2048,
            merge_size: 4096,
            largest_size: 4096,
            weight_decay: 0.0,
        }
    }
}

impl ShampooConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            block: self.block_size,
            merge: self.merge_size,
            largest: self.largest_size,
        }
    }

    pub(crate) fn ridge(&self) -> Ridge {
        match self.ridge {
            RidgeForm::Relative => Ridge::Relative(self.epsilon),
            RidgeForm::Absolute => Ridge::Absolute(self.epsilon),
        }
    }
}

/// One setting of an optimizer, for listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key of `--set key=value`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it means.
    pub meaning: &'static str,
}

const MEANINGS: &[(&str, &str)] = &[
    (
        "beta1",
        "decay of the momentum, 0 ≤ β < 1 (also called momentum)",
    ),
    (
        "beta2",
        "decay of the second moment or of the statistics, 0 ≤ β < 1 (Shampoo: 0 < β)",
    ),
    (
        "epsilon",
        "ε ≥ 0: Adam outside the root, Adagrad and RMSProp inside, SONew on the diagonal of Ĥ, Shampoo the ridge of a root",
    ),
    (
        "weight-decay",
        "decoupled weight decay λ ≥ 0: w loses η λ w",
    ),
    (
        "initial-accumulator",
        "where Adagrad's sum of squares starts, ≥ 0",
    ),
    (
        "statistics",
        "average (moving average, bias-corrected) or sum (H + g gᵀ/λ)",
    ),
    ("lambda", "λ > 0 of statistics=sum"),
    (
        "relative-epsilon",
        "if > 0: max(this · ‖Ĥ‖₁, 1e-16) per tensor replaces epsilon",
    ),
    ("gamma", "absolute part of the pivot tolerance γ, ≥ 0"),
    (
        "relative-gamma",
        "part of the pivot tolerance γ relative to Ĥ_jj, 0 ≤ γ < 1",
    ),
    (
        "removal",
        "edges of a failing pivot that are cut: outgoing (to later neighbours) or incident (all)",
    ),
    (
        "graft",
        "whose step length is taken over, per tensor: none, sgd, momentum (SONew only), adam, rmsprop",
    ),
    ("graft-epsilon", "ε ≥ 0 of the graft"),
    (
        "ridge",
        "relative (epsilon · λ_max of each factor) or absolute",
    ),
    (
        "exponent",
        "p of the inverse p-th roots, at most 64; 0: twice the number of axes",
    ),
    (
        "root",
        "how roots are computed: eigen (f64), newton (f32, as published), newton-double (f64) or newton-refreshed (f32)",
    ),
    (
        "products",
        "where statistics and directions are multiplied: auto (host on a software driver), host or device",
    ),
    (
        "residual-threshold",
        "a root whose residual or check is not below this is refused, > 0",
    ),
    (
        "tolerated-failures",
        "refused roots of one factor in a row that are no error; the last good one stays in use",
    ),
    (
        "root-interval",
        "steps between computations of the roots, ≥ 1",
    ),
    (
        "spread-roots",
        "true: an interval's roots are computed over it, a few each step, and used from its end on",
    ),
    (
        "statistics-interval",
        "steps between updates of the statistics, ≥ 1",
    ),
    (
        "start-step",
        "first step, from 0 on, along the preconditioned gradient; the graft's update before",
    ),
    ("nesterov", "true: Nesterov's form of the momenta"),
    (
        "vectors",
        "true: vectors are preconditioned with p = 2; false: left to the graft",
    ),
    ("block-size", "longest side of a block, ≥ 1"),
    (
        "merge-size",
        "neighbouring axes are merged while their product is at most this",
    ),
    (
        "largest-size",
        "tensors with a longer axis than this are left to the graft",
    ),
];

/// Any optimizer of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum OptimizerConfig {
    /// SGD to Adam.
    FirstOrder(FirstOrderConfig),
    /// SONew.
    Sonew(SonewConfig),
    /// Shampoo.
    Shampoo(ShampooConfig),
}

impl OptimizerConfig {
    /// The names that [`OptimizerConfig::named`] knows; the last stands for any band.
    pub const NAMES: [&str; 10] = [
        "sgd",
        "momentum",
        "nesterov",
        "adagrad",
        "rmsprop",
        "adam",
        "shampoo",
        "diag-sonew",
        "tridiag-sonew",
        "band-4-sonew",
    ];

    /// The defaults of an optimizer.
    ///
    /// # Errors
    /// [`Error::UnknownOptimizer`] with the names there are.
    pub fn named(name: &str) -> Result<Self, Error> {
        if let Some(rule) = FirstOrderKind::named(name) {
            return Ok(Self::FirstOrder(first_order::defaults(rule)));
        }
        if name == "shampoo" {
            return Ok(Self::Shampoo(ShampooConfig::default()));
        }
        let band = match name {
            "diag-sonew" => Some(0),
            "tridiag-sonew" => Some(1),
            _ => name
                .strip_prefix("band-")
                .and_then(|rest| rest.strip_suffix("-sonew"))
                .and_then(|band| band.parse().ok())
                .filter(|&band: &usize| band <= GAP),
        };
        band.map(|band| Self::Sonew(SonewConfig::with_band(band)))
            .ok_or_else(|| Error::UnknownOptimizer { found: name.into() })
    }

    /// The name.
    pub fn name(&self) -> String {
        match self {
            Self::FirstOrder(config) => config.rule.name().into(),
            Self::Sonew(SonewConfig { band: 0, .. }) => "diag-sonew".into(),
            Self::Sonew(SonewConfig { band: 1, .. }) => "tridiag-sonew".into(),
            Self::Sonew(config) => format!("band-{}-sonew", config.band),
            Self::Shampoo(_) => "shampoo".into(),
        }
    }

    /// A learning rate to start from on the autoencoder benchmark. Not tuned.
    pub fn default_lr(&self) -> f64 {
        match self {
            Self::FirstOrder(config) => match config.rule {
                FirstOrderKind::Sgd => 1e-2,
                FirstOrderKind::Momentum | FirstOrderKind::Nesterov => 1e-3,
                FirstOrderKind::Adagrad => 1e-2,
                FirstOrderKind::RmsProp => 1e-4,
                FirstOrderKind::Adam => 1e-3,
            },
            Self::Sonew(config) if config.graft == Graft::Adam => 1e-3,
            Self::Sonew(_) => 1e-4,
            Self::Shampoo(_) => 3.702_88e-3,
        }
    }

    /// Sets one value by its key.
    ///
    /// # Errors
    /// [`Error::UnknownSetting`], [`Error::Unreadable`], [`Error::Range`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let key = if key == "momentum" { "beta1" } else { key };
        let mut fields = self.fields();
        if key == "band" || key == "rule" || !fields.contains_key(key) {
            return Err(Error::UnknownSetting {
                optimizer: self.name(),
                key: key.into(),
                known: self
                    .settings()
                    .iter()
                    .map(|setting| setting.key)
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        let parsed = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        fields.insert(key.into(), parsed);
        let updated: Self =
            serde_json::from_value(self.wrap(fields)).map_err(|error| Error::Unreadable {
                optimizer: self.name(),
                key: key.into(),
                found: value.into(),
                reason: error.to_string(),
            })?;
        updated.validate()?;
        *self = updated;
        Ok(())
    }

    /// The settings this optimizer uses, with their values and meanings.
    pub fn settings(&self) -> Vec<Setting> {
        let fields = self.fields();
        MEANINGS
            .iter()
            .filter(|(key, _)| self.uses(key))
            .filter_map(|&(key, meaning)| {
                let value = match fields.get(key)? {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Some(Setting {
                    key,
                    value,
                    meaning,
                })
            })
            .collect()
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Range`] with the offending value.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |key, found: f64, ok: bool, expected| {
            if ok {
                return Ok(());
            }
            Err(Error::Range {
                optimizer: self.name(),
                key,
                found,
                expected,
            })
        };
        let decay = |key, x: f64| check(key, x, (0.0..1.0).contains(&x), "0 ≤ β < 1");
        let size = |key, x: f64| check(key, x, x >= 0.0 && x.is_finite(), "finite and ≥ 0");
        match self {
            Self::FirstOrder(c) => {
                decay("beta1", c.beta1)?;
                decay("beta2", c.beta2)?;
                size("epsilon", c.epsilon)?;
                size("weight-decay", c.weight_decay)?;
                size("initial-accumulator", c.initial_accumulator)
            }
            Self::Sonew(c) => {
                check("band", c.band as f64, c.band <= GAP, "0 to 32")?;
                decay("beta1", c.beta1)?;
                decay("beta2", c.beta2)?;
                let lambda = c.lambda > 0.0 && c.lambda.is_finite();
                check("lambda", c.lambda, lambda, "finite and > 0")?;
                size("epsilon", c.epsilon)?;
                size("relative-epsilon", c.relative_epsilon)?;
                size("gamma", c.gamma)?;
                let gamma = (0.0..1.0).contains(&c.relative_gamma);
                check("relative-gamma", c.relative_gamma, gamma, "0 ≤ γ < 1")?;
                size("graft-epsilon", c.graft_epsilon)?;
                size("weight-decay", c.weight_decay)
            }
            Self::Shampoo(c) => {
                decay("beta1", c.beta1)?;
                let beta2 = c.beta2 > 0.0 && c.beta2 < 1.0;
                check("beta2", c.beta2, beta2, "0 < β < 1")?;
                size("epsilon", c.epsilon)?;
                size("graft-epsilon", c.graft_epsilon)?;
                size("weight-decay", c.weight_decay)?;
                let threshold = c.residual_threshold > 0.0;
                check("residual-threshold", c.residual_threshold, threshold, "> 0")?;
                let count =
                    |key, found: u64| check(key, found as f64, found > 0, "a whole number ≥ 1");
                count("root-interval", c.root_interval)?;
                count("statistics-interval", c.statistics_interval)?;
                count("block-size", c.block_size as u64)?;
                let exponent = c.exponent <= LARGEST_ORDER;
                check("exponent", f64::from(c.exponent), exponent, "0 to 64")?;
                if c.graft == Graft::Momentum {
                    return Err(Error::Unreadable {
                        optimizer: self.name(),
                        key: "graft".into(),
                        found: "momentum".into(),
                        reason:
                            "expected none, sgd, adam or rmsprop; the graft has a momentum already"
                                .into(),
                    });
                }
                Ok(())
            }
        }
    }

    /// Allocates the states and makes the optimizer.
    ///
    /// # Errors
    /// As [`OptimizerConfig::validate`]; [`Error::Kernel`] if Shampoo's factors are too large.
    pub fn build<R: Runtime>(
        &self,
        context: Rc<Context<R>>,
        segments: &Segments,
    ) -> Result<Box<dyn Optimizer<R>>, Error> {
        self.validate()?;
        match *self {
            Self::FirstOrder(config) => Ok(first_order::build(config, context, segments)),
            Self::Sonew(config) => Ok(Box::new(sonew::Sonew::new(config, context, segments))),
            Self::Shampoo(config) => {
                Ok(Box::new(shampoo::Shampoo::new(config, context, segments)?))
            }
        }
    }

    fn uses(&self, key: &str) -> bool {
        match self {
            Self::FirstOrder(config) => config.rule.settings().contains(&key),
            Self::Sonew(_) | Self::Shampoo(_) => true,
        }
    }

    fn fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::FirstOrder(config) => serde_json::to_value(config),
            Self::Sonew(config) => serde_json::to_value(config),
            Self::Shampoo(config) => serde_json::to_value(config),
        };
        match value {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    fn wrap(&self, mut fields: Map<String, Value>) -> Value {
        let family = match self {
            Self::FirstOrder(_) => "first-order",
            Self::Sonew(_) => "sonew",
            Self::Shampoo(_) => "shampoo",
        };
        fields.insert("family".into(), family.into());
        Value::Object(fields)
    }
}
