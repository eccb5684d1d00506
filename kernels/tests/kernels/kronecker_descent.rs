//! Shampoo's graft, momenta and descent in every precision, against f64 on inputs that the formats hold.

use cubecl::server::Handle;
use sonew_kernels::error::Error;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::kronecker::{DescentBuffers, DescentRates, MeasureBuffers, descend, measure};
use sonew_kernels::precision::{F32, HostFormat, Precision};
use sonew_kernels::segments::Segments;
use sonew_kernels::sonew::{Graft, Reduction, squared_norm};
use sonew_kernels::sweep::{Strategy, Sweep};

use crate::bench::*;
use crate::precision::{assert_weights, in_every_precision};

const TENSORS: &[usize] = &[300, 1, 1009];
const SWEEP: Sweep = Sweep {
    width: 4,
    run: 32,
    units: 32,
    cubes: 4,
};
const BETA1: f64 = 0.875;
const BETA2: f64 = 0.9375;
const EPSILON: f64 = 1.0 / 64.0;

fn rates(t: i32) -> DescentRates {
    DescentRates {
        lr: 0.125,
        weight_decay: 0.25,
        beta1: BETA1,
        beta2: BETA2,
        epsilon: EPSILON,
        correction: 1.0 / (1.0 - BETA2.powi(t)),
    }
}

