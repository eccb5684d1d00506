//! What a power of two in front of the data changes: beside the contract's checks of any unit, the roots, the ends of the range,
//! and what is counted there.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::evidence::{Evidence, PivotEvidence};
use sonew_kernels::first_order::{Adagrad, Adam, Buffers, FirstOrder, Hyper, RmsProp, descend};
use sonew_kernels::kronecker::{
    DeviceRoots, Method, Ridge, RootEvidence, RootProblem, inverse_root,
};
use sonew_kernels::launch::Strategy;
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::{F16, F32, Format, HostFormat, Precision};
use sonew_kernels::sonew::reference::{Statistics, factor as oracle};
use sonew_kernels::sonew::{
    Damping, Descent, EdgeRemoval, FactorBuffers, Tolerance, UpdateBuffers, factor,
    largest_row_sum, update,
};

use crate::bench::*;
use crate::matrices::conditioned;

const RELATIVE: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 1e-7,
};

fn scaled(values: &[f32], exponent: i32) -> Vec<f32> {
    let unit = f64::from(exponent).exp2();
    values
        .iter()
        .map(|&x| (f64::from(x) * unit) as f32)
        .collect()
}

#[test]
fn the_root_of_a_matrix_times_a_power_of_2_to_the_p_has_the_same_digits_by_every_method() {
    for n in [1, 9] {
        let s = if n == 1 {
            vec![0.7]
        } else {
            conditioned(n, 1e2)
        };
        for (name, method) in Method::ALL {
            for p in [1, 2, 3, 4, 6] {
                for relative in [true, false] {
                    let root = |k: i32| {
                        let unit = f64::from(k * p as i32).exp2();
                        let ridge = if relative {
                            Ridge::Relative(1e-4)
                        } else {
                            Ridge::Absolute(1e-4 * unit)
                        };
                        let s = scaled(&s, k * p as i32);
                        let root = inverse_root(&s, n, p, ridge, method).unwrap();
                        let evidence = RootEvidence {
                            ridge: root.evidence.ridge / unit,
                            ..root.evidence
                        };
                        (scaled(&root.values, k), evidence)
                    };
                    let first = root(0);
                    for k in [-15, -4, 3, 15] {
                        assert_eq!(root(k), first, "{name}, n {n}, p {p}, 2^{}", k * p as i32);
                    }
                }
            }
        }
    }
}

#[test]
fn so_has_the_root_on_the_device() {
    let bench = Bench::open();
    let matrices: Vec<(Vec<f32>, u32)> = [1, 2, 3, 4, 6]
        .into_iter()
        .map(|p| (conditioned(7, 1e2), p))
        .collect();
    let roots = |k: i32| {
        let mut values = Vec::new();
        let mut problems = Vec::new();
        for (s, p) in &matrices {
            problems.push(RootProblem {
                start: values.len(),
                n: 7,
                p: *p,
            });
            values.extend(scaled(s, k * *p as i32));
        }
        let device = DeviceRoots::new(&bench.context, &problems, Strategy::Inferred).unwrap();
        let statistics = bench.context.upload(&values);
        let out = bench.values(values.len());
        let ridge = Ridge::Relative(1e-4);
        let context = &bench.context;
        device
            .compute(context, &statistics, &out, 0..problems.len(), ridge, 0.1)
            .unwrap();
        let found: Vec<f32> = context.download("test", &out).unwrap();
        assert!(found.iter().all(|x| *x != 0.0));
        scaled(&found, k)
    };
    let first = roots(0);
    for k in [-15, -4, 3, 15] {
        assert_eq!(roots(k), first, "2^{k}");
    }
}

/// A factor in a precision, of one tensor: D, ψ, and what its pivots show.
fn factor_in<P: Precision>(bench: &Bench, h: &Statistics) -> (Vec<f32>, Vec<f32>, PivotEvidence) {
    let layout = Layout::new(&[h.diagonal.len()]).unwrap();
    let arena = |values: &[f64]| bench.arena_in::<P::State>(&layout, &[values.to_vec()]);
    let read = |arena: &Arena| bench.read(arena).concat();
    let (psi, d) = (
        [bench.zeros_in::<P::State>(&layout)],
        bench.zeros_in::<P::State>(&layout),
    );
    let evidence = bench.slots();
    let buffers = FactorBuffers {
        diagonal: &arena(&h.diagonal),
        edges: &[arena(&h.edges[0])],
        psi: &psi,
        d: &d,
        evidence: &evidence,
    };
    let (context, removal) = (&bench.context, EdgeRemoval::Outgoing);
    let inferred = Strategy::Inferred;
    factor::<P>(context, buffers, 1.0, 0.0, RELATIVE, removal, inferred).unwrap();
    let seen = PivotEvidence::read(context, "test", &evidence).unwrap();
    (read(&d), read(&psi[0]), seen)
}

