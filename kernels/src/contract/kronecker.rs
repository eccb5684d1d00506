//! Shampoo on the device: statistics and directions, roots, and the descent in every precision.

use cubecl::server::Handle;

use super::Check;
use super::bench::{Bench, dyadic};
use super::outcome::{Outcome, largest};
use super::own::Own;
use crate::arena::{Arena, Layout};
use crate::context::Context;
use crate::error::Error;
use crate::graft::Graft;
use crate::kronecker::{
    Blocking, DescentBuffers, DescentRates, DeviceBlocking, DeviceRoots, Limits, MeasureBuffers,
    Ridge, RootProblem, accuracy, descend, measure, reference,
};
use crate::launch::{Strategy, Sweep};
use crate::norms::{Reduction, norm_per_tensor};
use crate::precision::{F32, Format, HostFormat, Precision};

const UNIT: f64 = <<F32 as Precision>::State as HostFormat>::ROUNDOFF;
const BETA1: f64 = 0.875;
const BETA2: f64 = 0.9375;
const EPSILON: f64 = 1.0 / 64.0;
const WEIGHT_DECAY: f64 = 0.25;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("kronecker-apply", "", |context, _| products(context)),
        Check::new("inverse-root", "on the device", |context, _| roots(context)),
    ]
}

/// The descent, for each graft.
pub(super) fn descents<P: Precision>() -> Vec<Check> {
    [
        (Graft::None, false),
        (Graft::Sgd, true),
        (Graft::Adam, false),
        (Graft::RmsProp, false),
        (Graft::RmsProp, true),
    ]
    .into_iter()
    .map(|(graft, nesterov)| {
        let form = if nesterov { ", nesterov" } else { "" };
        let case = format!("{}{form}", format!("{graft:?}").to_lowercase());
        Check::new("kronecker-descent", case, move |context, lengths| {
            descent::<P>(context, lengths, graft, nesterov, false)
        })
    })
    .collect()
}

/// The descent with rates of tensors.
pub(super) fn own_descents<P: Precision>() -> Vec<Check> {
    [(Graft::Adam, false), (Graft::RmsProp, true)]
        .into_iter()
        .map(|(graft, nesterov)| {
            let case = format!("{graft:?}, rates of tensors").to_lowercase();
            Check::new("kronecker-descent", case, move |context, lengths| {
                descent::<P>(context, lengths, graft, nesterov, true)
            })
        })
        .collect()
}

/// Statistics and directions of a matrix in blocks of at most 5, of a vector, and of what is too long.
fn products(context: &Context) -> Result<Vec<Outcome>, Error> {
    let layout = Layout::with_shapes(vec![vec![12, 7], vec![9], vec![5000, 2]])?;
    let limits = Limits {
        block: 5,
        merge: 1,
        largest: 4096,
    };
    let blocking = Blocking::new(&layout, limits, None, true)?;
    let tensors: Vec<Vec<f32>> = layout
        .tensors()
        .iter()
        .enumerate()
        .map(|(t, range)| (0..range.len()).map(|i| dyadic(t, i) as f32).collect())
        .collect();
    let arena = layout.gather(&tensors)?;
    // Anything may stand in for a root.
    let roots: Vec<f32> = (0..blocking.factor_values())
        .map(|i| dyadic(9, i) as f32)
        .collect();
    let on_device = DeviceBlocking::new(context, &layout, &blocking, Default::default())?;
    let grads = Arena::of(context, &layout, Format::F32, &tensors)?;
    let factors = context.upload(&vec![1f32; blocking.factor_values()]);
    on_device.statistics(context, &grads, &factors, 0.75)?;
    let [scratch, out] = [0; 2].map(|_| Arena::zeros(context, &layout, Format::F32));
    let device_roots = context.upload(&roots);
    on_device.direction(context, &device_roots, &grads, &scratch, &out)?;
    let factors: Vec<f32> = context.download("contract", &factors)?;
    let out = out.view(context, "contract", <[f32]>::to_vec)?;
    let mut of_statistics = Outcome::named("statistics");
    let mut of_directions = Outcome::named("directions");
    for block in blocking.blocks() {
        let (m, n) = (block.rows, block.columns);
        let place = |i: usize| block.start + i / n * block.stride + i % n;
        let g: Vec<f64> = (0..m * n).map(|i| f64::from(arena[place(i)])).collect();
        let gt = reference::transpose(&g, m, n);
        let grams = [
            reference::multiply(&g, &gt, m, n, m),
            reference::multiply(&gt, &g, n, m, n),
        ];
        let mut direction = g.clone();
        for (k, factor) in blocking.factors()[block.factors.clone()].iter().enumerate() {
            let wanted: Vec<f64> = grams[k].iter().map(|x| 0.75 + 0.25 * x).collect();
            let found = &factors[factor.range.clone()];
            // Sums of at most five products below 1.
            of_statistics.add(found, &wanted, |e| 8.0 * UNIT * (e.abs() + 1.0));
            let root: Vec<f64> = roots[factor.range.clone()]
                .iter()
                .map(|&x| f64::from(x))
                .collect();
            direction = if k == 0 {
                reference::multiply(&root, &direction, m, m, n)
            } else {
                reference::multiply(&direction, &root, m, n, n)
            };
        }
        let found: Vec<f32> = (0..m * n).map(|i| out[place(i)]).collect();
        // Two sums of five products each, of values up to 5.
        of_directions.add(&found, &direction, |e| 16.0 * UNIT * (e.abs() + 5.0));
    }
    Ok(vec![of_statistics, of_directions])
}

