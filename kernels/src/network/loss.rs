//! Sigmoid cross-entropy on a logit z and its target t, and its derivative.

use cubecl::prelude::*;

/// max(z, 0) − z t + ln(1 + e^{−|z|}).
#[cube]
pub(crate) fn cross_entropy(z: f32, target: f32) -> f32 {
    let size = select(z < 0.0f32, -z, z);
    let positive = select(z < 0.0f32, 0.0f32, z);
    positive - z * target + (1.0f32 + (-size).exp()).ln()
}

/// σ(z) − t.
#[cube]
pub(crate) fn error_of_logit(z: f32, target: f32) -> f32 {
    // e^{−|z|} ≤ 1: neither form overflows.
    let e = select(z < 0.0f32, z, -z).exp();
    let sigmoid = select(z < 0.0f32, e, 1.0f32) / (1.0f32 + e);
    sigmoid - target
}
