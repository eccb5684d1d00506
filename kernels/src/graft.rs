//! Whose step length a preconditioned direction takes over, tensor by tensor (grafting: Agarwal et al., arXiv 2002.11803).
//!
//! SONew and Shampoo compute the graft's own update where they have what it needs at hand: [`crate::sonew`], [`crate::kronecker`].

use serde::{Deserialize, Serialize};

/// Whose length an update takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Graft {
    /// u as it is.
    #[default]
    None,
    /// The gradient, g.
    Sgd,
    /// The bias-corrected moment, m̂.
    Momentum,
    /// Adam, m̂ / (√v̂ + ε) with v̂ the bias-corrected diagonal of H.
    Adam,
    /// Normalised RMSProp, ĝ / (√d + ε) with ĝ = g/(‖g‖ + 10⁻¹⁶) and d ← β₂ d + (1−β₂) ĝ².
    RmsProp,
}
