//! The first-order rules: three steps each.

use std::marker::PhantomData;

use super::Check;
use super::bench::Bench;
use super::outcome::{Outcome, largest};
use super::own::Own;
use crate::context::Context;
use crate::error::Error;
use crate::first_order::{self, Buffers, FirstOrder, Hyper, RuleVisitor, descend, each_rule};
use crate::launch::{Strategy, Sweep};
use crate::precision::Precision;

const HYPER: Hyper = Hyper {
    lr: 0.5,
    beta1: 0.875,
    beta2: 0.9375,
    epsilon: 1.0 / 1024.0,
    weight_decay: 0.125,
    step: 1,
};

/// Every rule.
pub(super) fn checks<P: Precision>() -> Vec<Check> {
    each::<P>("", false)
}

/// Every rule, with a rate for each tensor.
pub(super) fn own_checks<P: Precision>() -> Vec<Check> {
    each::<P>("rates of tensors", true)
}

fn each<P: Precision>(case: &'static str, own: bool) -> Vec<Check> {
    struct Of<P>(&'static str, bool, PhantomData<P>);
    impl<P: Precision> RuleVisitor for Of<P> {
        type Output = Check;
        fn visit<L: FirstOrder>(&mut self) -> Check {
            let own = self.1;
            Check::new(L::NAME, self.0, move |context, lengths| {
                rule::<L, P>(context, lengths, own)
            })
        }
    }
    each_rule(&mut Of::<P>(case, own, PhantomData))
}

fn rule<L: FirstOrder, P: Precision>(
    context: &Context,
    lengths: &[usize],
    own: bool,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let mut weights = bench.dyadic(0);
    let params = bench.arena::<P::Params>(&weights)?;
    let states: Vec<_> = L::STATES
        .iter()
        .map(|_| bench.empty::<P::State>())
        .collect();
    let mut oracle: Vec<Vec<Vec<f64>>> = lengths
        .iter()
        .map(|&n| vec![vec![0.0; n]; L::STATES.len()])
        .collect();
    let evidence = bench.slots(Sweep::of::<P>(context, L::NAME, 0));
    let own = Own::new(&bench, own, HYPER.weight_decay)?;
    let mut outcomes = Vec::new();
    for t in 1..=3 {
        let gradient = bench.dyadic(100 * t);
        let grads = bench.arena::<P::Params>(&gradient)?;
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            rates: own.rates(),
            evidence: &evidence,
        };
        let hyper = Hyper {
            step: t as u64,
            ..HYPER
        };
        descend::<L, P>(context, buffers, hyper, Strategy::Inferred)?;
        let found = bench.read(&params)?;
        let mut outcome = Outcome::named(format!("weights after step {t}"));
        for (tensor, w) in weights.iter_mut().enumerate() {
            let before = w.clone();
            let rate = own.rates[tensor];
            let hyper = Hyper {
                lr: hyper.lr * rate.lr,
                weight_decay: rate.weight_decay,
                ..hyper
            };
            first_order::reference::<L>(w, &gradient[tensor], &mut oracle[tensor], hyper);
            let moves: Vec<f64> = before.iter().zip(&*w).map(|(a, b)| a - b).collect();
            // A step of a dozen operations, each relative to the step; what is lost in a state or a weight stays lost.
            let scale = largest(&moves).max(largest(w));
            let (stores, roundings) = (t as f64, 12.0 * t as f64);
            outcome.add_weights::<P>(&found[tensor], w, stores, scale, roundings * scale);
        }
        outcomes.push(outcome);
    }
    outcomes.push(bench.nothing_noted(&evidence)?);
    Ok(outcomes)
}
