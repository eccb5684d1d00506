//! What the kernels of SONew refuse, and that the error names the argument. Long, as every
//! argument of every launch function is spoiled once.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::Profile;
use sonew_kernels::error::Error;
use sonew_kernels::first_order::{Buffers, Hyper, Sgd, descend};
use sonew_kernels::graft::Graft;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::{Bf16, F32, Pairs, Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, FactorBuffers, Form, GraftBuffers,
    PreconditionBuffers, StatisticsBuffers, Tolerance, UpdateBuffers, apply_graft, factor,
    largest_row_sum, precondition, statistics, update,
};

use crate::bench::*;
use crate::identities::PLAIN;

/// The argument that an error names, if it is about an argument.
#[track_caller]
fn argument(result: Result<(), Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Length { argument, .. }
        | Error::Range { argument, .. }
        | Error::Shape { argument, .. } => argument,
        other => panic!("not about an argument: {other}"),
    }
}

struct Fixture {
    bench: Bench,
    layout: Layout,
    arena: Arena,
    /// Of another layout, and of another format.
    wrong: [Arena; 2],
    /// A table of another length.
    short: Handle,
    evidence: Slots,
    table: Handle,
}

impl Fixture {
    fn new() -> Self {
        let bench = Bench::open();
        let layout = Layout::new(&[10, 3]).unwrap();
        Self {
            arena: bench.zeros(&layout),
            wrong: [
                bench.zeros(&Layout::new(&[10]).unwrap()),
                bench.zeros_in::<Pairs>(&layout),
            ],
            short: bench.values(1),
            evidence: bench.slots(),
            table: bench.context.upload(&layout.tensor_of_block()),
            bench,
            layout,
        }
    }

    fn buffers<'a>(&'a self, edges: &'a [Arena]) -> UpdateBuffers<'a> {
        UpdateBuffers {
            moment: &self.arena,
            diagonal: &self.arena,
            edges,
            evidence: &self.evidence,
        }
    }

    fn apply(&self) -> Descent<'_> {
        Descent::Apply {
            params: &self.arena,
            lr: 0.1,
            weight_decay: 0.1,
            rates: None,
        }
    }

    fn update(
        &self,
        buffers: UpdateBuffers<'_>,
        descent: Descent<'_>,
        damping: Damping<'_>,
        gamma: Tolerance,
    ) -> Result<(), Error> {
        update::<F32>(
            &self.bench.context,
            buffers,
            descent,
            damping,
            gamma,
            EdgeRemoval::Outgoing,
            (1.0, 1.0),
            Strategy::Inferred,
        )
    }
}

#[test]
fn the_update_names_the_buffer_that_has_another_layout_format_or_length() {
    let f = Fixture::new();
    let edges = [f.arena.clone()];
    let good = f.buffers(&edges);
    let run = |buffers| argument(f.update(buffers, f.apply(), Damping::Absolute(0.0), PLAIN.gamma));
    let short = &f.short;
    // The others are held to its layout.
    assert_eq!(
        run(UpdateBuffers {
            moment: &f.wrong[1],
            ..good
        }),
        "moment"
    );
    for wrong in &f.wrong {
        assert_eq!(
            run(UpdateBuffers {
                diagonal: wrong,
                ..good
            }),
            "diagonal"
        );
        assert_eq!(
            run(UpdateBuffers {
                edges: std::slice::from_ref(wrong),
                ..good
            }),
            "edges"
        );
    }
    let few = Slots::new(&f.bench.context, 1);
    assert_eq!(
        run(UpdateBuffers {
            evidence: &few,
            ..good
        }),
        "evidence"
    );
    let plain = PLAIN.gamma;
    for params in &f.wrong {
        let params = Descent::Apply {
            params,
            lr: 0.1,
            weight_decay: 0.0,
            rates: None,
        };
        assert_eq!(
            argument(f.update(good, params, Damping::Absolute(0.0), plain)),
            "params"
        );
    }
    let sums = f.bench.values(2);
    let relative = |values, tensor_of_block| {
        let damping = Damping::Relative {
            epsilon: 0.1,
            row_sums: PerTensor {
                values,
                tensor_of_block,
            },
        };
        argument(f.update(good, f.apply(), damping, plain))
    };
    assert_eq!(relative(short, &f.table), "row_sums");
    assert_eq!(relative(&sums, short), "tensor_of_block");
    f.update(good, f.apply(), Damping::Absolute(0.0), plain)
        .expect("the same call without the fault");
}

