//! Learning rates and weight decays of single tensors.

use sonew_kernels::arena::{Arena, Layout, TensorRate, TensorRates};
use sonew_kernels::context::Profile;
use sonew_kernels::error::Error;
use sonew_kernels::first_order::{
    Buffers, FirstOrder, Hyper, RuleVisitor, Sgd, descend, each_rule, reference,
};
use sonew_kernels::graft::Graft;
use sonew_kernels::kronecker::{self, DescentBuffers, DescentRates};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, Ghosts, StepBuffers, StepRates, Tolerance, apply_graft, step,
};

use crate::bench::*;
use crate::team::team;

/// A single value, an empty tensor, [1, n], and others.
const SHAPES: &[&[usize]] = &[&[], &[0, 5], &[1, 300], &[3, 100], &[257], &[40, 25]];

fn layout() -> Layout {
    Layout::with_shapes(SHAPES.iter().map(|it| it.to_vec()).collect()).unwrap()
}

fn made(seed: usize) -> Vec<Vec<f64>> {
    let lengths: Vec<usize> = layout().tensors().iter().map(|it| it.len()).collect();
    tensors(&lengths, |t, i| noise(seed + t, i))
}

/// Different of each tensor.
fn unlike() -> Vec<TensorRate> {
    let rate = |t: usize| TensorRate {
        lr: 0.5 * (t % 4) as f64,
        weight_decay: 0.25 * (t % 3) as f64,
    };
    (0..SHAPES.len()).map(rate).collect()
}

/// The learning rate as it is, and this decay.
fn alike(weight_decay: f64) -> Vec<TensorRate> {
    let rate = TensorRate {
        weight_decay,
        ..TensorRate::default()
    };
    vec![rate; SHAPES.len()]
}

fn table(bench: &Bench, rates: &[TensorRate]) -> TensorRates {
    TensorRates::new(&bench.context, &layout(), rates).unwrap()
}

/// Of powers of two, whose product has no rounding, or not.
fn hyper(dyadic: bool, step: u64) -> Hyper {
    Hyper {
        lr: if dyadic { 0.125 } else { 0.03 },
        beta1: 0.875,
        beta2: 0.9375,
        epsilon: 1.0 / 1024.0,
        weight_decay: if dyadic { 0.25 } else { 0.1 },
        step,
    }
}

/// Weights after three steps of a rule.
fn by_rule<L: FirstOrder>(
    bench: &Bench,
    dyadic: bool,
    rates: Option<&[TensorRate]>,
    sweep: Strategy<Sweep>,
) -> Vec<Vec<f32>> {
    let layout = layout();
    let rates = rates.map(|it| table(bench, it));
    let params = bench.arena(&layout, &made(3));
    let states: Vec<_> = L::STATES.iter().map(|_| bench.zeros(&layout)).collect();
    for t in 1..=3 {
        let buffers = Buffers {
            params: &params,
            grads: &bench.arena(&layout, &made(100 * t)),
            states: &states,
            rates: rates.as_ref(),
            evidence: &bench.slots(),
        };
        descend::<L, F32>(&bench.context, buffers, hyper(dyadic, t as u64), sweep).unwrap();
    }
    bench.read(&params)
}

struct Each<'a, F>(&'a Bench, F);

/// What is done with the bench and a rule.
trait WithRule {
    fn run<L: FirstOrder>(&self, bench: &Bench);
}

impl<F: WithRule> RuleVisitor for Each<'_, F> {
    type Output = ();
    fn visit<L: FirstOrder>(&mut self) {
        self.1.run::<L>(self.0);
    }
}

struct Follows;

impl WithRule for Follows {
    fn run<L: FirstOrder>(&self, bench: &Bench) {
        let mut weights = made(3);
        for (t, w) in weights.iter_mut().enumerate() {
            let rate = unlike()[t];
            let mut states = vec![vec![0.0; w.len()]; L::STATES.len()];
            for step in 1..=3 {
                let call = hyper(true, step as u64);
                let own = Hyper {
                    lr: call.lr * rate.lr,
                    weight_decay: rate.weight_decay,
                    ..call
                };
                reference::<L>(w, &made(100 * step)[t], &mut states, own);
            }
        }
        let rates = unlike();
        let found = by_rule::<L>(bench, true, Some(&rates), Strategy::Inferred);
        for (found, w) in found.iter().zip(&weights) {
            assert_close(found, w, 64.0 * ROUNDING, 1.0, L::NAME);
        }
        // A factor of 0 leaves a tensor as it is.
        let start = bench.read(&bench.arena(&layout(), &made(3)));
        assert_eq!(
            (&found[0], &found[4]),
            (&start[0], &start[4]),
            "{}",
            L::NAME
        );
        for (width, run, units, twins) in [(1, 8, 64, false), (2, 128, 8, false), (8, 32, 16, true)]
        {
            let sweep = Sweep {
                width,
                run,
                units,
                cubes: 3,
                twins,
                team: false,
            };
            let forced = by_rule::<L>(bench, true, Some(&rates), Strategy::Forced(sweep));
            assert_eq!(forced, found, "{} {sweep:?}", L::NAME);
        }
    }
}

