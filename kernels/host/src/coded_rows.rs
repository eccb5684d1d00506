//! What goes into a network between codes and what comes out of it, on host memory, in f32: rows of a table, and softmax
//! cross-entropy.
//!
//! Results do not depend on the number of threads: rows are independent, and the gradient of the table is added in the order of
//! the codes.

use rayon::prelude::*;

use crate::elementwise::exp_of_negative;

/// Rows of logits that a thread takes at once.
const ROWS: usize = 32;

/// Writes the rows of `table`, `[V, width]`, that `codes` stand for to `out`, one after the other.
///
/// # Panics
/// If the table has no such row, or `out` another length.
pub fn look_up(table: &[f32], width: usize, codes: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), codes.len() * width);
    for (&code, out) in codes.iter().zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&table[code as usize * width..][..width]);
    }
}

/// The gradient of a table, `[V, width]`, from that of what [`look_up`] wrote: out_v = Σ δ of all places with the code v.
///
/// # Panics
/// If the table has no such row, or `deltas` another length.
pub fn table_gradient(deltas: &[f32], width: usize, codes: &[u32], out: &mut [f32]) {
    assert_eq!(deltas.len(), codes.len() * width);
    out.fill(0.0);
    for (&code, delta) in codes.iter().zip(deltas.chunks_exact(width)) {
        let row = &mut out[code as usize * width..][..width];
        for (sum, d) in row.iter_mut().zip(delta) {
            *sum += d;
        }
    }
}

/// The mean loss of rows of logits, `[rows, columns]`, and the class of each: ln Σ e^{z − m} + m − z_t with m = max z.
///
/// # Panics
/// If the logits have no such column, or are no rows.
pub fn softmax_loss(z: &[f32], classes: &[u32]) -> f64 {
    let columns = z.len() / classes.len();
    let losses = z.par_chunks(columns * ROWS).zip(classes.par_chunks(ROWS));
    let losses: Vec<f64> = losses
        .map(|(z, classes)| {
            let mut shares = vec![0.0; columns];
            let rows = z.chunks_exact(columns).zip(classes);
            rows.map(|(z, &class)| row_loss(z, class, &mut shares).0)
                .sum()
        })
        .collect();
    losses.iter().sum::<f64>() / classes.len() as f64
}

/// The loss, and z ← scale · (e^{z − m} / Σ e^{z − m} − \[t\]) / rows, its gradient times a scale.
///
/// # Panics
/// As [`softmax_loss`].
pub fn softmax_loss_and_gradient(z: &mut [f32], classes: &[u32], scale: f64) -> f64 {
    let columns = z.len() / classes.len();
    let scale = (scale / classes.len() as f64) as f32;
    let losses = z
        .par_chunks_mut(columns * ROWS)
        .zip(classes.par_chunks(ROWS));
    let losses: Vec<f64> = losses
        .map(|(z, classes)| {
            let mut shares = vec![0.0; columns];
            let mut total = 0.0;
            for (z, &class) in z.chunks_exact_mut(columns).zip(classes) {
                let (loss, sum) = row_loss(z, class, &mut shares);
                total += loss;
                for (z, share) in z.iter_mut().zip(&shares) {
                    *z = share / sum * scale;
                }
                let target = shares[class as usize] / sum - 1.0;
                z[class as usize] = target * scale;
            }
            total
        })
        .collect();
    losses.iter().sum::<f64>() / classes.len() as f64
}

/// The loss of a row, and Σ e^{z − m}; leaves e^{z − m} in `shares`.
fn row_loss(z: &[f32], class: u32, shares: &mut [f32]) -> (f64, f32) {
    let mut largest = z[0];
    for &z in z {
        // A comparison, not `max`, which drops NaN: what is left of one shows in the sum.
        largest = if z > largest { z } else { largest };
    }
    for (share, z) in shares.iter_mut().zip(z) {
        *share = exp_of_negative(z - largest);
    }
    let sum: f32 = shares.iter().sum();
    let loss = f64::from(sum).ln() + f64::from(largest) - f64::from(z[class as usize]);
    (loss, sum)
}
