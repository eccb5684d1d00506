//! SONew with the step length of another method: statistics, update and application in launches of their own.

use cubecl::Runtime;

use super::Check;
use super::bench::Bench;
use super::outcome::{Outcome, largest};
use super::sonew::{BETA, GAMMA, RATES, States, roundings};
use crate::context::Context;
use crate::error::Error;
use crate::precision::Precision;
use crate::sonew::reference::{self, Statistics};
use crate::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, Graft, GraftBuffers, Reduction,
    StatisticsBuffers, UpdateBuffers, apply_graft, squared_norm, statistics, update,
};
use crate::sweep::{Strategy, Sweep};

const EPSILON: f64 = 1.0 / 64.0;
const BAND: usize = 1;

pub(super) fn checks<P: Precision, R: Runtime>() -> Vec<Check<R>> {
    [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp]
        .into_iter()
        .map(|graft| {
            let name = format!("band {BAND}, {}", format!("{graft:?}").to_lowercase());
            Check::new("sonew-graft", name, move |context, lengths| {
                grafted::<P, R>(context, lengths, graft)
            })
        })
        .collect()
}

fn grafted<P: Precision, R: Runtime>(
    context: &Context<R>,
    lengths: &[usize],
    graft: Graft,
) -> Result<Vec<Outcome>, Error> {
    let removal = EdgeRemoval::Outgoing;
    let bench = Bench::new(context, lengths)?;
    let segments = &bench.segments;
    let states = States::zeros::<P, R>(&bench, segments.arena_len(), BAND);
    let mut weights = bench.dyadic(3);
    let params = bench.arena::<P::Params>(&weights)?;
    let g = bench.dyadic(50);
    let grads = bench.arena::<P::Params>(&g)?;
    let blueprint = Blueprint::infer::<P>(context.processor(), BAND);
    let evidence = bench.slots(Sweep::infer(context.processor()));
    let buffers = StatisticsBuffers {
        grads: &grads,
        moment: &states.moment,
        diagonal: &states.diagonal,
        edges: &states.edges,
        evidence: &evidence,
    };
    let average = Decay::Average(BETA);
    let forced = Strategy::Forced(blueprint);
    statistics::<P, R>(
        context,
        segments,
        buffers,
        BETA,
        average,
        Strategy::Inferred,
    )?;
    let reduction = Reduction::new(context, segments);
    let partials = bench.values(segments.blocks() - 2);
    let norms = bench.values(lengths.len());
    squared_norm::<P, R>(context, segments, &reduction, &grads, &partials, &norms)?;
    let runs = blueprint.sweep.runs_per_block();
    let direction = bench.empty::<P::State>();
    let squares = bench.values(2 * runs * (segments.blocks() - 2));
    let second = (graft == Graft::RmsProp).then(|| bench.empty::<P::State>());
    let table = context.upload(&segments.tensor_of_block());
    let stage = GraftBuffers {
        graft,
        epsilon: EPSILON,
        decay: BETA,
        direction: &direction,
        squares: &squares,
        grads: matches!(graft, Graft::RmsProp | Graft::Sgd).then_some(&grads),
        grad_squares: (graft == Graft::RmsProp).then_some(&norms),
        second: second.as_ref(),
    };
    let buffers = UpdateBuffers {
        moment: &states.moment,
        diagonal: &states.diagonal,
        edges: &states.edges,
        evidence: &bench.slots(blueprint.sweep),
        tensor_of_block: &table,
    };
    update::<P, R>(
        context,
        segments,
        buffers,
        Descent::Stage(stage),
        Damping::Absolute(RATES.epsilon),
        GAMMA,
        removal,
        (1.0, 1.0),
        forced,
    )?;
    let tensor_squares = bench.values(2 * lengths.len());
    reduction.sum_pairs(context, &squares, runs, &tensor_squares)?;
    apply_graft::<P, R>(
        context,
        segments,
        &params,
        &direction,
        &tensor_squares,
        &table,
        RATES.lr,
        RATES.weight_decay,
        Strategy::<Sweep>::Inferred,
    )?;
    let found = bench.read::<P::Params>(&params)?;
    let mut outcome = Outcome::named("weights");
    for (tensor, w) in weights.iter_mut().enumerate() {
        let g = &g[tensor];
        let mut h = Statistics::zeros(g.len(), BAND);
        h.accumulate(g, BETA, average);
        let u = reference::factor(&h.damped(1.0, RATES.epsilon), GAMMA, removal)
            .precondition(&h.moment);
        let length = norm(&length_of(graft, g, &h, &u)) / norm(&u);
        for (w, u) in w.iter_mut().zip(&u) {
            *w -= RATES.lr * (length * u + RATES.weight_decay * *w);
        }
        let scale = RATES.lr * length * largest(&u);
        let lost = (roundings(BAND, 1) + 20.0) * scale + 4.0 * largest(w);
        outcome.add_weights::<P>(&found[tensor], w, 1.0, scale, lost);
    }
    Ok(vec![outcome, bench.nothing_noted(&evidence)?])
}

/// The step whose length is taken over.
fn length_of(graft: Graft, g: &[f64], h: &Statistics, u: &[f64]) -> Vec<f64> {
    match graft {
        Graft::None => u.to_vec(),
        Graft::Sgd => g.to_vec(),
        Graft::Momentum => h.moment.clone(),
        Graft::Adam => (h.moment.iter().zip(&h.diagonal))
            .map(|(m, v)| m / (v.sqrt() + EPSILON))
            .collect(),
        Graft::RmsProp => {
            let length = norm(g);
            let moved = |x: &f64| {
                let x = x / length;
                x / (((1.0 - BETA) * x * x).sqrt() + EPSILON)
            };
            g.iter().map(moved).collect()
        }
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
