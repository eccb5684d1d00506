//! What a device can do at most, measured: how fast it copies and how fast it multiplies.

use serde::{Deserialize, Serialize};
use sonew_kernels::launch::Strategy;
use sonew_kernels::precision::{F32Twins, Format, Native, Twins, convert, require};
use sonew_kernels::product::{self, HostMatrix, Product, Products, Scale};
use sonew_optimizers::{Arena, Context, Layout, Units};

use super::BenchError;
use super::noise::{arena, noise};
use super::stopwatch::{Effort, Stopwatch, Work};

/// Values of the arrays between which a GPU copies what is larger than its caches: 512 MiB each, ten times what any holds.
const BEYOND_CACHES: usize = 1 << 27;
/// Values whose copy may stay in a cache: 64 MiB, read and written. A kernel over so few is held against a copy of as many.
const IN_CACHES: usize = 1 << 23;

/// Of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// How fast a kernel copies f32 from one buffer to another, the fewest values first; at least one.
    pub copies: Vec<Copied>,
    /// Operations in a second of a product of square f32 matrices, where products of the device are computed: on the host for
    /// a software driver.
    pub operations_per_second: f64,
}

/// Copies of some length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// Values in each of the two arrays.
    pub values: usize,
    /// Bytes read and written in a second.
    pub bytes_per_second: f64,
}

impl Ceiling {
    /// Measures copies that kernels over so many values are held against, and a product of matrices that are large for the
    /// device.
    ///
    /// On a GPU those over few values are held against a copy of as many, which its caches may hold too, and all others against
    /// one that no cache holds, or the largest that the device has buffers for. A software driver copies as many as asked for.
    ///
    /// # Errors
    /// Whatever launches refuse or report.
    pub fn measure(context: &Context, sizes: &[usize], effort: Effort) -> Result<Self, BenchError> {
        let mut sizes: Vec<usize> = match context.profile().units {
            Units::Few => sizes.to_vec(),
            Units::Many => {
                // An arena has pads.
                let largest = (context.largest_buffer() / 4).saturating_sub(1 << 14) as usize;
                let beyond = BEYOND_CACHES.min(largest);
                let replaced = |&n: &usize| if n <= IN_CACHES { n } else { beyond };
                sizes.iter().map(replaced).collect()
            }
        };
        sizes.sort_unstable();
        sizes.dedup();
        let copies = sizes.into_iter().map(|n| copied(context, n, effort));
        let copies = copies.collect::<Result<_, _>>()?;
        let n = match context.profile().units {
            Units::Few => 1024,
            Units::Many => 4096,
        };
        let product = product(context, n, effort)?;
        Ok(Self {
            copies,
            operations_per_second: 2.0 * (n as f64).powi(3) / product,
        })
    }

    /// Bytes in a second of the copy that a kernel over so many values is held against: the shortest that is as long, or the
    /// longest of all.
    pub fn copied_per_second(&self, values: usize) -> f64 {
        let as_long = self.copies.iter().find(|it| it.values >= values);
        let copied = as_long.or(self.copies.last());
        copied.map_or(f64::NAN, |it| it.bytes_per_second)
    }
}

/// Times a copy, and holds it to what was copied.
fn copied(context: &Context, values: usize, effort: Effort) -> Result<Copied, BenchError> {
    let layout = Layout::new(&[values])?;
    let values_copied = arena(&layout, 0);
    let from = Arena::from_values(context, &layout, Format::F32, &values_copied)?;
    let to = Arena::zeros(context, &layout, Format::F32);
    let wide = context.profile().wide_words && require::<F32Twins>(context).is_ok();
    let copy = Stopwatch::new(
        Work::new(context, || {
            if wide {
                convert::<Twins, Twins>(context, &from, &to, Strategy::Inferred)?;
            } else {
                convert::<Native<f32>, Native<f32>>(context, &from, &to, Strategy::Inferred)?;
            }
            Ok(())
        }),
        effort,
    )?;
    let bytes_per_second = 8.0 * values as f64 / copy.run(effort)?.median;
    let wrong = |found: &[f32]| found != values_copied;
    if to.view(context, "bench", wrong)? {
        return Err(wrong_ceiling("copy", "a value", 1.0, 0.0));
    }
    Ok(Copied {
        values,
        bytes_per_second,
    })
}

/// Seconds of a product of two n × n matrices, whose first row is right.
fn product(context: &Context, n: usize, effort: Effort) -> Result<f64, BenchError> {
    let matrix = |seed: usize| -> Vec<f32> { (0..n * n).map(|i| noise(i + seed)).collect() };
    let (a, b) = (matrix(0), matrix(1 << 24));
    let mut c = vec![0f32; n * n];
    let seconds = match context.profile().units {
        Units::Few => {
            let product = Stopwatch::new(
                Work::new(context, || {
                    let (a, b) = (
                        HostMatrix::row_major(&a, n, n)?,
                        HostMatrix::row_major(&b, n, n)?,
                    );
                    product::host(&mut c, a, b, false)?;
                    Ok(())
                }),
                effort,
            )?;
            product.run(effort)?
        }
        Units::Many => {
            let product = Product::row_major([n; 3]);
            let products = Products::new(context, &[product], Strategy::Inferred)?;
            let (left, right) = (context.upload(&a), context.upload(&b));
            let out = context.upload(&c);
            let product = Stopwatch::new(
                Work::new(context, || {
                    product::multiply(context, &products, [&left, &right, &out], Scale::default())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_held_against_the_shortest_copy_as_long_as_it() {
        let copied = |values, bytes_per_second| Copied {
            values,
            bytes_per_second,
        };
        let ceiling = Ceiling {
            copies: vec![copied(100, 9.0), copied(1000, 4.0)],
            operations_per_second: 1.0,
        };
        let found = [1, 100, 101, 1000, 5000].map(|n| ceiling.copied_per_second(n));
        assert_eq!(found, [9.0, 9.0, 4.0, 4.0, 4.0]);
    }
}
