//! The elementwise parts of the network on host memory, in f32, shared between the threads of the machine row by row.
//!
//! Results do not depend on the number of threads: values are independent, and sums are taken in a fixed order.

use rayon::prelude::*;

/// Rows of a chunk: large enough to be worth a task, and the unit of the fixed summation order.
const ROWS: usize = 32;

/// z ← tanh(z + bias), or z + bias if `linear`; z is [rows, bias.len()].
///
/// tanh is the 13/6 rational minimax approximation that Eigen uses, which compilers turn into vector code; its error is
/// within a few units in the last place.
pub fn activate(z: &mut [f32], bias: &[f32], linear: bool) {
    let width = bias.len().max(1);
    z.par_chunks_mut(ROWS * width).for_each(|rows| {
        for row in rows.chunks_exact_mut(width) {
            if linear {
                for (z, b) in row.iter_mut().zip(bias) {
                    *z += b;
                }
            } else {
                for (z, b) in row.iter_mut().zip(bias) {
                    *z = tanh(*z + b);
                }
            }
        }
    });
}

/// δ ← δ (1 − a²), the derivative of tanh at an activation a.
pub fn backward_tanh(delta: &mut [f32], activation: &[f32]) {
    let chunk = 1 << 14;
    delta
        .par_chunks_mut(chunk)
        .zip(activation.par_chunks(chunk))
        .for_each(|(delta, activation)| {
            for (d, a) in delta.iter_mut().zip(activation) {
                *d *= 1.0 - a * a;
            }
        });
}

/// out_j = Σ_i δ_ij, the bias gradient; δ is [rows, out.len()].
pub fn column_sums(delta: &[f32], out: &mut [f32]) {
    let width = out.len().max(1);
    // Partial sums of fixed chunks of rows, then the chunks in order.
    let partials: Vec<Vec<f32>> = delta
        .par_chunks(ROWS * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                for (sum, d) in sums.iter_mut().zip(row) {
                    *sum += d;
                }
            }
            sums
        })
        .collect();
    out.fill(0.0);
    for partial in partials {
        for (sum, part) in out.iter_mut().zip(partial) {
            *sum += part;
        }
    }
}

/// The loss of a batch, mean over its rows of the sum over pixels; z and targets are [rows, width].
pub fn loss(z: &[f32], targets: &[f32], width: usize) -> f64 {
    let rows = z.len() / width.max(1);
    let sums: Vec<f64> = z
        .par_chunks(width)
        .zip(targets.par_chunks(width))
        .map(|(z, t)| row_loss(z, t))
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

/// The loss, and z ← scale · (σ(z) − t) / rows, its gradient times a scale.
pub fn loss_and_gradient(z: &mut [f32], targets: &[f32], width: usize, scale: f64) -> f64 {
    let rows = z.len() / width.max(1);
    let scale = (scale / rows as f64) as f32;
    let sums: Vec<f64> = z
        .par_chunks_mut(width)
        .zip(targets.par_chunks(width))
        .map(|(z, t)| {
            let mut total = 0.0;
            for (z, t) in z.chunks_mut(FACTORS).zip(t.chunks(FACTORS)) {
                let e = exponentials(z);
                total += partial_loss(z, t, &e);
                for ((z, t), e) in z.iter_mut().zip(t).zip(e) {
                    // σ(z) = 1/(1 + e^{−z}) without overflow: e^{−|z|} ≤ 1.
                    let numerator = if *z < 0.0 { e } else { 1.0 };
                    *z = (numerator / (1.0 + e) - t) * scale;
                }
            }
            total
        })
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

/// Σ max(z, 0) − z t + ln(1 + e^{−|z|}).
fn row_loss(z: &[f32], targets: &[f32]) -> f64 {
    z.chunks(FACTORS)
        .zip(targets.chunks(FACTORS))
        .map(|(z, t)| partial_loss(z, t, &exponentials(z)))
        .sum()
}

/// Logits whose losses are taken together.
const FACTORS: usize = 32;

/// The loss of up to [`FACTORS`] logits, given their e^{−|z|}. The logarithms of the factors 1 + e^{−|z|}, each in
/// (1, 2], are taken as one of their product, which stays below 2³³.
fn partial_loss(z: &[f32], targets: &[f32], e: &[f32; FACTORS]) -> f64 {
    let mut product = 1.0f64;
    let mut linear = 0.0f64;
    for ((&z, &t), &e) in z.iter().zip(targets).zip(e) {
        // max drops NaN; the other terms keep it.
        linear += f64::from(z.max(0.0)) - f64::from(z) * f64::from(t);
        product *= 1.0 + f64::from(e);
    }
    linear + product.ln()
}

/// e^{−|z|} of up to [`FACTORS`] logits, zeros behind them.
fn exponentials(z: &[f32]) -> [f32; FACTORS] {
    let mut e = [0.0; FACTORS];
    for (e, &z) in e.iter_mut().zip(z) {
        *e = exp_of_negative(-z.abs());
    }
    e
}

/// e^x of x ≤ 0, within two units in the last place, in operations that compilers turn into vector code; below −87 it
/// stays at e^{−87}, 10⁻³⁸. With n = x / ln 2 rounded, e^x = 2ⁿ e^r for |r| ≤ ln 2 / 2; the polynomial is that of Cephes.
pub fn exp_of_negative(x: f32) -> f32 {
    // Adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // A comparison, not `max`: NaN passes through.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in products with n.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4f32;
    for c in [
        1.398_2e-3f32,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_66,
        0.5,
    ] {
        p = p * r + c;
    }
    let exponent = shifted.to_bits().wrapping_add(127) << 23;
    (p * r * r + r + 1.0) * f32::from_bits(exponent)
}

/// tanh within a few units in the last place: x p(x²) / q(x²), clamped where it reaches 1 in f32.
pub fn tanh(x: f32) -> f32 {
    const CLAMP: f32 = 7.905_311;
    // A comparison, not `clamp`: NaN passes through.
    let x = if x > CLAMP { CLAMP } else { x };
    let x = if x < -CLAMP { -CLAMP } else { x };
    let s = x * x;
    let mut p = -2.760_768_5e-16f32;
    for c in [
        2.000_188e-13f32,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ] {
        p = p * s + c;
    }
    let mut q = 1.198_258_4e-6f32;
    for c in [1.185_347_1e-4f32, 2.268_434_6e-3, 4.893_525e-3] {
        q = q * s + c;
    }
    x * p / q
}
