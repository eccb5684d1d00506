//! What settings of SONew choose between.

use serde::{Deserialize, Serialize};
use sonew_kernels::precision::Precision;

use crate::settings::Number;

/// How SONew weighs old statistics and the new gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatisticsForm {
    /// H ← β₂ H + (1−β₂) P(g gᵀ), bias-corrected; what the authors run.
    Average,
    /// H ← H + P(g gᵀ)/λ, the form of the regret analysis; ε plays the part of H₀ = εI.
    Sum,
}

/// γ relative to Ĥ_jj.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `auto` or a number from 0 to 1")]
pub enum RelativeGamma {
    /// This much, in [0, 1).
    Value(f64),
    /// That of the precision.
    Named(PrecisionGamma),
}

/// The one name of a γ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionGamma {
    /// About the machine epsilon of the arithmetic: [`sonew_kernels::precision::Precision::GAMMA`].
    Auto,
}

impl RelativeGamma {
    /// That of the precision.
    pub const AUTO: Self = Self::Named(PrecisionGamma::Auto);

    /// γ in a precision.
    pub fn resolve<P: Precision>(self) -> f64 {
        match self {
            Self::Value(gamma) => gamma,
            Self::Named(PrecisionGamma::Auto) => P::GAMMA,
        }
    }
}

impl Number for RelativeGamma {
    fn number(self) -> Option<f64> {
        match self {
            Self::Value(gamma) => Some(gamma),
            Self::Named(PrecisionGamma::Auto) => None,
        }
    }
}
