//! Times of the autoencoder's matrix products where its network computes them: in host memory beside a software driver, else on the
//! device, in f32 and in bf16; and there of a large square one, in every way that the device has.

use cubecl::server::Handle;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use sonew_kernels::launch::Strategy;
use sonew_kernels::network::{Step, steps};
use sonew_kernels::product::{
    self, Blueprint, Factors, HostMatrix, Parts, Product, Products, Scale, View,
};
use sonew_optimizers::{Context, Units};

use super::BenchError;
use super::noise::noise;
use super::stopwatch::{Effort, Seconds, Stopwatch, Work};
use crate::workloads::autoencoder::weights::AUTOENCODER_SIZES;

/// What the command line calls them.
pub(super) const PRODUCT: &str = "product";

/// Images of a batch.
const BATCH: usize = 1000;
/// Rows and columns of a product that no device has too few tiles for.
const SQUARE: usize = 4096;

/// A launch of products, or products one after the other on the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductSubject {
    /// Which.
    pub name: String,
    /// m, n and k of each.
    pub shapes: Vec<[usize; 3]>,
    /// What is multiplied.
    pub factors: Factors,
    /// Tiles of all results; none on the host.
    pub tiles: Option<usize>,
}

/// How long it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductTime {
    /// What.
    #[serde(flatten)]
    pub subject: ProductSubject,
    /// Of all of them.
    pub seconds: Seconds,
}

impl ProductSubject {
    /// Products and sums, two for each term.
    pub fn operations(&self) -> f64 {
        let of = |&[m, n, k]: &[usize; 3]| 2.0 * (m * n * k) as f64;
        self.shapes.iter().map(of).sum()
    }
}

/// What times products.
pub type ProductTimer<'a> = &'a mut dyn FnMut(ProductSubject, Work<'_>) -> Result<(), BenchError>;

/// Times and proves the products; `tell` hears of what is next.
///
/// # Errors
/// As [`each_product`].
pub fn products(
    context: &Context,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<ProductTime>, BenchError> {
    let mut times = Vec::new();
    each_product(context, &mut |subject, work| {
        tell(&format!("product, {}, {}", subject.name, subject.factors));
        let seconds = Stopwatch::new(work, effort)?.run(effort)?;
        times.push(ProductTime { subject, seconds });
        Ok(())
    })?;
    Ok(times)
}

/// Gives each launch of products of a training step to `timer`, and a large one on a GPU, in each way that the device multiplies, and
/// proves what it has found then.
///
/// # Errors
/// [`BenchError::Wrong`] for a product that is, and whatever launches refuse or report.
pub fn each_product(context: &Context, timer: ProductTimer<'_>) -> Result<(), BenchError> {
    let on_device = !context.profile().host_memory;
    let has = |parts: &Parts| on_device && parts.have_units(context);
    let ways = |parts: &[Parts]| -> Vec<Option<Parts>> {
        let there = parts.iter().copied().filter(has).map(Some);
        [None].into_iter().chain(there).collect()
    };
    for parts in ways(&[Parts::Bf16]) {
        for step in steps(&AUTOENCODER_SIZES, BATCH) {
            time(step, parts, context, timer)?;
        }
    }
    if on_device {
        for parts in ways(&[Parts::Three, Parts::Tf32, Parts::Bf16, Parts::F16]) {
            let square = Step {
                name: format!("{SQUARE} × {SQUARE}"),
                shapes: vec![[SQUARE; 3]],
                transposed: [false; 2],
            };
            time(square, parts, context, timer)?;
        }
    }
    Ok(())
}

/// Each product, in buffers that hold them one after the other at multiples of 64 values, and the length of each buffer.
fn laid_out(step: &Step) -> (Vec<Product>, [usize; 3]) {
    let mut ends = [0; 3];
    let mut take = |buffer: usize, count: usize| {
        let start = ends[buffer];
        ends[buffer] = (start + count).next_multiple_of(64);
        start
    };
    let view = |start, [rows, columns]: [usize; 2], transposed: bool| {
        if transposed {
            View::rows(start, rows).transposed()
        } else {
            View::rows(start, columns)
        }
    };
    let products = step.shapes.iter().map(|&[m, n, k]| Product {
        a: view(take(0, m * k), [m, k], step.transposed[0]),
        b: view(take(1, k * n), [k, n], step.transposed[1]),
        c: view(take(2, m * n), [m, n], false),
        m,
        n,
        k,
    });
    (products.collect(), ends)
}

/// A value that these factors are exactly.
fn value(i: usize, parts: Option<Parts>) -> f32 {
    match parts {
        None | Some(Parts::Three) => noise(i),
        Some(Parts::Bf16) => bf16::from_f32(noise(i)).to_f32(),
        Some(Parts::F16 | Parts::Tf32) => f16::from_f32(noise(i)).to_f32(),
    }
}

fn time(
    step: Step,
    parts: Option<Parts>,
    context: &Context,
    timer: ProductTimer<'_>,
) -> Result<(), BenchError> {
    let (products, [of_a, of_b, of_c]) = laid_out(&step);
    let values = |seed: usize, count: usize| (0..count).map(|i| value(i + seed, parts)).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (values(0, of_a), values(1 << 24, of_b));
    let mut c = vec![0f32; of_c];
    let mut subject = ProductSubject {
        name: step.name.clone(),
        shapes: step.shapes,
        factors: parts.map_or(Factors::Whole, Factors::Matrix),
        tiles: None,
    };
    match context.profile().units {
        Units::Few => {
            let work = Work::new(context, || {
                for product in &products {
                    on_host(product, &a, &b, &mut c)?;
                }
                Ok(())
            });
            timer(subject, work)?;
        }
        Units::Many => {
            let results = products.iter().map(|product| [product.m, product.n]);
            let blueprint = Blueprint::choose(context, parts, results);
            let table = Products::new(context, &products, Strategy::Forced(blueprint))?;
            subject.tiles = Some(table.tiles());
            let buffers = [&a, &b, &c].map(|it| context.upload(it));
            timer(subject, on_device(context, &table, &buffers))?;
            c = context.download("bench", &buffers[2])?;
        }
    }
    for product in &products {
        prove(&step.name, product, [&a, &b, &c])?;
    }
    Ok(())
}

fn on_device<'a>(context: &'a Context, table: &'a Products, buffers: &'a [Handle; 3]) -> Work<'a> {
    Work::new(context, || {
        product::multiply(context, table, buffers.each_ref(), Scale::default())?;
        Ok(())
    })
}