#[test]
fn every_rule_follows_its_oracle_with_a_rate_for_each_tensor_however_it_is_laid_out() {
    let bench = Bench::open();
    each_rule(&mut Each(&bench, Follows));
}

struct NoTable;

impl WithRule for NoTable {
    fn run<L: FirstOrder>(&self, bench: &Bench) {
        for dyadic in [true, false] {
            let decay = hyper(dyadic, 1).weight_decay;
            let [found, expected] = [Some(&alike(decay)[..]), None]
                .map(|rates| by_rule::<L>(bench, dyadic, rates, Strategy::Inferred));
            if dyadic {
                assert_eq!(found, expected, "{}", L::NAME);
            }
            // Without a table η λ is rounded once, with one thrice: a rounding of the decay of a weight, which each step stores.
            for (found, expected) in found.iter().zip(&expected) {
                let expected: Vec<f64> = expected.iter().map(|&w| w.into()).collect();
                assert_close(found, &expected, 3.0 * 2.0 * ROUNDING, 0.5, L::NAME);
            }
        }
    }
}

#[test]
fn a_factor_of_1_and_the_decay_of_the_call_move_weights_by_a_rule_as_no_table_does() {
    let bench = Bench::open();
    each_rule(&mut Each(&bench, NoTable));
}

/// Weights after three steps of SONew.
fn by_sonew(bench: &Bench, rates: Option<&[TensorRate]>, blueprint: Blueprint) -> Vec<Vec<f32>> {
    let layout = layout();
    let rates = rates.map(|it| table(bench, it));
    let removal = EdgeRemoval::Outgoing;
    let ghosts = Ghosts::new(&layout, 1, removal, blueprint);
    let states = bench.states_in::<sonew_kernels::precision::Native<f32>>(3, &layout, ghosts);
    let params = bench.arena(&layout, &made(3));
    for t in 1..=3 {
        let buffers = StepBuffers {
            params: &params,
            graft: None,
            rates: rates.as_ref(),
            rows: None,
            grads: &bench.arena(&layout, &made(100 * t)),
            moment: &states[0],
            diagonal: &states[1],
            edges: &states[2..],
            non_finite: &bench.slots(),
            cut: &bench.slots(),
        };
        let numbers = StepRates {
            lr: 0.03,
            weight_decay: 0.1,
            beta1: 0.875,
            decay: Decay::Average(0.9375),
            epsilon: 1.0 / 1024.0,
            corrections: (1.5, 2.0),
        };
        let gamma = Tolerance {
            absolute: 0.0,
            relative: 1.0 / 64.0,
        };
        let forced = Strategy::Forced(blueprint);
        step::<F32>(&bench.context, buffers, numbers, gamma, removal, forced).unwrap();
    }
    bench.read(&params)
}

/// Weights after a staged direction of SONew.
fn by_graft(bench: &Bench, rates: Option<&[TensorRate]>, sweep: Strategy<Sweep>) -> Vec<Vec<f32>> {
    let layout = layout();
    let rates = rates.map(|it| table(bench, it));
    let (params, direction) = (
        bench.arena(&layout, &made(3)),
        bench.arena(&layout, &made(7)),
    );
    let norms: Vec<f32> = (0..2 * SHAPES.len()).map(|i| 1.0 + i as f32).collect();
    let context = &bench.context;
    apply_graft::<F32>(
        context,
        &params,
        &direction,
        &context.upload(&norms),
        &context.upload(&layout.tensor_of_block()),
        0.125,
        0.25,
        rates.as_ref(),
        sweep,
    )
    .unwrap();
    bench.read(&params)
}

/// Weights after a descent of Shampoo.
fn by_shampoo(
    bench: &Bench,
    rates: Option<&[TensorRate]>,
    sweep: Strategy<Sweep>,
) -> Vec<Vec<f32>> {
    let layout = layout();
    let rates = rates.map(|it| table(bench, it));
    let arena = |seed: usize| -> Arena { bench.arena(&layout, &made(seed)) };
    let params = arena(3);
    let context = &bench.context;
    let norms: Vec<f32> = (0..2 * SHAPES.len()).map(|i| 1.0 + i as f32).collect();
    let flags: Vec<u32> = (0..SHAPES.len()).map(|t| u32::from(t != 3)).collect();
    let buffers = DescentBuffers {
        params: &params,
        grads: &arena(5),
        direction: &arena(7),
        second: None,
        grad_norms: None,
        norms: &context.upload(&norms),
        tensor_of_block: &context.upload(&layout.tensor_of_block()),
        preconditioned: &context.upload(&flags),
        rates: rates.as_ref(),
        momentum: &arena(9),
        graft_momentum: &arena(11),
    };
    let numbers = DescentRates {
        lr: 0.03,
        weight_decay: 0.1,
        beta1: 0.875,
        beta2: 0.0,
        epsilon: 0.0,
        correction: 1.0,
    };
    kronecker::descend::<F32>(context, buffers, Graft::Sgd, true, numbers, sweep).unwrap();
    bench.read(&params)
}