#[test]
fn the_update_names_the_hyperparameter_out_of_range() {
    let f = Fixture::new();
    let edges = [f.arena.clone()];
    let sums = f.bench.values(2);
    let run =
        |descent, damping, gamma| argument(f.update(f.buffers(&edges), descent, damping, gamma));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let lr = Descent::Apply {
            params: &f.arena,
            lr: bad,
            weight_decay: 0.0,
            rates: None,
        };
        assert_eq!(run(lr, Damping::Absolute(0.0), PLAIN.gamma), "lr");
        let decay = Descent::Apply {
            params: &f.arena,
            lr: 0.1,
            weight_decay: bad,
            rates: None,
        };
        assert_eq!(
            run(decay, Damping::Absolute(0.0), PLAIN.gamma),
            "weight-decay"
        );
        assert_eq!(
            run(f.apply(), Damping::Absolute(bad), PLAIN.gamma),
            "epsilon"
        );
        let relative = Damping::Relative {
            epsilon: bad,
            row_sums: PerTensor {
                values: &sums,
                tensor_of_block: &f.table,
            },
        };
        assert_eq!(run(f.apply(), relative, PLAIN.gamma), "relative-epsilon");
        let absolute = Tolerance {
            absolute: bad,
            relative: 0.0,
        };
        assert_eq!(run(f.apply(), Damping::Absolute(0.0), absolute), "gamma");
    }
    for bad in [-0.1, 1.0, f64::NAN] {
        let gamma = Tolerance {
            absolute: 0.0,
            relative: bad,
        };
        assert_eq!(
            run(f.apply(), Damping::Absolute(0.0), gamma),
            "relative-gamma"
        );
    }
    let wide = vec![f.arena.clone(); 33];
    let result = f.update(
        f.buffers(&wide),
        f.apply(),
        Damping::Absolute(0.0),
        PLAIN.gamma,
    );
    assert_eq!(argument(result), "band");
}

fn of_tensors<'a>(values: &'a Handle, tensor_of_block: &'a Handle) -> PerTensor<'a> {
    PerTensor {
        values,
        tensor_of_block,
    }
}

#[test]
fn a_staged_update_names_the_buffer_that_its_graft_lacks_or_has_no_use_for() {
    let f = Fixture::new();
    let edges = [f.arena.clone()];
    let sweep = Blueprint::infer::<F32>(Profile::LLVMPIPE, 1).sweep;
    let (lengths, norms) = (f.bench.values(sweep.norms(&f.layout)), f.bench.values(2));
    let good = |graft: Graft| GraftBuffers {
        graft,
        epsilon: 1e-8,
        decay: 0.9,
        direction: &f.arena,
        norms: &lengths,
        grads: matches!(graft, Graft::Sgd | Graft::RmsProp).then_some(&f.arena),
        grad_norms: (graft == Graft::RmsProp).then_some(of_tensors(&norms, &f.table)),
        second: (graft == Graft::RmsProp).then_some(&f.arena),
    };
    let refused = |stage| {
        argument(f.update(
            f.buffers(&edges),
            Descent::Stage(stage),
            Damping::Absolute(0.0),
            PLAIN.gamma,
        ))
    };
    let of = |graft, change: fn(&mut GraftBuffers<'_>)| {
        let mut stage = good(graft);
        change(&mut stage);
        refused(stage)
    };
    assert_eq!(of(Graft::Sgd, |s| s.grads = None), "grads");
    assert_eq!(of(Graft::RmsProp, |s| s.grad_norms = None), "grad_norms");
    assert_eq!(of(Graft::RmsProp, |s| s.second = None), "second");
    assert_eq!(of(Graft::Adam, |s| s.grads = Some(s.direction)), "grads");
    let short = &f.short;
    let (adam, rmsprop) = (good(Graft::Adam), good(Graft::RmsProp));
    let norms = GraftBuffers {
        norms: short,
        ..adam
    };
    assert_eq!(refused(norms), "norms");
    for wrong in &f.wrong {
        let direction = GraftBuffers {
            direction: wrong,
            ..adam
        };
        assert_eq!(refused(direction), "direction");
        let grads = GraftBuffers {
            grads: Some(wrong),
            ..rmsprop
        };
        assert_eq!(refused(grads), "grads");
        let second = GraftBuffers {
            second: Some(wrong),
            ..rmsprop
        };
        assert_eq!(refused(second), "second");
    }
    let of_short = GraftBuffers {
        grad_norms: Some(of_tensors(short, short)),
        ..rmsprop
    };
    assert_eq!(refused(of_short), "grad_norms");
    assert_eq!(
        of(Graft::RmsProp, |s| {
            s.grad_norms = s.grad_norms.map(|it| of_tensors(it.values, it.values));
        }),
        "tensor_of_block"
    );
}