/// Seconds of an m × k and a k × n matrix in tiles of one form, proven.
///
/// # Errors
/// As [`each_product`].
pub fn tile(
    context: &Context,
    blueprint: Blueprint,
    [m, n, k]: [usize; 3],
    effort: Effort,
) -> Result<Seconds, BenchError> {
    let parts = match blueprint.factors {
        Factors::Whole => None,
        Factors::Parts(parts) | Factors::Matrix(parts) => Some(parts),
    };
    let product = Product::row_major([m, k, n]);
    let values = |seed: usize, count: usize| (0..count).map(|i| value(i + seed, parts)).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (values(0, m * k), values(1 << 24, k * n));
    let table = Products::new(context, &[product], Strategy::Forced(blueprint))?;
    let c = vec![0f32; m * n];
    let buffers = [&a, &b, &c].map(|it| context.upload(it));
    let work = on_device(context, &table, &buffers);
    let seconds = Stopwatch::new(work, effort)?.run(effort)?;
    let c: Vec<f32> = context.download("bench", &buffers[2])?;
    prove("a tile", &product, [&a, &b, &c])?;
    Ok(seconds)
}

/// Requires that the last row of a product is right.
fn prove(name: &str, product: &Product, [a, b, c]: [&[f32]; 3]) -> Result<(), BenchError> {
    let Product { m, n, k, .. } = *product;
    let entry = |values: &[f32], view: View, row: usize, column: usize| {
        let View {
            offset,
            row_stride,
            column_stride,
        } = view;
        f64::from(values[offset + row * row_stride + column * column_stride])
    };
    for j in 0..n {
        let term = |l| entry(a, product.a, m - 1, l) * entry(b, product.b, l, j);
        let terms = (0..k).map(term);
        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
        // k roundings, whatever the order of the sum (Higham, Accuracy and Stability, 3.1).
        let allowed = k as f64 * size * f64::from(f32::EPSILON);
        let error = (entry(c, product.c, m - 1, j) - exact).abs();
        // Not a number is wrong too.
        if error.partial_cmp(&allowed).is_none_or(|it| it.is_gt()) {
            return Err(BenchError::Wrong {
                kernel: PRODUCT,
                case: name.into(),
                precision: "f32",
                what: "an entry".into(),
                error,
                allowed,
            });
        }
    }
    Ok(())
}

fn on_host(product: &Product, a: &[f32], b: &[f32], c: &mut [f32]) -> Result<(), BenchError> {
    let Product { m, n, k, .. } = *product;
    let (left, right) = (matrix(a, product.a, [m, k])?, matrix(b, product.b, [k, n])?);
    let start = product.c.offset;
    product::host(&mut c[start..start + m * n], left, right, false)?;
    Ok(())
}

/// A matrix whose rows, or those of its transpose, follow each other.
fn matrix(
    values: &[f32],
    view: View,
    [rows, columns]: [usize; 2],
) -> Result<HostMatrix<'_>, BenchError> {
    let values = &values[view.offset..view.offset + rows * columns];
    Ok(if view.column_stride == 1 {
        HostMatrix::row_major(values, rows, columns)?
    } else {
        HostMatrix::row_major(values, columns, rows)?.transposed()
    })
}
