//! Gradients on their way to a step, and the average of the weights behind it.

use super::Check;
use super::bench::Bench;
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::first_order::{average_weights, average_weights_reference};
use crate::gradients::{Clipping, accumulate, clip, reference};
use crate::launch::{Strategy, Sweep};
use crate::norms::{GLOBAL, Reduction, global_norm, norm_of_each};
use crate::precision::{HostFormat, Native, Precision};

const UNIT: f64 = <Native<f32> as HostFormat>::ROUNDOFF;

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    vec![
        Check::new("global-norm", "", norms::<P>),
        Check::new("clip", "", clips::<P>),
        Check::new("accumulate", "", means::<P>),
        Check::new("average-weights", "", averages::<P>),
    ]
}

/// Over all tensors, and without the first; with a bound below the norm and one above.
fn norms<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let layout = &bench.layout;
    let values = bench.dyadic(9);
    let grads = bench.arena::<P::Params>(&values)?;
    let reduction = Reduction::new(context, layout);
    let (partials, each) = (
        bench.values(layout.blocks() - 2),
        bench.values(lengths.len()),
    );
    norm_of_each(context, &reduction, &grads, &partials, &each)?;
    let (out, mut found) = (bench.values(GLOBAL), Outcome::named("‖g‖, s"));
    let blocks = lengths.iter().max().map_or(0, |n| n.div_ceil(256)) as f64;
    // A block of 256, the blocks of a tensor, and the tensors, each summed in turn; then a quotient.
    let roundings = 259.0 + blocks + lengths.len() as f64;
    for leaves_out in [false, true] {
        let counted: Vec<bool> = (0..lengths.len()).map(|t| t > 0 || !leaves_out).collect();
        let words: Vec<u32> = counted.iter().map(|&it| it.into()).collect();
        let words = context.upload(&words);
        let norm = reference::global_norm(&values, &counted);
        for most in [0.5, 1e6] {
            global_norm(context, layout, &each, &words, most, &out)?;
            let pair: Vec<f32> = context.download("contract", &out)?;
            let expected = [norm, reference::clip_factor(norm, most)];
            found.add(&pair, &expected, |e| roundings * UNIT * e);
        }
    }
    Ok(vec![found])
}

fn clips<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let values = bench.dyadic(4);
    let [narrow, wide] = [
        bench.arena::<P::Params>(&values)?,
        bench.arena::<Native<f32>>(&values)?,
    ];
    let (bound, factor) = (0.75, 0.375);
    let global = context.upload(&[2.0f32, factor as f32]);
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, "clip"));
    let mut outcomes = Vec::new();
    let mut look = |name: &str, clipping: Clipping<'_>, from, to| {
        clip(context, from, to, clipping, sweep)?;
        let mut outcome = Outcome::named(name);
        let factor = if clipping.global.is_some() {
            factor
        } else {
            1.0
        };
        for (found, values) in bench.read(to)?.iter().zip(&values) {
            let expected: Vec<f64> = values
                .iter()
                .map(|&g| reference::clipped(g, clipping.bound, factor))
                .collect();
            outcome.add(found, &expected, |e| P::Params::ROUNDOFF * e.abs());
        }
        outcomes.push(outcome);
        Ok::<(), Error>(())
    };
    let by_value = Clipping {
        bound: Some(bound),
        global: None,
    };
    let by_norm = Clipping {
        bound: None,
        global: Some(&global),
    };
    let both = Clipping {
        bound: Some(bound),
        global: Some(&global),
    };
    let to = bench.empty::<P::Params>();
    look("clipped by value", by_value, Some(&narrow), &to)?;
    look("by the factor, from f32", by_norm, Some(&wide), &to)?;
    look("by both, in place", both, None, &narrow)?;
    Ok(outcomes)
}

fn means<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    // What is there before the first does not matter.
    let mean = bench.arena::<Native<f32>>(&bench.dyadic(1))?;
    let mut expected = bench.tensors(|_, _| 0.0);
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, "accumulate"));
    let (of, mut outcomes) = (3, Vec::new());
    for t in 0..of as usize {
        let values = bench.dyadic(100 * (t + 1));
        let grads = bench.arena::<P::Params>(&values)?;
        accumulate(context, &grads, &mean, of, t == 0, sweep)?;
        let mut outcome = Outcome::named(format!("the mean after {} of {of}", t + 1));
        for ((found, expected), g) in bench.read(&mean)?.iter().zip(&mut expected).zip(&values) {
            reference::accumulate(expected, g, of, t == 0);
            // Each third is rounded twice, and their sum is at most 1.
            outcome.add(found, expected, |_| 3.0 * (t + 1) as f64 * UNIT);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn averages<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let averages = bench.arena::<Native<f32>>(&bench.dyadic(1))?;
    let mut expected = bench.tensors(|_, _| 0.0);
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, "average-weights"));
    let mut outcomes = Vec::new();
    for t in 0..3 {
        let values = bench.dyadic(100 * (t + 1));
        let weights = bench.arena::<P::Params>(&values)?;
        average_weights(context, &weights, &averages, 0.9, t == 0, sweep)?;
        let mut outcome = Outcome::named(format!("the average after {} weights", t + 1));
        for ((found, expected), w) in bench
            .read(&averages)?
            .iter()
            .zip(&mut expected)
            .zip(&values)
        {
            average_weights_reference(expected, w, 0.9, t == 0);
            // Two decays, two products and a sum, of values of at most 1.
            outcome.add(found, expected, |_| 5.0 * t as f64 * UNIT);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}