/// Roots of several sizes, orders and conditions at once.
fn roots(context: &Context) -> Result<Vec<Outcome>, Error> {
    let cases = [
        (2, 2, 1e2, 1e-4),
        (5, 4, 1e6, 5e-4),
        (9, 4, 1e8, 1e-2),
        (12, 1, 1.0, 1e-5),
        (12, 6, 1e4, 1e-4),
    ];
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for (n, p, condition, _) in cases {
        problems.push(RootProblem {
            start: values.len(),
            n,
            p,
        });
        // What is 0 but for a rounding is another rounding on another processor, and the oracle's root of it too.
        let s = accuracy::conditioned(n, condition, 3)?.into_iter();
        values.extend(s.map(|x| if x.abs() < 1e-12 { 0.0 } else { x }));
    }
    let device = DeviceRoots::new(context, &problems, Default::default())?;
    let statistics = context.upload(&values);
    let out = context.upload(&vec![0f32; values.len()]);
    let none = Ridge::Absolute(0.0);
    device.compute(context, &statistics, &out, 0..cases.len(), none, 0.1)?;
    let found: Vec<f32> = context.download("contract", &out)?;
    let mut outcomes = Vec::new();
    for (problem, (n, p, condition, bound)) in problems.iter().zip(cases) {
        let part = problem.start..problem.start + n * n;
        let s: Vec<f64> = values[part.clone()].iter().map(|&x| x.into()).collect();
        let root = reference::inverse_root(&s, n, p, 0.0);
        let norm = root.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut outcome = Outcome::named(format!("{n} × {n}, p {p}, condition {condition:e}"));
        outcome.add(&found[part], &root, |_| bound * norm);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The descent of one tensor in f64.
struct Oracle {
    d: Vec<f64>,
    mu_s: Vec<f64>,
    mu_r: Vec<f64>,
    w: Vec<f64>,
}

impl Oracle {
    fn new(w: Vec<f64>) -> Self {
        let zeros = vec![0.0; w.len()];
        Self {
            d: zeros.clone(),
            mu_s: zeros.clone(),
            mu_r: zeros,
            w,
        }
    }

    /// Takes a step and returns the largest part of it.
    fn step(
        &mut self,
        (g, s): (&[f64], &[f64]),
        (graft, nesterov): (Graft, bool),
        preconditioned: bool,
        rates: &DescentRates,
    ) -> f64 {
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let length = norm(g) + 1e-16;
        let r: Vec<f64> = (0..g.len())
            .map(|i| {
                let scaled = match graft {
                    Graft::RmsProp => g[i] / length,
                    _ => g[i],
                };
                self.d[i] = BETA2 * self.d[i] + (1.0 - BETA2) * scaled * scaled;
                match graft {
                    Graft::RmsProp => scaled / (self.d[i].sqrt() + EPSILON),
                    Graft::Adam => scaled / ((self.d[i] * rates.correction).sqrt() + EPSILON),
                    _ => scaled,
                }
            })
            .collect();
        let scale = match graft {
            Graft::None => 1.0,
            _ => norm(&r) / (norm(s) + 1e-16),
        };
        let mut most: f64 = 0.0;
        for i in 0..g.len() {
            let long = scale * s[i];
            self.mu_s[i] = BETA1 * self.mu_s[i] + (1.0 - BETA1) * long;
            self.mu_r[i] = BETA1 * self.mu_r[i] + (1.0 - BETA1) * r[i];
            let (mut mu, ahead) = if preconditioned {
                (self.mu_s[i], long)
            } else {
                (self.mu_r[i], r[i])
            };
            if nesterov {
                mu = BETA1 * mu + (1.0 - BETA1) * ahead;
            }
            most = most.max(rates.lr * ahead.abs().max(mu.abs()));
            self.w[i] -= rates.lr * (mu + rates.weight_decay * self.w[i]);
        }
        most
    }
}

/// What a descent reads and writes beside gradients and directions.
struct States {
    params: Arena,
    second: Option<Arena>,
    norms: Option<Handle>,
    momentum: Arena,
    graft_momentum: Arena,
}

fn descent<P: Precision>(
    context: &Context,
    lengths: &[usize],
    graft: Graft,
    nesterov: bool,
    own: bool,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let layout = &bench.layout;
    let table = context.upload(&layout.tensor_of_block());
    // Every other tensor is not preconditioned.
    let flags: Vec<u32> = (0..lengths.len()).map(|t| u32::from(t % 2 == 0)).collect();
    let preconditioned = context.upload(&flags);
    let reduction = Reduction::new(context, layout);
    let sweep = Sweep::measuring::<P>(context, "kronecker-descent");
    let (of_runs, of_tensors) = (
        bench.values(sweep.norms(layout)),
        bench.values(2 * lengths.len()),
    );
    let evidence = bench.slots(sweep);
    let weights = bench.dyadic(3);
    let states = States {
        params: bench.arena::<P::Params>(&weights)?,
        second: matches!(graft, Graft::Adam | Graft::RmsProp).then(|| bench.empty::<P::State>()),
        norms: (graft == Graft::RmsProp).then(|| bench.values(lengths.len())),
        momentum: bench.empty::<P::State>(),
        graft_momentum: bench.empty::<P::State>(),
    };
    let mut oracles: Vec<Oracle> = weights.into_iter().map(Oracle::new).collect();
    let own = Own::new(&bench, own, WEIGHT_DECAY)?;
    let mut outcomes = Vec::new();
    for t in 1..=3 {
        let g = bench.dyadic(10 * t);
        let s = bench.tensors(|tensor, i| 2.0 * dyadic(100 * t + tensor, i));
        let (grads, direction) = (bench.arena::<P::Params>(&g)?, bench.arena::<P::State>(&s)?);
        if let Some(norms) = &states.norms {
            let partials = bench.values(layout.blocks() - 2);
            norm_per_tensor::<P>(context, &reduction, &grads, &partials, norms)?;
        }
        let rates = DescentRates {
            lr: 0.125,
            weight_decay: WEIGHT_DECAY,
            beta1: BETA1,
            beta2: BETA2,
            epsilon: EPSILON,
            correction: 1.0 / (1.0 - BETA2.powi(t as i32)),
        };
        let strategy = Strategy::Forced(sweep);
        let buffers = MeasureBuffers {
            grads: &grads,
            direction: &direction,
            second: states.second.as_ref(),
            grad_norms: states.norms.as_ref(),
            norms: &of_runs,
            tensor_of_block: &table,
            evidence: &evidence,
        };
        measure::<P>(context, buffers, graft, rates, strategy)?;
        reduction.pairs_of_norms(context, &of_runs, sweep, &of_tensors)?;
        let buffers = DescentBuffers {
            params: &states.params,
            grads: &grads,
            direction: &direction,
            second: states.second.as_ref(),
            grad_norms: states.norms.as_ref(),
            norms: &of_tensors,
            tensor_of_block: &table,
            preconditioned: &preconditioned,
            rates: own.rates(),
            momentum: &states.momentum,
            graft_momentum: &states.graft_momentum,
        };
        descend::<P>(context, buffers, graft, nesterov, rates, strategy)?;
        let found = bench.read(&states.params)?;
        let mut outcome = Outcome::named(format!("weights after step {t}"));
        for (tensor, oracle) in oracles.iter_mut().enumerate() {
            let pair = (&g[tensor][..], &s[tensor][..]);
            let rate = own.rates[tensor];
            let rates = DescentRates {
                lr: rates.lr * rate.lr,
                weight_decay: rate.weight_decay,
                ..rates
            };
            let step = oracle.step(pair, (graft, nesterov), flags[tensor] == 1, &rates);
            // A step has some twenty roundings of which each is relative to a part of it, or to the weight's decay; where
            // weights are computed with rounding too, theirs comes thrice.
            let scale = step + rates.lr * rates.weight_decay * largest(&oracle.w);
            let (stores, roundings) = (3.0 * t as f64, 20.0 * t as f64);
            outcome.add_weights::<P>(&found[tensor], &oracle.w, stores, scale, roundings * scale);
        }
        outcomes.push(outcome);
    }
    outcomes.push(bench.nothing_noted(&evidence)?);
    Ok(outcomes)
}
