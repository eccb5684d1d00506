//! What each policy for small pivots does to the factor in each precision: gradients of growing correlation, their
//! statistics rounded to the format, u = L D Lᵀ m on the device against f64.

use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::error::Error;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::launch::Strategy;
use sonew_kernels::noise::noise;
use sonew_kernels::precision::{self, HostFormat, Precision, PrecisionKind, PrecisionVisitor};
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, PreconditionBuffers, Tolerance, factor,
    precondition,
};
use sonew_optimizers::Context;

use crate::table::{Column, Table};

/// Columns of the chain.
const N: usize = 1024;
/// Gradients in the statistics.
const GRADIENTS: usize = 40;

/// What is compared.
pub struct Comparison {
    /// Band width.
    pub band: usize,
    /// Sizes of the noise that tells a gradient's values apart: neighbours have the correlation 1/(1 + δ²).
    pub noises: Vec<f64>,
    /// The precisions; of those with f32 states one is enough.
    pub precisions: Vec<PrecisionKind>,
}

impl Comparison {
    /// A row for each noise, precision, γ (none, that of the precision) and policy.
    ///
    /// # Errors
    /// As [`factor`] and [`precondition`].
    pub fn table(&self, context: &Context) -> Result<Table, Error> {
        let mut table = Table::new(vec![
            Column::right("δ"),
            Column::left("precision"),
            Column::right("γ"),
            Column::left("removal"),
            Column::right("error of u"),
            Column::right("largest |L|"),
            Column::right("largest H D"),
            Column::right("H D in f64, uncut"),
            Column::right("pivots cut"),
        ]);
        for &noise in &self.noises {
            let statistics = correlated(self.band, noise);
            for &precision in &self.precisions {
                let rows = precision.accept(Rows {
                    context,
                    statistics: &statistics,
                    noise,
                })?;
                rows.into_iter().for_each(|row| table.push(row));
            }
        }
        Ok(table)
    }
}

/// Statistics of gradients g_i = s + δ ξ_i with a common s, and an m, all of size 1.
fn correlated(band: usize, noise: f64) -> Statistics {
    let mut statistics = Statistics::zeros(N, band);
    for step in 0..GRADIENTS {
        let common = 1.0 + 0.5 * unstructured(step, N);
        let g: Vec<f64> = (0..N)
            .map(|i| common + noise * unstructured(step, i))
            .collect();
        statistics.accumulate(&g, 0.9, Decay::Average(0.9));
    }
    statistics.moment = (0..N).map(|i| unstructured(GRADIENTS, i)).collect();
    statistics
}

/// An unstructured value in [−1, 1).
fn unstructured(step: usize, i: usize) -> f64 {
    noise(step * 100_003 + i + 1)
}

struct Rows<'a> {
    context: &'a Context,
    statistics: &'a Statistics,
    noise: f64,
}

impl PrecisionVisitor for Rows<'_> {
    type Output = Result<Vec<Vec<String>>, Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        precision::require::<P>(self.context)?;
        let held = |values: &[f64]| -> Vec<f64> {
            let held = values.iter().map(|&x| P::State::rounded(x as f32));
            held.map(f64::from).collect()
        };
        let h = Statistics {
            moment: held(&self.statistics.moment),
            diagonal: held(&self.statistics.diagonal),
            edges: self.statistics.edges.iter().map(|e| held(e)).collect(),
        };
        let nothing = Tolerance {
            absolute: 0.0,
            relative: 0.0,
        };
        let uncut = reference::factor(self.statistics, nothing, EdgeRemoval::Outgoing);
        let condition = largest_product(&self.statistics.diagonal, &uncut.d);
        let mut rows = Vec::new();
        for relative in [0.0, P::GAMMA] {
            let gamma = Tolerance {
                absolute: 0.0,
                relative,
            };
            for (name, removal) in EdgeRemoval::ALL {
                let found = on_device::<P>(self.context, &h, gamma, removal)?;
                let expected = reference::factor(&h, gamma, removal).precondition(&h.moment);
                rows.push(vec![
                    format!("{:.0e}", self.noise),
                    P::NAME.into(),
                    format!("{relative:.0e}"),
                    name.into(),
                    format!("{:.1e}", relative_error(&found.u, &expected)),
                    format!("{:.1e}", found.largest_psi),
                    format!("{:.1e}", largest_product(&h.diagonal, &found.d)),
                    format!("{condition:.1e}"),
                    found.cut.to_string(),
                ]);
            }
        }
        Ok(rows)
    }
}

/// What the device made of statistics.
struct Found {
    u: Vec<f64>,
    d: Vec<f64>,
    /// At least 1, the diagonal of L.
    largest_psi: f64,
    cut: u64,
}

fn on_device<P: Precision>(
    context: &Context,
    h: &Statistics,
    gamma: Tolerance,
    removal: EdgeRemoval,
) -> Result<Found, Error> {
    let layout = Layout::new(&[N])?;
    let band = h.edges.len();
    let upload = |values: &[f64]| -> Result<Arena, Error> {
        let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        Arena::of(context, &layout, P::State::FORMAT, &[narrow])
    };
    let read = |arena: &Arena| -> Result<Vec<f64>, Error> {
        let values = arena.tensors(context)?.concat();
        Ok(values.into_iter().map(f64::from).collect())
    };
    let empty = || upload(&[0.0; N]);
    let edges = h.edges.iter().map(|e| upload(e));
    let edges = edges.collect::<Result<Vec<_>, _>>()?;
    let psi = (0..band).map(|_| empty()).collect::<Result<Vec<_>, _>>()?;
    let (d, u) = (empty()?, empty()?);
    let blueprint = Blueprint::of::<P>(context, "banded-ldl", band);
    let evidence = Slots::of(context, &layout, blueprint.sweep);
    let buffers = FactorBuffers {
        diagonal: &upload(&h.diagonal)?,
        edges: &edges,
        psi: &psi,
        d: &d,
        evidence: &evidence,
    };
    let strategy = Strategy::Forced(blueprint);
    factor::<P>(context, buffers, 1.0, 0.0, gamma, removal, strategy)?;
    let buffers = PreconditionBuffers {
        psi: &psi,
        d: &d,
        moment: &upload(&h.moment)?,
        direction: &u,
    };
    precondition::<P>(context, buffers, Strategy::Inferred)?;
    let mut largest_psi = 1.0f64;
    for psi in &psi {
        largest_psi = read(psi)?
            .iter()
            .fold(largest_psi, |most, x| most.max(x.abs()));
    }
    Ok(Found {
        u: read(&u)?,
        d: read(&d)?,
        largest_psi,
        cut: Evidence::read(context, "stability", &evidence)?.count,
    })
}

/// max_j H_jj D_j: what a relative error of H_jj is amplified by in D_j.
fn largest_product(diagonal: &[f64], d: &[f64]) -> f64 {
    let products = diagonal.iter().zip(d).map(|(h, d)| h * d);
    products.fold(0.0, f64::max)
}

fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let square: f64 = found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f - e).powi(2))
        .sum();
    let norm: f64 = expected.iter().map(|e| e * e).sum();
    (square / norm).sqrt()
}