/// Values of size `size` / 4 to `size`, of either sign, that a format holds: squares of smaller ones underflow in f16.
fn held<S: HostFormat>(seed: usize, size: f64) -> Vec<Vec<f64>> {
    let value = |x: f64| size * x.signum() * (0.25 + 0.75 * x.abs());
    tensors(TENSORS, |t, i| {
        f64::from(S::rounded(value(noise(seed + t, i)) as f32))
    })
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
        graft: Graft,
        nesterov: bool,
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
struct Buffers {
    params: Handle,
    second: Option<Handle>,
    norms: Option<Handle>,
    squares: [Handle; 2],
    momentum: Handle,
    graft_momentum: Handle,
    evidence: Handle,
}

fn follows_its_oracle<P: Precision>(bench: &Bench, graft: Graft, nesterov: bool) {
    let context = &bench.context;
    let segments = Segments::new(TENSORS).unwrap();
    let table = context.upload(&segments.tensor_of_block());
    // The second tensor is not preconditioned.
    let flags = context.upload(&[1u32, 0, 1]);
    let reduction = Reduction::new(context, &segments);
    let runs = SWEEP.runs_per_block() * (segments.blocks() - 2);
    let state = || bench.values_in::<P::State>(segments.arena_len());
    let weights = held::<P::Params>(3, 1.0);
    let buffers = Buffers {
        params: bench.arena_in::<P::Params>(&segments, &weights),
        second: matches!(graft, Graft::Adam | Graft::RmsProp).then(state),
        norms: (graft == Graft::RmsProp).then(|| bench.values(TENSORS.len())),
        squares: [bench.values(2 * runs), bench.values(2 * TENSORS.len())],
        momentum: state(),
        graft_momentum: state(),
        evidence: bench.slots(),
    };
    let mut oracles: Vec<Oracle> = weights.into_iter().map(Oracle::new).collect();
    for t in 1..=3 {
        let g = held::<P::Params>(10 * t, 1.0);
        let s = held::<P::State>(100 * t, 3.0);
        let grads = bench.arena_in::<P::Params>(&segments, &g);
        let direction = bench.arena_in::<P::State>(&segments, &s);
        if let Some(norms) = &buffers.norms {
            let partials = bench.values(segments.blocks() - 2);
            squared_norm::<P, R>(context, &segments, &reduction, &grads, &partials, norms).unwrap();
        }
        let rates = rates(t as i32);
        let strategy = Strategy::Forced(SWEEP);
        let measured = MeasureBuffers {
            grads: &grads,
            direction: &direction,
            second: buffers.second.as_ref(),
            grad_squares: buffers.norms.as_ref(),
            squares: &buffers.squares[0],
            tensor_of_block: &table,
            evidence: &buffers.evidence,
        };
        measure::<P, R>(context, &segments, measured, graft, rates, strategy).unwrap();
        let [of_runs, of_tensors] = &buffers.squares;
        reduction
            .sum_pairs(context, of_runs, SWEEP.runs_per_block(), of_tensors)
            .unwrap();
        let descended = DescentBuffers {
            params: &buffers.params,
            grads: &grads,
            direction: &direction,
            second: buffers.second.as_ref(),
            grad_squares: buffers.norms.as_ref(),
            squares: of_tensors,
            tensor_of_block: &table,
            preconditioned: &flags,
            momentum: &buffers.momentum,
            graft_momentum: &buffers.graft_momentum,
        };
        descend::<P, R>(
            context, &segments, descended, graft, nesterov, rates, strategy,
        )
        .unwrap();
        let found = bench.read_in::<P::Params>(&segments, &buffers.params);
        for (tensor, oracle) in oracles.iter_mut().enumerate() {
            let pair = (&g[tensor][..], &s[tensor][..]);
            let step = oracle.step(pair, graft, nesterov, tensor != 1, &rates);
            // A step has some twenty roundings of which each is relative to a part of it, or to the weight's decay.
            let scale = step + rates.lr * rates.weight_decay * largest(&oracle.w);
            let what = format!("{graft:?}, nesterov {nesterov}, step {t}, tensor {tensor}");
            // Where also weights are computed with rounding, that rounding comes twice.
            let stores = 3.0 * t as f64;
            let roundings = 20.0 * t as f64;
            assert_weights::<P>(&found[tensor], &oracle.w, stores, roundings, scale, &what);
        }
        assert_eq!(bench.evidence(&buffers.evidence), Evidence::default());
    }
}

fn descents<P: Precision>(bench: &Bench) {
    for (graft, nesterov) in [
        (Graft::None, false),
        (Graft::Sgd, true),
        (Graft::Adam, false),
        (Graft::RmsProp, false),
        (Graft::RmsProp, true),
    ] {
        follows_its_oracle::<P>(bench, graft, nesterov);
    }
}

#[test]
fn the_descent_follows_its_oracle_for_every_graft_in_every_precision() {
    let bench = Bench::open();
    in_every_precision!(descents(&bench));
}

#[test]
fn the_descent_names_what_it_lacks_and_what_is_out_of_range() {
    let bench = Bench::open();
    let segments = Segments::new(&[40]).unwrap();
    let arena = bench.zeros(&segments);
    let table = bench.context.upload(&segments.tensor_of_block());
    let run = |graft, second: bool, lr: f64| {
        measure::<F32, R>(
            &bench.context,
            &segments,
            MeasureBuffers {
                grads: &arena,
                direction: &arena,
                second: second.then_some(&arena),
                grad_squares: None,
                squares: &bench.values(2),
                tensor_of_block: &table,
                evidence: &bench.slots(),
            },
            graft,
            DescentRates {
                lr,
                weight_decay: 0.0,
                beta1: 0.9,
                beta2: 0.9,
                epsilon: 0.0,
                correction: 1.0,
            },
            Strategy::Inferred,
        )
    };
    run(Graft::Adam, true, 0.1).unwrap();
    for (graft, second, argument) in [
        (Graft::Adam, false, "second"),
        (Graft::Sgd, true, "second"),
        (Graft::RmsProp, true, "grad_squares"),
    ] {
        match run(graft, second, 0.1) {
            Err(Error::Shape {
                argument: found, ..
            }) => assert_eq!(found, argument),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        run(Graft::Momentum, false, 0.1),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        run(Graft::Sgd, false, -0.1),
        Err(Error::Range { argument: "lr", .. })
    ));
}