#[test]
fn grafts_and_the_factor_name_the_hyperparameter_out_of_range() {
    let f = Fixture::new();
    let context = &f.bench.context;
    let edges = [f.arena.clone()];
    let lengths = f.bench.values(4);
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let stage = |epsilon, decay| {
            let stage = GraftBuffers {
                graft: Graft::Adam,
                epsilon,
                decay,
                direction: &f.arena,
                norms: &lengths,
                grads: None,
                grad_norms: None,
                second: None,
            };
            argument(f.update(
                f.buffers(&edges),
                Descent::Stage(stage),
                Damping::Absolute(0.0),
                PLAIN.gamma,
            ))
        };
        assert_eq!(stage(bad, 0.9), "graft-epsilon");
        assert_eq!(stage(1e-8, bad), "graft-decay");
        let graft = |lr, weight_decay| {
            argument(apply_graft::<F32>(
                context,
                &f.arena,
                &f.arena,
                &lengths,
                &f.table,
                lr,
                weight_decay,
                None,
                Strategy::Inferred,
            ))
        };
        assert_eq!(graft(bad, 0.0), "lr");
        assert_eq!(graft(0.1, bad), "weight-decay");
        let factored = |correction, epsilon| {
            let buffers = FactorBuffers {
                diagonal: &f.arena,
                edges: &edges,
                psi: &edges,
                d: &f.arena,
                evidence: &f.evidence,
            };
            argument(factor::<F32>(
                context,
                buffers,
                correction,
                epsilon,
                PLAIN.gamma,
                EdgeRemoval::Outgoing,
                Strategy::Inferred,
            ))
        };
        assert_eq!(factored(bad, 0.0), "correction");
        assert_eq!(factored(1.0, bad), "epsilon");
    }
}

#[test]
fn the_statistics_name_what_is_out_of_range() {
    let f = Fixture::new();
    let edges = [f.arena.clone()];
    let run = |beta1, decay| {
        let buffers = StatisticsBuffers {
            grads: &f.arena,
            moment: &f.arena,
            diagonal: &f.arena,
            edges: &edges,
            rows: None,
            evidence: &f.evidence,
        };
        argument(statistics::<F32>(
            &f.bench.context,
            buffers,
            beta1,
            decay,
            Strategy::Inferred,
        ))
    };
    for bad in [-0.1, 1.0, f64::NAN] {
        assert_eq!(run(bad, Decay::Average(0.9)), "beta1");
        assert_eq!(run(0.9, Decay::Average(bad)), "beta2");
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(run(0.9, Decay::Sum(bad)), "lambda");
    }
}

#[test]
fn the_factor_the_preconditioner_the_norms_and_the_graft_name_the_buffer_at_fault() {
    let f = Fixture::new();
    let (context, layout) = (&f.bench.context, &f.layout);
    let (one, none): ([Arena; 1], [Arena; 0]) = ([f.arena.clone()], []);
    let factored = |psi: &[Arena], d: &Arena| {
        let buffers = FactorBuffers {
            diagonal: &f.arena,
            edges: &one,
            psi,
            d,
            evidence: &f.evidence,
        };
        argument(factor::<F32>(
            context,
            buffers,
            1.0,
            0.0,
            PLAIN.gamma,
            EdgeRemoval::Outgoing,
            Strategy::Inferred,
        ))
    };
    assert_eq!(factored(&none, &f.arena), "psi");
    for wrong in &f.wrong {
        assert_eq!(factored(std::slice::from_ref(wrong), &f.arena), "psi");
        assert_eq!(factored(&one, wrong), "d");
    }

    let preconditioned = |psi: &[Arena], direction: &Arena, strategy| {
        let buffers = PreconditionBuffers {
            psi,
            d: &f.arena,
            moment: &f.arena,
            direction,
        };
        argument(precondition::<F32>(context, buffers, strategy))
    };
    for wrong in &f.wrong {
        assert_eq!(preconditioned(&one, wrong, Strategy::Inferred), "direction");
    }
    let wide = vec![f.arena.clone(); 33];
    assert_eq!(preconditioned(&wide, &f.arena, Strategy::Inferred), "band");
    let vectors = Strategy::Forced(Sweep::infer(Profile::LLVMPIPE));
    assert_eq!(preconditioned(&one, &f.arena, vectors), "blueprint");

    let reduction = Reduction::new(context, layout);
    let (partials, out) = (f.bench.values(layout.blocks() - 2), f.bench.values(2));
    let norm = |values, partials, out| {
        argument(norm_per_tensor::<F32>(
            context, &reduction, values, partials, out,
        ))
    };
    for wrong in &f.wrong {
        assert_eq!(norm(wrong, &partials, &out), "values");
    }
    assert_eq!(norm(&f.arena, &f.short, &out), "partials");
    assert_eq!(norm(&f.arena, &partials, &f.short), "out");
    let sums = |diagonal, edges: &[Arena]| {
        argument(largest_row_sum::<F32>(
            context, &reduction, diagonal, edges, &partials, &out,
        ))
    };
    for wrong in &f.wrong {
        assert_eq!(sums(wrong, &one), "diagonal");
        assert_eq!(sums(&f.arena, std::slice::from_ref(wrong)), "edges");
    }

    let lengths = f.bench.values(4);
    let grafted = |params, direction, norms, table| {
        argument(apply_graft::<F32>(
            context,
            params,
            direction,
            norms,
            table,
            0.1,
            0.1,
            None,
            Strategy::Inferred,
        ))
    };
    let (good, table) = (&f.arena, &f.table);
    // The direction is held to the layout of the parameters.
    assert_eq!(grafted(&f.wrong[1], good, &lengths, table), "params");
    for wrong in &f.wrong {
        assert_eq!(grafted(good, wrong, &lengths, table), "direction");
    }
    assert_eq!(grafted(good, good, &f.short, table), "norms");
    assert_eq!(grafted(good, good, &lengths, &f.short), "tensor_of_block");
}

