//! Steps of SONew, in one launch or with the statistics before the rest.

use super::bench::Bench;
use super::outcome::{Outcome, largest};
use super::own::Own;
use super::sonew::{BETA, GAMMA, RATES, States, roundings};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep};
use crate::precision::Precision;
use crate::sonew::reference::{self, Statistics};
use crate::sonew::{
    Blueprint, Damping, Descent, EdgeRemoval, Ghosts, StatisticsBuffers, StepBuffers, StepRates,
    UpdateBuffers, statistics, step, update,
};

/// What gradients a step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gradients {
    /// Neighbours are independent.
    Unstructured,
    /// Neighbours are equal: every pivot but the last of a tensor is 0, and its edges are cut.
    Equal,
    /// Nothing moves but by decay.
    Zero,
}

impl Gradients {
    fn tensors(self, bench: &Bench<'_>, t: usize) -> Vec<Vec<f64>> {
        match self {
            Self::Unstructured => bench.dyadic(50 * t),
            Self::Equal => bench.tensors(|_, _| 0.5),
            Self::Zero => bench.tensors(|_, _| 0.0),
        }
    }

    /// ε, with which neighbours that are equal would not be singular.
    fn epsilon(self) -> f64 {
        match self {
            Self::Unstructured => RATES.epsilon,
            Self::Equal | Self::Zero => 0.0,
        }
    }
}

/// How a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    OneLaunch,
    /// With chains of rows and rates of tensors.
    OwnInOneLaunch,
    /// The same, the statistics before the rest.
    OwnInTwoLaunches,
}

/// Three steps.
pub(super) fn stepped<P: Precision>(
    context: &Context,
    lengths: &[usize],
    band: usize,
    removal: EdgeRemoval,
    gradients: Gradients,
    way: Way,
) -> Result<Vec<Outcome>, Error> {
    let rates = StepRates {
        epsilon: gradients.epsilon(),
        ..RATES
    };
    let bench = Bench::new(context, lengths)?;
    let blueprint = Blueprint::of::<P>(context, "sonew-step", band);
    let whole = way != Way::OwnInTwoLaunches;
    let ghosts = whole.then(|| Ghosts::new(&bench.layout, band, removal, blueprint));
    let states = States::zeros::<P>(&bench, ghosts, band)?;
    let own = Own::new(&bench, way != Way::OneLaunch, rates.weight_decay)?;
    let mut weights = bench.dyadic(3);
    let params = bench.arena::<P::Params>(&weights)?;
    let sweep = Sweep::of::<P>(context, "statistics", band);
    let non_finite = bench.slots(if whole { blueprint.sweep } else { sweep });
    let cut = bench.slots(blueprint.sweep);
    let mut oracle: Vec<Statistics> = lengths
        .iter()
        .map(|&n| Statistics::zeros(n, band))
        .collect();
    let mut outcomes = Vec::new();
    for t in 1..=3 {
        let g = gradients.tensors(&bench, t);
        let grads = bench.arena::<P::Params>(&g)?;
        let forced = Strategy::Forced(blueprint);
        if whole {
            let buffers = StepBuffers {
                params: &params,
                graft: None,
                rates: own.rates(),
                rows: own.rows(),
                grads: &grads,
                moment: &states.moment,
                diagonal: &states.diagonal,
                edges: &states.edges,
                non_finite: &non_finite,
                cut: &cut,
            };
            step::<P>(context, buffers, rates, GAMMA, removal, forced)?;
        } else {
            let buffers = StatisticsBuffers {
                grads: &grads,
                moment: &states.moment,
                diagonal: &states.diagonal,
                edges: &states.edges,
                rows: own.rows(),
                evidence: &non_finite,
            };
            statistics::<P>(context, buffers, BETA, rates.decay, Strategy::Forced(sweep))?;
            let buffers = UpdateBuffers {
                moment: &states.moment,
                diagonal: &states.diagonal,
                edges: &states.edges,
                evidence: &cut,
            };
            let descent = Descent::Apply {
                params: &params,
                lr: rates.lr,
                weight_decay: rates.weight_decay,
                rates: own.rates(),
            };
            let damping = Damping::Absolute(rates.epsilon);
            let corrections = rates.corrections;
            update::<P>(
                context,
                buffers,
                descent,
                damping,
                GAMMA,
                removal,
                corrections,
                forced,
            )?;
        }
        let found = bench.read(&params)?;
        let mut outcome = Outcome::named(format!("weights after step {t}"));
        for (tensor, h) in oracle.iter_mut().enumerate() {
            let (row, rate) = (own.rows[tensor], own.rates[tensor]);
            h.accumulate_rows(row, &g[tensor], BETA, rates.decay);
            let damped = h.damped(1.0, rates.epsilon);
            let u = reference::factor_rows(&damped, row, GAMMA, removal).precondition(&h.moment);
            let w = &mut weights[tensor];
            let lr = rates.lr * rate.lr;
            for (w, u) in w.iter_mut().zip(&u) {
                *w -= lr * (u + rate.weight_decay * *w);
            }
            let scale = lr * largest(&u);
            let lost = t as f64 * (roundings(band, t) * scale + 4.0 * largest(w));
            outcome.add_weights::<P>(&found[tensor], w, t as f64, scale, lost);
        }
        outcomes.push(outcome);
    }
    outcomes.push(bench.nothing_noted(&non_finite)?);
    Ok(outcomes)
}
