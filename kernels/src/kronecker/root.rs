//! The inverse p-th root of a symmetric positive semi-definite matrix, X = (S + ridge · I)^{−1/p}, with evidence of how
//! it was found.
//!
//! | method | how | arithmetic |
//! |---|---|---|
//! | [`Method::Eigen`] | eigendecomposition | f64 |
//! | [`Method::Newton`] | coupled Newton iteration as published | f32 |
//! | [`Method::NewtonDouble`] | the same | f64 |
//! | [`Method::NewtonBf16`] | the same | bf16, products summed in f32 |
//! | [`Method::NewtonRefreshed`] | longer steps, M computed afresh once | f32, two products summed with more digits |
//!
//! S and X are f32. Working in f32 means an error of u ‖S‖ in S, u = 6·10⁻⁸: at a condition of 10⁸ that is more than the
//! least eigenvalue, on which X depends most. So at least some of the work needs more digits.
//!
//! The coupled iterations carry M ≈ Xᵖ A and stop when it is I, but in f32 M converges to I whatever X does: at a
//! condition of 10⁸ the published test accepts roots that are wrong by a fifth. An iterated root is therefore checked on
//! its own: with v a unit vector that X has amplified eight times, so that the directions of the least eigenvalues dominate,
//! vᵀ X^{p/2} (S + ridge · I) X^{p/2} v must be 1.

use serde::{Deserialize, Serialize};

/// How a root is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Eigendecomposition in f64: on a processor the fastest, and the most accurate.
    #[default]
    Eigen,
    /// Coupled Newton iteration in f32, as published. For comparison: it accepts roots that are wrong by a fifth.
    Newton,
    /// Coupled Newton iteration in f64. For comparison: an oracle that shares nothing with the decomposition.
    NewtonDouble,
    /// Coupled Newton iteration with every matrix rounded to bf16, and products summed in f32. For comparison: what is left of
    /// the published one where all is bf16.
    NewtonBf16,
    /// Coupled Newton iteration in f32 with longer steps, and M computed afresh once with more digits.
    NewtonRefreshed,
}

impl Method {
    /// All methods, by their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("eigen", Self::Eigen),
        ("newton", Self::Newton),
        ("newton-double", Self::NewtonDouble),
        ("newton-bf16", Self::NewtonBf16),
        ("newton-refreshed", Self::NewtonRefreshed),
    ];
}

/// What is added to the diagonal of S.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ridge {
    /// ε · max(λ_max, 10⁻³⁰).
    Relative(f64),
    /// ε.
    Absolute(f64),
}

impl Ridge {
    /// The ridge for a largest eigenvalue λ_max.
    ///
    /// The public code has a floor of 10⁻⁶ under λ_max, which is more than the statistics of small gradients ever reach;
    /// this one only keeps a zero matrix from dividing by zero.
    pub fn of(self, largest: f64) -> f64 {
        match self {
            Self::Relative(epsilon) => epsilon * largest.max(1e-30),
            Self::Absolute(epsilon) => epsilon,
        }
    }
}

/// Why a computation of a root ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Nothing to iterate: 1 × 1, or an eigendecomposition.
    Direct,
    /// The residual is within the tolerance.
    Converged,
    /// The residual grew by more than a fifth.
    Diverging,
    /// The iterations were used up.
    Iterations,
    /// S + ridge · I is not positive definite.
    Indefinite,
    /// S holds NaN or infinities, or the root would.
    NotFinite,
}

/// How a root was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RootEvidence {
    /// Iterations taken.
    pub iterations: u32,
    /// The distance of M from I as the iteration carries it: max|M − I|, or ‖M − I‖_F of [`Method::NewtonRefreshed`].
    /// Of a decomposition ‖S v − V Λ Vᵀ v‖ / (λ_max ‖v‖) for one v.
    pub residual: f64,
    /// |vᵀ X^⌊p/2⌋ (S + ridge · I) X^⌈p/2⌉ v − 1| for a unit v in which the least eigenvalues dominate; 0 of a
    /// decomposition, which has no iteration to go astray.
    pub check: f64,
    /// What was added to the diagonal, raises included.
    pub ridge: f64,
    /// How often an iteration found no root and was tried again with ten times the ridge.
    pub raises: u32,
    /// Why it ended.
    pub stop: Stop,
}

impl RootEvidence {
    /// Whether the root may be used: finite, and both residual and check below `threshold`.
    pub fn accepted(&self, threshold: f64) -> bool {
        !matches!(self.stop, Stop::Indefinite | Stop::NotFinite)
            && self.residual < threshold
            && self.check < threshold
    }
}

/// What became of the roots of one matrix since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RootHistory {
    /// How the last one was found; `None` before the first.
    pub last: Option<RootEvidence>,
    /// Refusals in a row.
    pub failures: u32,
    /// Refusals since the start.
    pub refused: u32,
    /// The most refusals in a row since the start.
    pub longest: u32,
}

impl RootHistory {
    /// Goes on with a root that was found, and says whether it may be used.
    pub fn note(&mut self, evidence: RootEvidence, threshold: f64) -> bool {
        self.last = Some(evidence);
        let accepted = evidence.accepted(threshold);
        if accepted {
            self.failures = 0;
        } else {
            self.failures += 1;
            self.refused += 1;
            self.longest = self.longest.max(self.failures);
        }
        accepted
    }
}

/// A root and its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// n² values; of no use unless the evidence says so.
    pub values: Vec<f32>,
    /// How it was found.
    pub evidence: RootEvidence,
}

/// What a method found, before the check.
pub(super) struct Attempt {
    pub values: Vec<f32>,
    pub iterations: u32,
    pub residual: f64,
    pub ridge: f64,
    pub stop: Stop,
}

impl Attempt {
    pub fn failed(ridge: f64, stop: Stop) -> Self {
        Self {
            values: Vec::new(),
            iterations: 0,
            residual: f64::INFINITY,
            ridge,
            stop,
        }
    }
}

/// p is at most this.
pub const LARGEST_ORDER: u32 = 64;

/// An iterated root with this residual or check is wrong beyond doubt, and tried again with a larger ridge.
pub(super) const WRONG: f64 = 0.1;
/// How often.
pub(super) const RAISES: u32 = 6;