/// A chain whose neighbours are correlated by three quarters.
fn chain(n: usize, size: f64) -> Statistics {
    let mut h = Statistics::zeros(n, 1);
    h.diagonal.fill(size);
    h.edges[0][..n - 1].fill(0.75 * size);
    h
}

#[test]
fn edges_whose_square_is_no_number_of_f16_still_lower_their_pivots() {
    let bench = Bench::open();
    // 2⁻¹² and ¾ of it: the square of 1.8e-4 is below half of the least number of f16.
    let h = chain(40, 1.0 / 4096.0);
    let (d, psi, seen) = factor_in::<F16>(&bench, &h);
    let expected = oracle(&h, RELATIVE, EdgeRemoval::Outgoing);
    let unit = <F16 as Precision>::State::ROUNDOFF;
    // The product of an edge and ψ, the difference, the reciprocal and the store.
    assert_close(&d, &expected.d, 8.0 * unit, 0.0, "D");
    assert_close(&psi, &expected.psi[0], 2.0 * unit, 0.0, "ψ");
    assert_eq!(seen, PivotEvidence::default());
}

#[test]
fn pivots_without_a_normal_reciprocal_are_counted_and_no_others() {
    let bench = Bench::open();
    // Of the 40 columns all pivots but the last are 7/16 of their H.
    let counted = |size: f64, f16: bool| {
        let seen = if f16 {
            factor_in::<F16>(&bench, &chain(40, size)).2
        } else {
            factor_in::<F32>(&bench, &chain(40, size)).2
        };
        seen.out_of_range.count
    };
    let two = |k: i32| f64::from(k).exp2();
    assert_eq!(counted(two(-124), false), 0);
    assert_eq!(counted(two(-125), false), 39);
    assert_eq!(counted(two(126), false), 0);
    assert_eq!(counted(two(127), false), 1);
    assert_eq!(counted(two(-12), true), 0);
    assert_eq!(counted(two(-13), true), 39);
    assert_eq!(counted(two(14), true), 0);
    assert_eq!(counted(two(15), true), 1);
    // Statistics of nothing are no pivots that were lost.
    assert_eq!(counted(0.0, false), 0);
}

#[test]
fn tensors_whose_squares_f32_cannot_hold_have_norms() {
    let bench = Bench::open();
    let lengths = [1, 300, 5000];
    let layout = Layout::new(&lengths).unwrap();
    let reduction = Reduction::new(&bench.context, &layout);
    let partials = bench.values(layout.blocks() - 2);
    let out = bench.values(lengths.len());
    for scale in [1e-37, 1e-25, 1.0, 1e20, 1e36] {
        // Some values that are nothing beside the others, in vectors of their own as well.
        let values = tensors(&lengths, |t, i| {
            let small = if i / 4 % 3 == 1 || i % 7 == 3 {
                1e-12
            } else {
                1.0
            };
            exact(scale * small * noise(t, i))
        });
        let params = bench.arena(&layout, &values);
        norm_per_tensor::<F32>(&bench.context, &reduction, &params, &partials, &out).unwrap();
        let found: Vec<f32> = bench.context.download("test", &out).unwrap();
        let expected: Vec<f64> = values
            .iter()
            .map(|t| t.iter().map(|x| x * x).sum::<f64>().sqrt())
            .collect();
        assert_close(&found, &expected, 270.0 * ROUNDING, 0.0, "norms");
    }
}