#[test]
fn a_sweep_without_units_or_with_too_many_cubes_is_an_error_and_no_panic() {
    let f = Fixture::new();
    let large = Layout::new(&[70_000]).unwrap();
    let arena = f.bench.zeros(&large);
    let evidence = Slots::new(&f.bench.context, 75_000);
    let run = |units, cubes| {
        let buffers = Buffers {
            params: &arena,
            grads: &arena,
            states: &[],
            rates: None,
            evidence: &evidence,
        };
        let hyper = Hyper {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.9,
            epsilon: 0.0,
            weight_decay: 0.0,
            step: 1,
        };
        let sweep = Sweep {
            width: 1,
            run: 1,
            units,
            cubes,
            twins: false,
            team: false,
        };
        descend::<Sgd, F32>(&f.bench.context, buffers, hyper, Strategy::Forced(sweep))
    };
    assert_eq!(argument(run(0, 1)), "blueprint");
    assert_eq!(argument(run(1, 0)), "blueprint");
    let error = run(1, 1 << 20).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Limit {
                resource: "cubes",
                found: 70_000..,
                ..
            }
        ),
        "{error}"
    );
    // A slot for each of them comes first.
    assert_eq!(argument(run(1 << 20, 1)), "evidence");
}

#[test]
fn a_vector_of_one_value_is_refused_where_a_word_holds_two() {
    let bench = Bench::open();
    let layout = Layout::new(&[8]).unwrap();
    let values = |_: usize| bench.zeros_in::<<Bf16 as Precision>::Params>(&layout);
    let sweep = Sweep {
        width: 1,
        run: 64,
        units: 32,
        cubes: 1,
        twins: false,
        team: false,
    };
    let buffers = Buffers {
        params: &values(0),
        grads: &values(1),
        states: &[],
        rates: None,
        evidence: &bench.slots(),
    };
    let hyper = Hyper {
        lr: 0.5,
        beta1: 0.0,
        beta2: 0.0,
        epsilon: 0.0,
        weight_decay: 0.0,
        step: 1,
    };
    let strategy = Strategy::Forced(sweep);
    let refused = descend::<Sgd, Bf16>(&bench.context, buffers, hyper, strategy);
    assert!(refused.is_err());
    assert_eq!(<Bf16 as Precision>::Params::BYTES, 2);
}

#[test]
fn a_step_that_the_device_cannot_launch_is_refused_before_its_states_are_made() {
    let bench = Bench::open();
    let layout = Layout::new(&[8]).unwrap();
    let fits = Blueprint::infer::<F32>(bench.context.profile(), 1);
    let too_many = Blueprint {
        sweep: Sweep {
            units: 1 << 20,
            ..fits.sweep
        },
        ..fits
    };
    for one_launch in [false, true] {
        let form = Form {
            one_launch,
            graft: Graft::None,
            relative: false,
            rates: false,
            rows: false,
        };
        let require = |blueprint: Blueprint| {
            let factor = (1, EdgeRemoval::Outgoing);
            blueprint.require::<F32>("building", &bench.context, &layout, factor, form)
        };
        require(fits).unwrap();
        let error = require(too_many).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
}
