//! The longest monotone steps of the coupled iteration, as the host and the device take them.
//!
//! With M₀ = z A ≤ I, H₀ = I and a lower bound ℓ of the eigenvalues of M, a step multiplies by q(M) = a I − b M,
//!
//! H ← H q(M),  M ← q(M)^{p/2} M q(M)^{p/2},
//!
//! where a and b make max q(m)ᵖ m over [0, 1] equal to 1 and its least value over [ℓ, 1] large: with
//! s = max(ℓ^{1/p}, ½) and ρ = 1 / (1 + s + … + sᵖ), a = (p+1)/p · ((p+1) ρ)^{1/p} and b = a ρ. At s = 1 that is
//! Newton's step. (s ≥ ½ keeps eigenvalues that have arrived at 1 from being thrown back far.)

/// The least eigenvalue assumed where the ridge says nothing of it, relative to the norm.
pub(super) const LEAST: f64 = 1e-9;
/// s is at least this.
pub(super) const CUSHION: f64 = 0.5;
/// Γ: M is computed afresh once its least eigenvalues have grown by this. From 10³ to 10⁴ all do; at 10³ and at 10⁵ the
/// error is five times larger.
pub(super) const GAIN: f64 = 4e3;
/// ‖M − I‖_F at which the next step of H is the last: it squares the distance.
pub(super) const TOLERANCE: f64 = 2e-3;
/// Steps at most.
pub(super) const ITERATIONS: u32 = 60;

/// (a, b).
pub(super) fn step(order: f64, low: f64) -> (f64, f64) {
    let s = low.powf(1.0 / order).max(CUSHION);
    let sum: f64 = (0..=order as i32).map(|i| s.powi(i)).sum();
    let a = (order + 1.0) / order * ((order + 1.0) / sum).powf(1.0 / order);
    (a, a / sum)
}

/// The lower bound of the eigenvalues of M after a step.
pub(super) fn lifted(order: f64, low: f64, shift: f64, scale: f64) -> f64 {
    let least = (shift - scale * low).powf(order) * low;
    least.min((shift - scale).powf(order))
}

/// Steps of H until M is I, from eigenvalues that are at least `low`.
pub(super) fn rounds(p: u32, mut low: f64) -> u32 {
    let order = f64::from(p);
    let mut steps = 1;
    while low < 1.0 - 1e-5 && steps < ITERATIONS {
        let (shift, scale) = step(order, low);
        low = lifted(order, low, shift, scale);
        steps += 1;
    }
    // The decision that follows the last step, and one to spare for rounding.
    steps + 2
}
