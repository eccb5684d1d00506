//! What a device can do at most, measured: how fast it copies and how fast it multiplies.

use serde::{Deserialize, Serialize};
use sonew_kernels::matmul::{self, DeviceMatrix, HostMatrix};
use sonew_kernels::precision::{F32Twins, Native, Twins, convert, require};
use sonew_kernels::sweep::Strategy;
use sonew_optimizers::{Context, Processor, Segments};

use super::BenchError;
use super::noise::{arena, noise};
use super::stopwatch::{Effort, Stopwatch, Work};

/// Of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Bytes read and written in a second by a kernel that copies f32 from one buffer to another.
    pub copied_per_second: f64,
    /// Operations in a second of a product of square f32 matrices, where products of the device are computed: on the host for
    /// a software driver.
    pub operations_per_second: f64,
}

impl Ceiling {
    /// Measures, on `values` values, and on matrices that are large for the device.
    ///
    /// # Errors
    /// Whatever launches refuse or report.
    pub fn measure(context: &Context, values: usize, effort: Effort) -> Result<Self, BenchError> {
        let segments = Segments::new(&[values])?;
        let values_copied = arena(&segments, 0);
        let from = context.upload(&values_copied);
        let to = context.upload(&vec![0f32; segments.arena_len()]);
        let wide = context.processor() == Processor::Cpu && require::<F32Twins>(context).is_ok();
        let copy = Stopwatch::new(
            Work::new(context, || {
                if wide {
                    convert::<Twins, Twins>(context, &segments, &from, &to, Strategy::Inferred)?;
                } else {
                    convert::<Native<f32>, Native<f32>>(
                        context,
                        &segments,
                        &from,
                        &to,
                        Strategy::Inferred,
                    )?;
                }
                Ok(())
            }),
            effort,
        )?;
        let copied_per_second = 8.0 * values as f64 / copy.run(effort)?.median;
        let wrong = |found: &[f32]| found != values_copied;
        if context.view("bench", &to, wrong)? {
            return Err(wrong_ceiling("copy", "a value", 1.0, 0.0));
        }
        let n = match context.processor() {
            Processor::Cpu => 1024,
            Processor::Gpu => 4096,
        };
        let product = product(context, n, effort)?;
        Ok(Self {
            copied_per_second,
            operations_per_second: 2.0 * (n as f64).powi(3) / product,
        })
    }
}

/// Seconds of a product of two n × n matrices, whose first row is right.
fn product(context: &Context, n: usize, effort: Effort) -> Result<f64, BenchError> {
    let matrix = |seed: usize| -> Vec<f32> { (0..n * n).map(|i| noise(i + seed)).collect() };
    let (a, b) = (matrix(0), matrix(1 << 24));
    let mut c = vec![0f32; n * n];
    let seconds = match context.processor() {
        Processor::Cpu => {
            let product = Stopwatch::new(
                Work::new(context, || {
                    let (a, b) = (
                        HostMatrix::row_major(&a, n, n)?,
                        HostMatrix::row_major(&b, n, n)?,
                    );
                    matmul::host(&mut c, a, b, false)?;
                    Ok(())
                }),
                effort,
            )?;
            product.run(effort)?
        }
        Processor::Gpu => {
            let upload = |values: &[f32]| DeviceMatrix::row_major(context.upload(values), n, n);
            let (left, right) = (upload(&a)?, upload(&b)?);
            let out = context.upload(&c);
            let into = DeviceMatrix::row_major(out.clone(), n, n)?;
            let product = Stopwatch::new(
                Work::new(context, || {
                    matmul::device(context, &into, &left, &right, Strategy::Inferred)?;
                    Ok(())
                }),
                effort,
            )?;
            let seconds = product.run(effort)?;
            c = context.download("bench", &out)?;
            seconds
        }
    };
    for (j, &found) in c[..n].iter().enumerate() {
        let terms = (0..n).map(|k| f64::from(a[k]) * f64::from(b[k * n + j]));
        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
        // n roundings, whatever the order of the sum (Higham, Accuracy and Stability, 3.1).
        let allowed = n as f64 * size * f64::from(f32::EPSILON);
        let error = (f64::from(found) - exact).abs();
        // Not a number is wrong too.
        if error.partial_cmp(&allowed).is_none_or(|it| it.is_gt()) {
            return Err(wrong_ceiling("product", "an entry", error, allowed));
        }
    }
    Ok(seconds.median)
}

fn wrong_ceiling(kernel: &'static str, what: &str, error: f64, allowed: f64) -> BenchError {
    BenchError::Wrong {
        kernel,
        case: String::new(),
        precision: "f32",
        what: what.into(),
        error,
        allowed,
    }
}
