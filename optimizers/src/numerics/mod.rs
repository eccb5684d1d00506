//! How an optimizer's numbers are held, and what is done about those that are not finite.

mod guarded;
mod loss_scale;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sonew_kernels::precision::PrecisionKind;

use crate::Error;

pub(crate) use guarded::Guarded;
pub use loss_scale::LossScale;

/// How weights of 16 bits take a step that was computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRounding {
    /// Rounded to nearest: a step below half a unit in the last place of the weight is lost.
    #[default]
    Nearest,
    /// Kept in f32 beside the weights, which are the rounded copy: four bytes of state more.
    Master,
    /// Rounded to a neighbour at random, so that the weight moves in expectation; the same bits on every backend.
    Stochastic,
}

/// In what format an optimizer keeps its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateFormat {
    /// That of the precision: f32 in the mixed ones.
    #[default]
    Precision,
    /// f32.
    F32,
    /// That of the parameters.
    Parameters,
}

/// What is done with a step whose gradient is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonFinite {
    /// It is taken, and spoils the tensors that it reaches. The step does not wait for the device.
    #[default]
    Proceed,
    /// It is not taken, and counted.
    Skip,
    /// It is not taken, and an error; with loss scaling only once the scale cannot be halved any more.
    Stop,
}

/// Reads one of the names of a choice.
macro_rules! named {
    ($choice:ident, $what:literal, $($name:literal => $variant:ident),+) => {
        impl FromStr for $choice {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!(
                        concat!("no ", $what, " is called `{}`; there are", $(" ", $name),+),
                        text
                    )),
                }
            }
        }
    };
}

named!(
    WeightRounding, "rounding of weights",
    "nearest" => Nearest, "master" => Master, "stochastic" => Stochastic
);
named!(
    StateFormat, "format of statistics",
    "precision" => Precision, "f32" => F32, "parameters" => Parameters
);
named!(NonFinite, "policy", "proceed" => Proceed, "skip" => Skip, "stop" => Stop);

/// A precision and what goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Numerics {
    /// How numbers are held and computed.
    pub precision: PrecisionKind,
    /// How states are kept; in the parameters' format with f32 arithmetic in bf16-mixed only.
    pub statistics: StateFormat,
    /// How weights take a step; other than to nearest in the mixed precisions only.
    pub weights: WeightRounding,
    /// Loss scaling; in the mixed precisions only.
    pub loss_scale: Option<LossScale>,
    /// What is done with gradients that are not finite.
    pub non_finite: NonFinite,
    /// Seed of stochastic rounding.
    pub seed: u64,
}

impl From<PrecisionKind> for Numerics {
    /// The defaults of a precision: in f16-mixed dynamic loss scaling, which skips the steps that overflow, for gradients
    /// below 6·10⁻⁸ are 0 in f16; nothing in the others, whose gradients have the range of f32, or which have no f32 to
    /// scale back in.
    fn from(precision: PrecisionKind) -> Self {
        let scaled = precision == PrecisionKind::F16Mixed;
        Self {
            precision,
            loss_scale: scaled.then(LossScale::default),
            non_finite: if scaled {
                NonFinite::Skip
            } else {
                NonFinite::Proceed
            },
            ..Self::default()
        }
    }
}

impl Numerics {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`Error::Numerics`] with what does not.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |found: String, expected: &'static str| {
            Err(Error::Numerics {
                precision: self.precision,
                found,
                expected,
            })
        };
        let mixed = matches!(
            self.precision,
            PrecisionKind::Bf16Mixed | PrecisionKind::F16Mixed
        );
        let narrow = matches!(self.precision, PrecisionKind::Bf16 | PrecisionKind::F16);
        if self.statistics == StateFormat::F32 && narrow {
            return refuse(
                "statistics in f32".into(),
                "bf16-mixed or f16-mixed, where they are, and computed with in f32",
            );
        }
        if self.statistics == StateFormat::Parameters && self.precision == PrecisionKind::F16Mixed {
            return refuse(
                "statistics in f16".into(),
                "f32; squares of gradients below 2·10⁻⁴ are 0 in f16",
            );
        }
        if self.weights != WeightRounding::Nearest && !mixed {
            let found = format!("weights {:?}", self.weights).to_lowercase();
            return refuse(found, "bf16-mixed or f16-mixed, where a step is f32");
        }
        let Some(scale) = self.loss_scale else {
            return Ok(());
        };
        if !mixed {
            return refuse(
                "loss scaling".into(),
                "bf16-mixed or f16-mixed, where gradients are scaled back in f32",
            );
        }
        if self.non_finite == NonFinite::Proceed {
            return refuse(
                "loss scaling with non-finite gradients taken".into(),
                "skip or stop",
            );
        }
        scale.validate()
    }

    /// Whether states are narrower than the arithmetic.
    pub(crate) fn compact(&self) -> bool {
        self.statistics == StateFormat::Parameters && self.precision == PrecisionKind::Bf16Mixed
    }

    /// Whether a step is looked at, or taken in f32, by [`Guarded`].
    pub(crate) fn guards(&self) -> bool {
        self.weights != WeightRounding::Nearest
            || self.loss_scale.is_some()
            || self.non_finite != NonFinite::Proceed
    }

    /// Whether a step is taken on f32 copies of weights and gradients.
    pub(crate) fn widens(&self) -> bool {
        self.weights != WeightRounding::Nearest || self.loss_scale.is_some()
    }
}
