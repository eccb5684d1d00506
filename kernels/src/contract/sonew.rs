//! SONew: statistics, factor and preconditioning on their own. The step is in `sonew_step.rs`.

use crate::arena::Arena;

use super::Check;
use super::bench::{Bench, dyadic};
use super::outcome::{Outcome, largest};
use super::own::Own;
use super::sonew_step::{Gradients, Way, stepped};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep};
use crate::precision::{Bf16, HostFormat, Precision};
use crate::sonew::reference::{self, Statistics};
use crate::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, Ghosts, PreconditionBuffers, StatisticsBuffers,
    StepRates, Tolerance, factor, precondition, statistics,
};

pub(super) const BETA: f64 = 0.875;
pub(super) const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0078,
};
pub(super) const RATES: StepRates = StepRates {
    lr: 0.5,
    weight_decay: 0.125,
    beta1: BETA,
    decay: Decay::Average(BETA),
    // At least a quarter of the statistics, so that no pivot is small.
    epsilon: 0.25,
    corrections: (1.0, 1.0),
};

/// 6 is the first band whose vectors are no wider than a word.
const BANDS: [usize; 4] = [0, 1, 4, 6];

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    BANDS.into_iter().flat_map(of_band::<P>).collect()
}

/// The checks of SONew with a band of this width.
pub(super) fn of_band<P: Precision>(band: usize) -> Vec<Check> {
    let mut checks = Vec::new();
    for decay in [Decay::Average(BETA), Decay::Sum(2.0)] {
        let form = match decay {
            Decay::Average(_) => "average",
            Decay::Sum(_) => "sum",
        };
        checks.push(Check::new(
            "statistics",
            format!("band {band}, {form}"),
            move |context, lengths| accumulate::<P>(context, lengths, band, decay, false),
        ));
    }
    checks.push(Check::new(
        "banded-ldl",
        format!("band {band}"),
        move |context, lengths| factor_and_apply::<P>(context, lengths, band),
    ));
    for removal in [EdgeRemoval::Outgoing, EdgeRemoval::Incident] {
        for gradients in [Gradients::Unstructured, Gradients::Equal, Gradients::Zero] {
            let case = format!("band {band}, {removal:?}, {gradients:?}").to_lowercase();
            checks.push(Check::new("sonew-step", case, move |context, lengths| {
                stepped::<P>(context, lengths, band, removal, gradients, Way::OneLaunch)
            }));
        }
    }
    checks
}

/// Chains of rows, and rates of tensors: of statistics, and of a step in one launch and in two.
pub(super) fn own_checks<P: Precision>() -> Vec<Check> {
    let mut checks = Vec::new();
    for band in [1, 4] {
        checks.push(Check::new(
            "statistics",
            format!("band {band}, average, chains of rows"),
            move |context, lengths| {
                accumulate::<P>(context, lengths, band, Decay::Average(BETA), true)
            },
        ));
        for way in [Way::OwnInOneLaunch, Way::OwnInTwoLaunches] {
            let removal = EdgeRemoval::of_band(band);
            let how = match way {
                Way::OwnInTwoLaunches => "two launches",
                Way::OneLaunch | Way::OwnInOneLaunch => "one launch",
            };
            let case = format!("band {band}, {removal:?}, chains of rows and rates, {how}");
            let unstructured = Gradients::Unstructured;
            checks.push(Check::new(
                "sonew-step",
                case.to_lowercase(),
                move |context, lengths| {
                    stepped::<P>(context, lengths, band, removal, unstructured, way)
                },
            ));
        }
    }
    checks
}

/// The states of SONew.
pub(super) struct States {
    pub moment: Arena,
    pub diagonal: Arena,
    pub edges: Vec<Arena>,
}

impl States {
    /// With the ghost columns of a step in one launch, or without.
    pub fn zeros<P: Precision>(
        bench: &Bench<'_>,
        ghosts: Option<Ghosts>,
        band: usize,
    ) -> Result<Self, Error> {
        let state = || match ghosts {
            Some(ghosts) => bench.with_ghosts::<P::State>(ghosts),
            None => Ok(bench.empty::<P::State>()),
        };
        Ok(Self {
            moment: state()?,
            diagonal: state()?,
            edges: (0..band).map(|_| state()).collect::<Result<_, _>>()?,
        })
    }
}

/// Roundings behind a component of u: in the statistics, in the elimination of a column of b, in the two sweeps, each
/// amplified by a condition of at most 5.
pub(super) fn roundings(band: usize, t: usize) -> f64 {
    let column = (3 * band * band + 4 * band + 8) as f64;
    4.0 * t as f64 + 5.0 * column
}

