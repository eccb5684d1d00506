//! SONew with the step length of another method: statistics, factor and staging in one launch or in two, then application.

use super::Check;
use super::bench::Bench;
use super::outcome::{Outcome, largest};
use super::own::Own;
use super::sonew::{BETA, GAMMA, RATES, States, roundings};
use crate::context::Context;
use crate::error::Error;
use crate::graft::Graft;
use crate::launch::{Strategy, Sweep};
use crate::norms::{PerTensor, Reduction, norm_per_tensor};
use crate::precision::Precision;
use crate::sonew::reference::{self, Statistics};
use crate::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, Ghosts, GraftBuffers, StatisticsBuffers,
    StepBuffers, UpdateBuffers, apply_graft, statistics, step, update,
};

const EPSILON: f64 = 1.0 / 64.0;
const BAND: usize = 1;

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    let grafts = [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp];
    [false, true]
        .into_iter()
        .flat_map(|whole| grafts.map(|it| (it, whole)))
        .map(|(graft, whole)| {
            let how = if whole { ", in one launch" } else { "" };
            let name = format!("band {BAND}, {}{how}", format!("{graft:?}").to_lowercase());
            Check::new("sonew-graft", name, move |context, lengths| {
                grafted::<P>(context, lengths, graft, whole, false)
            })
        })
        .collect()
}

/// With chains of rows and rates of tensors.
pub(super) fn own_checks<P: Precision>() -> Vec<Check> {
    let name = format!("band {BAND}, adam, chains of rows and rates, one launch");
    let check = Check::new("sonew-graft", name, |context, lengths| {
        grafted::<P>(context, lengths, Graft::Adam, true, true)
    });
    vec![check]
}

fn grafted<P: Precision>(
    context: &Context,
    lengths: &[usize],
    graft: Graft,
    whole: bool,
    own: bool,
) -> Result<Vec<Outcome>, Error> {
    let removal = EdgeRemoval::Outgoing;
    let bench = Bench::new(context, lengths)?;
    let layout = &bench.layout;
    let own = Own::new(&bench, own, RATES.weight_decay)?;
    let blueprint = Blueprint::of::<P>(context, "sonew-step", BAND);
    let ghosts = whole.then(|| Ghosts::new(layout, BAND, removal, blueprint));
    let states = States::zeros::<P>(&bench, ghosts, BAND)?;
    let mut weights = bench.dyadic(3);
    let params = bench.arena::<P::Params>(&weights)?;
    let g = bench.dyadic(50);
    let grads = bench.arena::<P::Params>(&g)?;
    let sweep = Sweep::of::<P>(context, "statistics", BAND);
    let evidence = bench.slots(if whole { blueprint.sweep } else { sweep });
    let average = Decay::Average(BETA);
    let reduction = Reduction::new(context, layout);
    let partials = bench.values(layout.blocks() - 2);
    let norms = bench.values(lengths.len());
    norm_per_tensor::<P>(context, &reduction, &grads, &partials, &norms)?;
    let direction = bench.empty::<P::State>();
    let of_runs = bench.values(blueprint.sweep.norms(layout));
    let second = (graft == Graft::RmsProp).then(|| bench.empty::<P::State>());
    let table = context.upload(&layout.tensor_of_block());
    let of_tensors = PerTensor {
        values: &norms,
        tensor_of_block: &table,
    };
    let stage = GraftBuffers {
        graft,
        epsilon: EPSILON,
        decay: BETA,
        direction: &direction,
        norms: &of_runs,
        grads: matches!(graft, Graft::RmsProp | Graft::Sgd).then_some(&grads),
        grad_norms: (graft == Graft::RmsProp).then_some(of_tensors),
        second: second.as_ref(),
    };
    let cut = bench.slots(blueprint.sweep);
    if whole {
        let buffers = StepBuffers {
            params: &params,
            graft: Some(stage),
            rates: None,
            rows: own.rows(),
            grads: &grads,
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            non_finite: &evidence,
            cut: &cut,
        };
        let inferred = Strategy::Inferred;
        step::<P>(context, buffers, RATES, GAMMA, removal, inferred)?;
    } else {
        let buffers = StatisticsBuffers {
            grads: &grads,
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            rows: own.rows(),
            evidence: &evidence,
        };
        let inferred = Strategy::Inferred;
        statistics::<P>(context, buffers, BETA, average, inferred)?;
        let buffers = UpdateBuffers {
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            evidence: &cut,
        };
        update::<P>(
            context,
            buffers,
            Descent::Stage(stage),
            Damping::Absolute(RATES.epsilon),
            GAMMA,
            removal,
            (1.0, 1.0),
            Strategy::Inferred,
        )?;
    }
    let tensor_norms = bench.values(2 * lengths.len());
    reduction.pairs_of_norms(context, &of_runs, blueprint.sweep, &tensor_norms)?;
    apply_graft::<P>(
        context,
        &params,
        &direction,
        &tensor_norms,
        &table,
        RATES.lr,
        RATES.weight_decay,
        own.rates(),
        Strategy::<Sweep>::Inferred,
    )?;
    let found = bench.read(&params)?;
    let mut outcome = Outcome::named("weights");
    for (tensor, w) in weights.iter_mut().enumerate() {
        let (g, row, rate) = (&g[tensor], own.rows[tensor], own.rates[tensor]);
        let mut h = Statistics::zeros(g.len(), BAND);
        h.accumulate_rows(row, g, BETA, average);
        let damped = h.damped(1.0, RATES.epsilon);
        let u = reference::factor_rows(&damped, row, GAMMA, removal).precondition(&h.moment);
        let lr = RATES.lr * rate.lr;
        let length = norm(&length_of(graft, g, &h, &u)) / norm(&u);
        for (w, u) in w.iter_mut().zip(&u) {
            *w -= lr * (length * u + rate.weight_decay * *w);
        }
        let scale = lr * length * largest(&u);
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