#[test]
fn sonew_and_shampoo_have_the_bits_of_no_table_with_a_factor_of_1_and_the_decay_of_the_call() {
    let bench = Bench::open();
    let inferred = Strategy::Inferred;
    let blueprint = Blueprint::infer::<F32>(Profile::LLVMPIPE, 1);
    let sonew = [Some(&alike(0.1)[..]), None].map(|it| by_sonew(&bench, it, blueprint));
    assert_eq!(sonew[0], sonew[1]);
    let graft = [Some(&alike(0.25)[..]), None].map(|it| by_graft(&bench, it, inferred));
    assert_eq!(graft[0], graft[1]);
    let shampoo = [Some(&alike(0.1)[..]), None].map(|it| by_shampoo(&bench, it, inferred));
    assert_eq!(shampoo[0], shampoo[1]);
}

#[test]
fn no_layout_of_a_launch_changes_a_bit_with_a_rate_for_each_tensor() {
    let bench = Bench::open();
    let rates = unlike();
    let start = bench.read(&bench.arena(&layout(), &made(3)));
    let sweep = |width, run| Sweep {
        width,
        run,
        units: 16,
        cubes: 3,
        twins: false,
        team: false,
    };
    let plain = [sweep(4, 64), sweep(1, 8), sweep(8, 32)];
    let grafts = plain.map(|it| by_graft(&bench, Some(&rates), Strategy::Forced(it)));
    let teams = [
        sweep(4, 64),
        sweep(4, 4),
        team(4, 64, 2, 0).sweep,
        team(4, 128, 3, 0).sweep,
    ];
    let shampoos = teams.map(|it| by_shampoo(&bench, Some(&rates), Strategy::Forced(it)));
    let walk = |sweep| Blueprint {
        sweep,
        unroll: true,
    };
    let sonew = [
        walk(sweep(4, 64)),
        walk(sweep(1, 8)),
        walk(Sweep {
            twins: true,
            ..sweep(4, 16)
        }),
        team(4, 32, 2, 1),
        team(4, 128, 2, 1),
    ];
    let sonew = sonew.map(|it| by_sonew(&bench, Some(&rates), it));
    for found in [&grafts[..], &shampoos, &sonew] {
        for other in found {
            assert_eq!(other, &found[0]);
        }
        // A factor of 0 leaves tensors as they are; the others have moved.
        for (t, tensor) in found[0].iter().enumerate() {
            let stays = rates[t].lr == 0.0 || tensor.is_empty();
            assert_eq!(tensor == &start[t], stays, "tensor {t}");
        }
    }
}

#[test]
fn rates_out_of_range_too_few_of_another_layout_or_too_large_are_refused() {
    let bench = Bench::open();
    let layout = layout();
    let range = |lr, weight_decay| {
        let mut rates = unlike();
        rates[2] = TensorRate { lr, weight_decay };
        match TensorRates::new(&bench.context, &layout, &rates) {
            Err(Error::Range { argument, .. }) => argument,
            other => panic!("{lr}, {weight_decay}: {other:?}"),
        }
    };
    for value in [-1.0, f64::NAN, f64::INFINITY, 1e39] {
        assert_eq!(range(value, 0.0), "lr");
        assert_eq!(range(1.0, value), "weight-decay");
    }
    let few = TensorRates::new(&bench.context, &layout, &unlike()[1..]).unwrap_err();
    assert!(
        matches!(
            few,
            Error::Shape {
                argument: "rates",
                ..
            }
        ),
        "{few}"
    );
    let descend_with = |layout: &Layout, rates: &TensorRates, lr: f64| {
        let buffers = Buffers {
            params: &bench.zeros(layout),
            grads: &bench.zeros(layout),
            states: &[],
            rates: Some(rates),
            evidence: &bench.slots(),
        };
        let hyper = Hyper {
            lr,
            ..hyper(true, 1)
        };
        descend::<Sgd, F32>(&bench.context, buffers, hyper, Strategy::Inferred)
    };
    let own = table(&bench, &unlike());
    let other = Layout::new(&[12, 5]).unwrap();
    let error = descend_with(&other, &own, 1.0).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Shape {
                argument: "rates",
                ..
            }
        ),
        "{error}"
    );
    descend_with(&layout, &own, 1e38).unwrap();
    let error = descend_with(&layout, &own, 3e38).unwrap_err();
    assert!(
        matches!(error, Error::Range { argument: "lr", .. }),
        "{error}"
    );
}
