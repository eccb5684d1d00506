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

/// The loss, and z ← (σ(z) − t) / rows, its gradient.
pub fn loss_and_gradient(z: &mut [f32], targets: &[f32], width: usize) -> f64 {
    let rows = z.len() / width.max(1);
    let scale = 1.0 / rows as f32;
    let sums: Vec<f64> = z
        .par_chunks_mut(width)
        .zip(targets.par_chunks(width))
        .map(|(z, t)| {
            let loss = row_loss(z, t);
            for (z, t) in z.iter_mut().zip(t) {
                // σ(z) = 1/(1 + e^{−z}) without overflow: e^{−|z|} ≤ 1.
                let e = (-z.abs()).exp();
                let positive = 1.0 / (1.0 + e);
                let sigmoid = if *z >= 0.0 { positive } else { e * positive };
                *z = (sigmoid - t) * scale;
            }
            loss
        })
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

/// Σ max(z, 0) − z t + ln(1 + e^{−|z|}). The logarithms of 32 factors, each in (1, 2], are taken as one of their
/// product, which stays below 2³².
fn row_loss(z: &[f32], targets: &[f32]) -> f64 {
    let mut total = 0.0;
    for (z, t) in z.chunks(32).zip(targets.chunks(32)) {
        let mut product = 1.0f64;
        let mut linear = 0.0f64;
        for (&z, &t) in z.iter().zip(t) {
            linear += f64::from(z.max(0.0)) - f64::from(z) * f64::from(t);
            product *= 1.0 + f64::from((-z.abs()).exp());
        }
        // max drops NaN; keep it.
        total += linear + product.ln();
    }
    total
}

/// tanh within a few units in the last place: x p(x²) / q(x²), clamped where it reaches 1 in f32.
fn tanh(x: f32) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_a_few_units_in_the_last_place() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 5e-5;
            let exact = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - exact).abs();
            // Eight units in the last place of the result: seven roundings in p, four in q, three outside.
            assert!(
                error <= 8.0 * f64::from(f32::EPSILON) * exact.abs(),
                "tanh({x}): {error:e}"
            );
        }
        assert!(tanh(f32::NAN).is_nan());
        assert!((tanh(f32::INFINITY) - 1.0).abs() < 1e-6);
    }
}