#[test]
fn the_row_sums_of_statistics_at_their_largest_are_a_number() {
    let bench = Bench::open();
    let layout = Layout::new(&[300]).unwrap();
    let reduction = Reduction::new(&bench.context, &layout);
    let partials = bench.values(layout.blocks() - 2);
    let out = bench.values(1);
    let full = bench.arena(&layout, &tensors(&[300], |_, _| f64::from(f32::MAX)));
    largest_row_sum::<F32>(
        &bench.context,
        &reduction,
        &full,
        std::slice::from_ref(&full),
        &partials,
        &out,
    )
    .unwrap();
    let found: Vec<f32> = bench.context.download("test", &out).unwrap();
    assert_eq!(found, [f32::MAX]);
}

#[test]
fn an_epsilon_relative_to_row_sums_beyond_f16_is_a_number_there() {
    let bench = Bench::open();
    let layout = Layout::new(&[40]).unwrap();
    let f16 = |values: &[f32]| Arena::of(&bench.context, &layout, Format::F16, &[values]).unwrap();
    // A row sums up to 1.2 · 2¹⁶, and ε is 2⁻⁶ of that.
    let params = f16(&[0.0; 40]);
    let mut edges = [24576.0f32; 40];
    edges[39] = 0.0;
    update::<F16>(
        &bench.context,
        UpdateBuffers {
            moment: &f16(&[16384.0; 40]),
            diagonal: &f16(&[32768.0; 40]),
            edges: &[f16(&edges)],
            evidence: &bench.slots(),
        },
        Descent::Apply {
            params: &params,
            lr: 1.0,
            weight_decay: 0.0,
            rates: None,
        },
        Damping::Relative {
            epsilon: 1.0 / 64.0,
            row_sums: PerTensor {
                values: &bench.context.upload(&[81920f32]),
                tensor_of_block: &bench.context.upload(&layout.tensor_of_block()),
            },
        },
        RELATIVE,
        EdgeRemoval::Outgoing,
        (1.0, 1.0),
        Strategy::Inferred,
    )
    .unwrap();
    let found = bench.read(&params);
    // The last column has no neighbour: its part of u is m / (H + ε), less what the column before it adds.
    assert!(found[0].iter().all(|w| w.is_finite()));
    assert!(found[0][39] < -0.1, "{}", found[0][39]);
}

/// The second moment, state `at`, after one gradient whose square is infinite and `steps` of size ½.
fn second_moment<L: FirstOrder, P: Precision>(bench: &Bench, huge: f32, at: usize) -> [f32; 2] {
    let layout = Layout::new(&[5]).unwrap();
    let encode = |values: [f32; 5]| {
        Arena::of(&bench.context, &layout, P::Params::FORMAT, &[values]).unwrap()
    };
    let params = encode([1.0; 5]);
    let states: Vec<_> = L::STATES
        .iter()
        .map(|_| bench.zeros_in::<P::State>(&layout))
        .collect();
    let evidence = bench.slots();
    [huge, 0.5].map(|g| {
        let grads = encode([g; 5]);
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &states,
            rates: None,
            evidence: &evidence,
        };
        let hyper = Hyper {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.5,
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: 1,
        };
        descend::<L, P>(&bench.context, buffers, hyper, Strategy::Inferred).unwrap();
        let seen: Evidence = bench.evidence(&evidence);
        assert_eq!(seen.count, 0);
        bench.read(&states[at])[0][2]
    })
}

fn come_down_again<P: Precision>(bench: &Bench, huge: f32, largest: f32) {
    let of_rmsprop = second_moment::<RmsProp, P>(bench, huge, 0);
    let of_adam = second_moment::<Adam, P>(bench, huge, 1);
    for (rule, [first, second]) in [("rmsprop", of_rmsprop), ("adam", of_adam)] {
        assert_eq!(first, largest, "{rule} in {}", P::NAME);
        assert!(second < 0.6 * largest, "{rule} in {}: {second}", P::NAME);
    }
    // A sum does not come down, but it is a number.
    let of_adagrad = second_moment::<Adagrad, P>(bench, huge, 0);
    assert_eq!(of_adagrad, [largest; 2], "adagrad in {}", P::NAME);
}

#[test]
fn a_gradient_whose_square_is_infinite_leaves_second_moments_that_come_down_again() {
    let bench = Bench::open();
    come_down_again::<F32>(&bench, 1e30, f32::MAX);
    come_down_again::<F16>(&bench, 3e4, 65504.0);
}
