//! What an optimizer is made from: serde structs with documented defaults and checked ranges.

mod meanings;
mod shampoo;
mod sonew;

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sonew_kernels::arena::{GAP, Segments};
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::LARGEST_ORDER;
use sonew_kernels::precision::{self, Bf16Compact, Bf16States, F32, Precision, PrecisionVisitor};
use sonew_kernels::sonew::Graft;

use crate::first_order::{self, FirstOrderKind};
use crate::numerics::{Guarded, Numerics};
use crate::shampoo::Shampoo;
use crate::sonew::Sonew;
use crate::{Error, Optimizer};
use meanings::MEANINGS;

pub use meanings::Setting;
pub use shampoo::{FactorFormat, ProductsPlace, RidgeForm, RootChoice, ShampooConfig};
pub use sonew::{PrecisionGamma, RelativeGamma, SonewConfig, StatisticsForm};

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
        if key == "band" || key == "rule" || !fields.contains_key(key) || !self.uses(key) {
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
        let text = Value::String(value.into());
        let number = serde_json::from_str(value).ok();
        let current = fields.insert(key.into(), Value::Null);
        // A word may be spelled as a number, and a number may stand where a word was.
        let spellings = match (&current, number) {
            (Some(Value::String(_)), Some(number)) => vec![text, number],
            (_, Some(number)) => vec![number],
            (_, None) => vec![text],
        };
        let mut reason = None;
        for spelling in spellings {
            fields.insert(key.into(), spelling);
            match serde_json::from_value::<Self>(self.wrap(fields.clone())) {
                Ok(updated) => {
                    updated.validate()?;
                    *self = updated;
                    return Ok(());
                }
                Err(error) => {
                    reason.get_or_insert_with(|| expected_of(current.as_ref(), value, &error));
                }
            }
        }
        Err(Error::Unreadable {
            optimizer: self.name(),
            key: key.into(),
            found: value.into(),
            reason: reason.unwrap_or_default(),
        })
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
        // Kernels are given f32.
        let is_decay = |x: f64| (0.0..1.0).contains(&(x as f32)) && x >= 0.0;
        let is_size = |x: f64| x >= 0.0 && (x as f32).is_finite();
        let decay = |key, x: f64| check(key, x, is_decay(x), "0 ≤ β < 1 in f32");
        let size = |key, x: f64| check(key, x, is_size(x), "≥ 0 and finite in f32");
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
                let lambda = is_size(c.lambda) && (1.0 / c.lambda as f32).is_finite();
                check("lambda", c.lambda, lambda, "> 0, it and 1/λ finite in f32")?;
                size("epsilon", c.epsilon)?;
                size("relative-epsilon", c.relative_epsilon)?;
                size("gamma", c.gamma)?;
                if let RelativeGamma::Value(gamma) = c.relative_gamma {
                    check("relative-gamma", gamma, is_decay(gamma), "0 ≤ γ < 1 in f32")?;
                }
                size("graft-epsilon", c.graft_epsilon)?;
                size("weight-decay", c.weight_decay)
            }
            Self::Shampoo(c) => {
                decay("beta1", c.beta1)?;
                let beta2 = c.beta2 as f32 > 0.0 && is_decay(c.beta2);
                check("beta2", c.beta2, beta2, "0 < β < 1 in f32")?;
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
                let refuse = |key: &str, found: &str, reason: &str| {
                    Err(Error::Unreadable {
                        optimizer: self.name(),
                        key: key.into(),
                        found: found.into(),
                        reason: reason.into(),
                    })
                };
                if c.graft == Graft::Momentum {
                    return refuse(
                        "graft",
                        "momentum",
                        "expected none, sgd, adam or rmsprop; the graft has a momentum already",
                    );
                }
                if c.factors == FactorFormat::Bf16 && c.products == ProductsPlace::Device {
                    return refuse(
                        "factors",
                        "bf16",
                        "factors on the device are f32; set products=host",
                    );
                }
                Ok(())
            }
        }
    }

    /// Allocates the states and makes the optimizer, for parameters and gradients of a precision.
    ///
    /// # Errors
    /// As [`OptimizerConfig::validate`] and [`Numerics::validate`]; [`Error::Kernel`] if Shampoo's factors are too large or
    /// the device lacks a format or has no buffer of that size.
    pub fn build(
        &self,
        numerics: impl Into<Numerics>,
        context: Rc<Context>,
        segments: &Segments,
    ) -> Result<Box<dyn Optimizer>, Error> {
        self.built(numerics.into(), context, segments)
    }

    // Not generic, so that every optimizer in every precision is compiled here, once.
    fn built(
        &self,
        numerics: Numerics,
        context: Rc<Context>,
        segments: &Segments,
    ) -> Result<Box<dyn Optimizer>, Error> {
        self.validate()?;
        numerics.validate()?;
        let builder = Builder {
            config: *self,
            numerics,
            context,
            segments,
        };
        if numerics.compact() {
            builder.build::<Bf16Compact, Bf16States>()
        } else {
            numerics.precision.accept(builder)
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

/// What a setting should be: what serde's error lists, or what the value that it has tells.
fn expected_of(current: Option<&Value>, given: &str, error: &serde_json::Error) -> String {
    let reason = error.to_string();
    let listed = reason.find("expected").map(|at| &reason[at..]);
    if let Some(listed) = listed.filter(|it| it.contains('`')) {
        return listed.into();
    }
    let is_large = given
        .parse()
        .is_ok_and(|it: f64| it >= 1.0 && it.fract() == 0.0);
    match current {
        Some(Value::Bool(_)) => "expected true or false".into(),
        Some(Value::Number(it)) if it.is_f64() => "expected a finite number, as 0.5 or 1e-3".into(),
        Some(Value::Number(_)) if is_large => "expected a smaller number, in digits alone".into(),
        Some(Value::Number(_)) => "expected a whole number ≥ 0".into(),
        _ => reason,
    }
}

struct Builder<'a> {
    config: OptimizerConfig,
    numerics: Numerics,
    context: Rc<Context>,
    segments: &'a Segments,
}

impl PrecisionVisitor for Builder<'_> {
    type Output = Result<Box<dyn Optimizer>, Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        self.build::<P, F32>()
    }
}

impl Builder<'_> {
    /// An optimizer for arenas of P, which takes its steps in W on f32 copies if the numerics ask for that.
    fn build<P: Precision, W: Precision>(self) -> Result<Box<dyn Optimizer>, Error> {
        let Self {
            config,
            numerics,
            context,
            segments,
        } = self;
        precision::require::<P>(&context)?;
        // Copies of parameters and gradients are f32, whatever the precision.
        let arena = 4 * segments.arena_len() as u64;
        context.require_buffer("building an optimizer", "an arena of all tensors", arena)?;
        if !numerics.guards() {
            return config.plain::<P>(context, segments);
        }
        let inner = if numerics.widens() {
            config.plain::<W>(context.clone(), segments)?
        } else {
            config.plain::<P>(context.clone(), segments)?
        };
        let guarded = Guarded::<P>::new(inner, numerics, context, segments);
        Ok(Box::new(guarded))
    }
}

impl OptimizerConfig {
    fn plain<P: Precision>(
        self,
        context: Rc<Context>,
        segments: &Segments,
    ) -> Result<Box<dyn Optimizer>, Error> {
        Ok(match self {
            Self::FirstOrder(config) => first_order::build::<P>(config, context, segments),
            Self::Sonew(config) => Box::new(Sonew::<P>::new(config, context, segments)?),
            Self::Shampoo(config) => Box::new(Shampoo::<P>::new(config, context, segments)?),
        })
    }
}
