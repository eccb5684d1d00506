//! Settings of SONew.

use serde::{Deserialize, Serialize};
use sonew_kernels::precision::Precision;
use sonew_kernels::sonew::{EdgeRemoval, Graft};

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
    /// γ in a precision.
    pub fn resolve<P: Precision>(self) -> f64 {
        match self {
            Self::Value(gamma) => gamma,
            Self::Named(PrecisionGamma::Auto) => P::GAMMA,
        }
    }
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
    /// Part of the pivot tolerance γ relative to Ĥ_jj.
    pub relative_gamma: RelativeGamma,
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
            relative_gamma: RelativeGamma::Named(PrecisionGamma::Auto),
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
