//! Norms of tensors, which are f32 in every precision.

use super::Check;
use super::bench::Bench;
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::norms::{Reduction, norm_per_tensor};
use crate::precision::{F32, HostFormat, Precision};
use crate::sonew::largest_row_sum;
use crate::sonew::reference::Statistics;

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    vec![Check::new("norms", "", norms::<P>)]
}

fn norms<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let layout = &bench.layout;
    let reduction = Reduction::new(context, layout);
    let partials = bench.values(layout.blocks() - 2);
    let out = bench.values(lengths.len());
    let values = bench.dyadic(9);
    let unit = <F32 as Precision>::State::ROUNDOFF;

    let params = bench.arena::<P::Params>(&values)?;
    norm_per_tensor::<P>(context, &reduction, &params, &partials, &out)?;
    let mut lengths_found = Outcome::named("‖g‖");
    let expected: Vec<f64> = values
        .iter()
        .map(|t| t.iter().map(|x| x * x).sum::<f64>().sqrt())
        .collect();
    // A block of 256, and the blocks of a tensor, each summed in turn.
    let blocks = lengths.iter().max().map_or(0, |n| n.div_ceil(256)) as f64;
    let found: Vec<f32> = context.download("contract", &out)?;
    lengths_found.add(&found, &expected, |e| (257.0 + blocks) * unit * e);

    let diagonal = bench.arena::<P::State>(&values)?;
    // The last value of an edge couples nothing.
    let mut edge = values.clone();
    for values in &mut edge {
        if let Some(last) = values.last_mut() {
            *last = 0.0;
        }
    }
    let edges = [bench.arena::<P::State>(&edge)?];
    largest_row_sum::<P>(context, &reduction, &diagonal, &edges, &partials, &out)?;
    let mut rows = Outcome::named("‖H‖₁");
    let expected: Vec<f64> = values
        .into_iter()
        .zip(edge)
        .map(|(diagonal, edge)| {
            let h = Statistics {
                moment: Vec::new(),
                diagonal,
                edges: vec![edge],
            };
            h.largest_row_sum()
        })
        .collect();
    let found: Vec<f32> = context.download("contract", &out)?;
    rows.add(&found, &expected, |e| 4.0 * unit * e);
    Ok(vec![lengths_found, rows])
}
