//! What the autoencoder needs beyond a matrix product, in f32.

use super::Check;
use super::bench::dyadic;
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::matmul::{self, DeviceMatrix};
use crate::network::{activation, dense, loss, reference};
use crate::precision::{F32, HostFormat, Precision};
use crate::sweep::Strategy;

const ROWS: usize = 70;
const WIDTH: usize = 37;
const UNIT: f64 = <<F32 as Precision>::State as HostFormat>::ROUNDOFF;

pub(super) fn checks() -> Vec<Check> {
    let naive = Strategy::Forced(matmul::Blueprint::Naive);
    vec![
        Check::new("activation", "tanh", |context, _| activate(context, false)),
        Check::new("activation", "linear", |context, _| activate(context, true)),
        Check::new("activation", "derivative", |context, _| backward(context)),
        Check::new("column-sums", "", |context, _| column_sums(context)),
        Check::new("loss", "", |context, _| cross_entropy(context)),
        Check::new("product", "naive", move |context, _| {
            product(context, naive)
        }),
        Check::new("product", "tiled", |context, _| {
            product(context, Strategy::Inferred)
        }),
    ]
}

fn matrix(seed: usize, count: usize, scale: f64) -> Vec<f64> {
    (0..count).map(|i| scale * dyadic(seed, i)).collect()
}

fn upload(context: &Context, values: &[f64]) -> cubecl::server::Handle {
    let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    context.upload(&narrow)
}

fn activate(context: &Context, linear: bool) -> Result<Vec<Outcome>, Error> {
    let (z, bias) = (matrix(9, ROWS * WIDTH, 8.0), matrix(10, WIDTH, 1.0));
    let buffer = upload(context, &z);
    let biases = upload(context, &bias);
    activation::activate(context, &buffer, &biases, ROWS, WIDTH, linear)?;
    let expected = reference::activation(&z, &bias, linear);
    let mut outcome = Outcome::named("activations");
    // z + b is rounded to f32 first, at up to 9, and tanh adds a few units in the last place.
    let found: Vec<f32> = context.download("contract", &buffer)?;
    outcome.add(&found, &expected, |e| 16.0 * UNIT * (e.abs() + 1.0));
    Ok(vec![outcome])
}

fn backward(context: &Context) -> Result<Vec<Outcome>, Error> {
    let (delta, a) = (matrix(11, ROWS * WIDTH, 1.0), matrix(12, ROWS * WIDTH, 1.0));
    let buffer = upload(context, &delta);
    activation::backward_tanh(context, &buffer, &upload(context, &a), ROWS, WIDTH)?;
    let expected: Vec<f64> = delta
        .iter()
        .zip(&a)
        .map(|(d, a)| d * (1.0 - a * a))
        .collect();
    let mut outcome = Outcome::named("derivatives");
    let found: Vec<f32> = context.download("contract", &buffer)?;
    outcome.add(&found, &expected, |_| 4.0 * UNIT);
    Ok(vec![outcome])
}

fn column_sums(context: &Context) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    for rows in [1, 33, 1100] {
        let delta = matrix(13, rows * WIDTH, 1.0);
        let mut expected = vec![0.0; WIDTH];
        for (i, d) in delta.iter().enumerate() {
            expected[i % WIDTH] += d;
        }
        let scratch = vec![f32::NAN; dense::column_sums_scratch(rows, WIDTH)];
        let out = context.upload(&[f32::NAN; WIDTH]);
        let (delta, scratch) = (upload(context, &delta), context.upload(&scratch));
        dense::column_sums(context, &delta, &scratch, &out, rows, WIDTH)?;
        let mut outcome = Outcome::named(format!("sums of {rows} rows"));
        let found: Vec<f32> = context.download("contract", &out)?;
        outcome.add(&found, &expected, |e| rows as f64 * UNIT * (e.abs() + 1.0));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn cross_entropy(context: &Context) -> Result<Vec<Outcome>, Error> {
    // Logits of up to a hundred.
    let sizes = [1.0, 4.0, 16.0, 100.0];
    let z: Vec<f64> = (0..ROWS * WIDTH)
        .map(|i| sizes[i % 4] * dyadic(1, i))
        .collect();
    let targets: Vec<f64> = (0..ROWS * WIDTH).map(|i| dyadic(2, i).abs()).collect();
    let (expected, gradient) = reference::cross_entropy(&z, &targets, ROWS);
    let (logits, pixels) = (upload(context, &z), upload(context, &targets));
    let partials = context.upload(&vec![f32::NAN; ROWS * loss::LANES]);
    loss::loss(context, &logits, &pixels, &partials, ROWS, WIDTH, Some(1.0))?;
    let found = loss::mean_loss(context, &partials, ROWS)?;
    let mut of_loss = Outcome::named("loss");
    of_loss.add(&[found as f32], &[expected], |e| 16.0 * UNIT * e);
    let mut of_gradient = Outcome::named("gradient");
    let found: Vec<f32> = context.download("contract", &logits)?;
    // σ − t is a difference of numbers up to 1.
    let scale = 1.0 / ROWS as f64;
    of_gradient.add(&found, &gradient, |e| 32.0 * UNIT * (e.abs() + scale));
    Ok(vec![of_loss, of_gradient])
}

fn product(
    context: &Context,
    strategy: Strategy<matmul::Blueprint>,
) -> Result<Vec<Outcome>, Error> {
    let [m, k, n] = [30, 50, 20];
    let (a, b) = (matrix(7, m * k, 1.0), matrix(8, n * k, 1.0));
    let out = context.upload(&vec![f32::NAN; m * n]);
    let c = DeviceMatrix::row_major(out.clone(), m, n)?;
    let left = DeviceMatrix::row_major(upload(context, &a), m, k)?;
    let right = DeviceMatrix::row_major(upload(context, &b), n, k)?.transposed();
    matmul::device(context, &c, &left, &right, strategy)?;
    let entry = |at: usize| {
        let (i, j) = (at / n, at % n);
        (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f64>()
    };
    let expected: Vec<f64> = (0..m * n).map(entry).collect();
    let mut outcome = Outcome::named("A Bᵀ");
    let found: Vec<f32> = context.download("contract", &out)?;
    outcome.add(&found, &expected, |e| {
        (k + 2) as f64 * UNIT * (e.abs() + 1.0)
    });
    Ok(vec![outcome])
}
