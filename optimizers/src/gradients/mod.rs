//! What becomes of a gradient before the step: the mean of several, clipping.

mod gathered;
mod norm;

use serde::{Deserialize, Serialize};

pub(crate) use gathered::Gathered;

/// What becomes of gradients before the optimizer takes its step; by default nothing.
///
/// In this order: they are scaled back where the loss is scaled, their mean is taken, each value of that is clipped, and then its norm.
/// Values come first so that one outlier does not take the length away from all others; the norm is at most
/// [`clip_norm`](Self::clip_norm) and each value at most [`clip_value`](Self::clip_value) in either order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Gradients {
    /// c > 0: a gradient whose norm over all tensors is larger is scaled down to it (`torch.nn.utils.clip_grad_norm_`,
    /// `optax.clip_by_global_norm`).
    pub clip_norm: Option<f64>,
    /// v > 0: each value of a gradient is brought into −v to v (`torch.nn.utils.clip_grad_value_`, `optax.clip`).
    pub clip_value: Option<f64>,
    /// K ≥ 1: a step is taken with every K-th gradient, by the mean of the K (`optax.MultiSteps`). What is left over at the end of a run
    /// moves nothing.
    pub accumulate: u64,
}

impl Default for Gradients {
    fn default() -> Self {
        Self {
            clip_norm: None,
            clip_value: None,
            accumulate: 1,
        }
    }
}

impl Gradients {
    /// Whether they reach the step as they are.
    pub(crate) fn untouched(&self) -> bool {
        *self == Self::default()
    }
}
