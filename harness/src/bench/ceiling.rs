//! What a device can do at most, measured: how fast it copies and how fast it multiplies.

use cubecl::Runtime;
use serde::{Deserialize, Serialize};
use sonew_kernels::matmul::{self, DeviceMatrix, HostMatrix};
use sonew_kernels::precision::{Native, Twins, convert};
use sonew_kernels::sweep::Strategy;
use sonew_optimizers::{Context, Processor, Segments};

use super::BenchError;
use super::noise::noise;
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
    pub fn measure<R: Runtime>(
        context: &Context<R>,
        values: usize,
        effort: Effort,
    ) -> Result<Self, BenchError> {
        let segments = Segments::new(&[values])?;
        let from = context.upload(&vec![1f32; segments.arena_len()]);
        let to = context.upload(&vec![0f32; segments.arena_len()]);
        let wide = context.processor() == Processor::Cpu && context.has_words_of_64_bits();
        let copy = Stopwatch::new(
            Work::new(context, || {
                if wide {
                    convert::<Twins, Twins, R>(context, &segments, &from, &to)?;
                } else {
                    convert::<Native<f32>, Native<f32>, R>(context, &segments, &from, &to)?;
                }
                Ok(())
            }),
            effort,
        )?;
        let copied_per_second = 8.0 * values as f64 / copy.run(effort)?.median;
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

/// Seconds of a product of two n × n matrices.
fn product<R: Runtime>(context: &Context<R>, n: usize, effort: Effort) -> Result<f64, BenchError> {
    let matrix = |seed: usize| -> Vec<f32> { (0..n * n).map(|i| noise(i + seed)).collect() };
    let (a, b) = (matrix(0), matrix(1 << 24));
    let mut c = vec![0f32; n * n];
    let product = match context.processor() {
        Processor::Cpu => Stopwatch::new(
            Work::new(context, || {
                let (a, b) = (
                    HostMatrix::row_major(&a, n, n)?,
                    HostMatrix::row_major(&b, n, n)?,
                );
                matmul::host(&mut c, a, b, false)?;
                Ok(())
            }),
            effort,
        )?,
        Processor::Gpu => {
            let upload = |values: &[f32]| DeviceMatrix::row_major(context.upload(values), n, n);
            let (a, b, c) = (upload(&a)?, upload(&b)?, upload(&c)?);
            Stopwatch::new(
                Work::new(context, move || {
                    matmul::device(context, &c, &a, &b, Strategy::Inferred)?;
                    Ok(())
                }),
                effort,
            )?
        }
    };
    Ok(product.run(effort)?.median)
}