fn accumulate<P: Precision>(
    context: &Context,
    lengths: &[usize],
    band: usize,
    decay: Decay,
    own: bool,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let own = Own::new(&bench, own, 0.0)?;
    let states = States::zeros::<P>(&bench, None, band)?;
    let evidence = bench.slots(Sweep::of::<P>(context, "statistics", band));
    let mut oracle: Vec<Statistics> = lengths
        .iter()
        .map(|&n| Statistics::zeros(n, band))
        .collect();
    let steps = 3;
    for t in 1..=steps {
        let g = bench.dyadic(50 * t);
        let buffers = StatisticsBuffers {
            grads: &bench.arena::<P::Params>(&g)?,
            moment: &states.moment,
            diagonal: &states.diagonal,
            edges: &states.edges,
            rows: own.rows(),
            evidence: &evidence,
        };
        statistics::<P>(context, buffers, BETA, decay, Strategy::Inferred)?;
        for ((h, g), &row) in oracle.iter_mut().zip(&g).zip(&own.rows) {
            h.accumulate_rows(row, g, BETA, decay);
        }
    }
    // Four roundings a step act on each entry.
    let allowed = 4.0 * steps as f64 * P::State::ROUNDOFF;
    let mut outcomes = Vec::new();
    let mut compare = |name: String, arena: &Arena, of: &dyn Fn(&Statistics) -> &Vec<f64>| {
        let mut outcome = Outcome::named(name);
        for (found, h) in bench.read(arena)?.iter().zip(&oracle) {
            let (expected, scale) = (of(h), largest(&h.diagonal).max(largest(of(h))));
            outcome.add(found, expected, |e| allowed * (e.abs() + scale));
        }
        outcomes.push(outcome);
        Ok::<_, Error>(())
    };
    compare("moment".into(), &states.moment, &|h| &h.moment)?;
    compare("diagonal".into(), &states.diagonal, &|h| &h.diagonal)?;
    for (k, edge) in states.edges.iter().enumerate() {
        compare(format!("edge {}", k + 1), edge, &|h| &h.edges[k])?;
    }
    outcomes.push(bench.nothing_noted(&evidence)?);
    Ok(outcomes)
}

/// Statistics of which every format holds each entry, with a condition of at most 5.
fn held_statistics(bench: &Bench<'_>, band: usize) -> Vec<Statistics> {
    // bf16 has the fewest digits, and the entries are in the range of f16.
    type Coarsest = <Bf16 as Precision>::State;
    let held = |x: &mut f64| *x = f64::from(Coarsest::rounded(*x as f32));
    let lengths = bench.tensors(|_, _| 0.0);
    let tensors = lengths.iter().map(Vec::len).enumerate();
    tensors
        .map(|(t, n)| {
            let mut h = Statistics::zeros(n, band);
            for step in 0..8 {
                let g: Vec<f64> = (0..n).map(|i| dyadic(step + 50 * t, i)).collect();
                h.accumulate(&g, BETA, Decay::Average(BETA));
            }
            let mut h = h.damped(1.0, RATES.epsilon);
            h.diagonal.iter_mut().for_each(held);
            h.edges.iter_mut().flatten().for_each(held);
            h.moment.iter_mut().for_each(held);
            h
        })
        .collect()
}

fn factor_and_apply<P: Precision>(
    context: &Context,
    lengths: &[usize],
    band: usize,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let h = held_statistics(&bench, band);
    let upload = |of: &dyn Fn(&Statistics) -> Vec<f64>| {
        let parts: Vec<Vec<f64>> = h.iter().map(of).collect();
        bench.arena::<P::State>(&parts)
    };
    let (diagonal, moment) = (
        upload(&|h| h.diagonal.clone())?,
        upload(&|h| h.moment.clone())?,
    );
    let edges = (0..band)
        .map(|k| upload(&|h| h.edges[k].clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let psi: Vec<Arena> = (0..band).map(|_| bench.empty::<P::State>()).collect();
    let (d, direction) = (bench.empty::<P::State>(), bench.empty::<P::State>());
    let removal = EdgeRemoval::Incident;
    let buffers = FactorBuffers {
        diagonal: &diagonal,
        edges: &edges,
        psi: &psi,
        d: &d,
        evidence: &bench.slots(Blueprint::of::<P>(context, "banded-ldl", band).sweep),
    };
    let inferred = Strategy::Inferred;
    factor::<P>(context, buffers, 1.0, 0.0, GAMMA, removal, inferred)?;
    let buffers = PreconditionBuffers {
        psi: &psi,
        d: &d,
        moment: &moment,
        direction: &direction,
    };
    precondition::<P>(context, buffers, Strategy::Inferred)?;
    let factors: Vec<_> = h
        .iter()
        .map(|h| reference::factor(h, GAMMA, removal))
        .collect();
    let allowed = roundings(band, 0) * P::State::ROUNDOFF;
    let mut of_d = Outcome::named("d");
    for (found, factor) in bench.read(&d)?.iter().zip(&factors) {
        of_d.add(found, &factor.d, |e| allowed * e.abs());
    }
    let mut outcomes = vec![of_d];
    for (k, psi) in psi.iter().enumerate() {
        let mut of_psi = Outcome::named(format!("psi {}", k + 1));
        for (found, factor) in bench.read(psi)?.iter().zip(&factors) {
            // ψ is relative to 1, the weight of a column itself.
            of_psi.add(found, &factor.psi[k], |e| allowed * (e.abs() + 1.0));
        }
        outcomes.push(of_psi);
    }
    let mut of_u = Outcome::named("L D Lᵀ m");
    for ((found, factor), h) in bench.read(&direction)?.iter().zip(&factors).zip(&h) {
        let u = factor.precondition(&h.moment);
        let scale = largest(&u);
        of_u.add(found, &u, |e| 2.0 * allowed * (e.abs() + scale));
    }
    outcomes.push(of_u);
    Ok(outcomes)
}
