//! The oracles: plain f64 from the formulas, a value at a time.

/// ‖g‖ over the tensors that are counted.
pub fn global_norm(tensors: &[Vec<f64>], counted: &[bool]) -> f64 {
    let mut squares = 0.0;
    for (tensor, &counted) in tensors.iter().zip(counted) {
        if counted {
            for g in tensor {
                squares += g * g;
            }
        }
    }
    squares.sqrt()
}

/// What a gradient of that norm is multiplied with, so that its norm is at most `most`; 0 where it has none.
pub fn clip_factor(norm: f64, most: f64) -> f64 {
    if !norm.is_finite() {
        0.0
    } else if norm > most {
        most / norm
    } else {
        1.0
    }
}

/// A value, clipped. One that is not finite stays.
pub fn clipped(g: f64, bound: Option<f64>, factor: f64) -> f64 {
    if !g.is_finite() {
        return g;
    }
    let within = match bound {
        Some(bound) if g > bound => bound,
        Some(bound) if g < -bound => -bound,
        _ => g,
    };
    factor * within
}

/// The mean of `of` gradients, one of which is added; the first takes the place of what was there.
pub fn accumulate(mean: &mut [f64], grads: &[f64], of: u64, first: bool) {
    for (mean, g) in mean.iter_mut().zip(grads) {
        let before = if first { 0.0 } else { *mean };
        *mean = before + g / of as f64;
    }
}
