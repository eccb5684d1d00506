use cubecl::prelude::*;
use sonew_kernels::arena::Layout;
use sonew_kernels::error::Error;
use sonew_kernels::first_order::{Adam, Buffers, Hyper, descend};
use sonew_kernels::launch::{Grid, Strategy, Sweep};
use sonew_kernels::precision::{F32, Pairs};
use sonew_kernels::sonew::{Decay, StatisticsBuffers, statistics};
use sonew_runtime::Gpu;

use crate::bench::*;

fn hyper() -> Hyper {
    Hyper {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 1,
    }
}

#[test]
fn an_arena_of_another_layout_or_format_is_named_before_anything_launches() {
    let bench = Bench::open();
    let layout = Layout::new(&[10]).unwrap();
    let (good, evidence) = (bench.zeros(&layout), bench.slots());
    let other = bench.zeros(&Layout::new(&[300]).unwrap());
    let narrow = bench.zeros_in::<Pairs>(&layout);
    let try_adam = |params, grads, states: &[_]| {
        let buffers = Buffers {
            params,
            grads,
            states,
            rates: None,
            evidence: &evidence,
        };
        descend::<Adam, F32>(&bench.context, buffers, hyper(), Strategy::Inferred)
    };
    let pair = [good.clone(), good.clone()];
    let error = try_adam(&good, &other, &pair).unwrap_err();
    assert_eq!(
        error,
        Error::Shape {
            operation: "adam",
            argument: "grads",
            found: "an arena of 300 values of 1 tensors in 4 blocks".into(),
            expected: "the layout of the others: 10 values of 1 tensors in 3 blocks".into(),
        }
    );
    let error = try_adam(&narrow, &good, &pair).unwrap_err();
    assert_eq!(
        error,
        Error::Shape {
            operation: "adam",
            argument: "params",
            found: "an arena of bf16".into(),
            expected: "one of f32".into(),
        }
    );
    for wrong in [&other, &narrow] {
        let pair = [good.clone(), wrong.clone()];
        let error = try_adam(&good, &good, &pair).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Shape {
                    argument: "second_moment",
                    ..
                }
            ),
            "{error}"
        );
    }
    let error = try_adam(&good, &good, &[]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Shape {
                argument: "states",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_hyperparameter_out_of_range_is_named_with_its_value() {
    let bench = Bench::open();
    let layout = Layout::new(&[10]).unwrap();
    let (good, evidence) = (bench.zeros(&layout), bench.slots());
    let states = [bench.zeros(&layout), bench.zeros(&layout)];
    for (wrong, name) in [
        (
            Hyper {
                lr: -1.0,
                ..hyper()
            },
            "lr",
        ),
        (
            Hyper {
                lr: f64::NAN,
                ..hyper()
            },
            "lr",
        ),
        (
            Hyper {
                beta1: 1.0,
                ..hyper()
            },
            "beta1",
        ),
        (
            Hyper {
                beta2: 1.5,
                ..hyper()
            },
            "beta2",
        ),
        (
            Hyper {
                epsilon: f64::INFINITY,
                ..hyper()
            },
            "epsilon",
        ),
        (Hyper { step: 0, ..hyper() }, "step"),
    ] {
        let buffers = Buffers {
            params: &good,
            grads: &good,
            states: &states,
            rates: None,
            evidence: &evidence,
        };
        let error =
            descend::<Adam, F32>(&bench.context, buffers, wrong, Strategy::Inferred).unwrap_err();
        assert!(
            matches!(error, Error::Range { argument, .. } if argument == name),
            "{error}"
        );
    }
}

#[test]
fn a_band_wider_than_the_gap_between_tensors_is_refused() {
    let bench = Bench::open();
    let layout = Layout::new(&[10]).unwrap();
    let (good, evidence) = (bench.zeros(&layout), bench.slots());
    let edges: Vec<_> = (0..33).map(|_| good.clone()).collect();
    let buffers = StatisticsBuffers {
        grads: &good,
        moment: &good,
        diagonal: &good,
        edges: &edges,
        rows: None,
        evidence: &evidence,
    };
    let error = statistics::<F32>(
        &bench.context,
        buffers,
        0.9,
        Decay::Average(0.9),
        Strategy::Inferred,
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Range {
                argument: "band",
                found: 33.0,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_blueprint_that_does_not_divide_a_block_is_refused() {
    let bench = Bench::open();
    let layout = Layout::new(&[10]).unwrap();
    let (good, evidence) = (bench.zeros(&layout), bench.slots());
    let states = [bench.zeros(&layout), bench.zeros(&layout)];
    for (width, run) in [(3, 1), (4, 3), (4, 0), (4, 128)] {
        let buffers = Buffers {
            params: &good,
            grads: &good,
            states: &states,
            rates: None,
            evidence: &evidence,
        };
        let sweep = Sweep {
            width,
            run,
            units: 64,
            cubes: 1,
            twins: false,
            team: false,
        };
        let error = descend::<Adam, F32>(&bench.context, buffers, hyper(), Strategy::Forced(sweep))
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Shape {
                    argument: "blueprint",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[cube(launch)]
fn too_much_shared_memory(out: &mut Array<f32>) {
    let mut shared = SharedMemory::<f32>::new(1_000_000usize);
    shared[UNIT_POS as usize] = 1.0;
    sync_cube();
    out[UNIT_POS as usize] = shared[UNIT_POS as usize];
}

#[test]
fn a_failed_first_launch_is_reported_and_the_device_goes_on() {
    let bench = Bench::open();
    let out = bench.values(4);
    let grid = Grid {
        cubes: 1,
        units: 1,
        buffers: 1,
    };
    let result = bench
        .context
        .launch("shared memory test", 0, grid, |client, count, dim| {
            // SAFETY: the buffer holds four values.
            let array = unsafe { ArrayArg::from_raw_parts(out.clone(), 4) };
            too_much_shared_memory::launch::<Gpu>(client, count, dim, array);
        });
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Launch {
                operation: "shared memory test",
                ..
            }
        ),
        "{error}"
    );
    let values: Vec<f32> = bench
        .context
        .download("test", &bench.context.upload(&[1.5f32]))
        .unwrap();
    assert_eq!(values, [1.5]);
}

#[test]
fn a_grid_beyond_the_limits_of_the_device_is_refused() {
    let bench = Bench::open();
    for (grid, what) in [
        (
            Grid {
                cubes: 1 << 20,
                units: 1,
                buffers: 1,
            },
            "cubes",
        ),
        (
            Grid {
                cubes: 1,
                units: 1 << 20,
                buffers: 1,
            },
            "units per cube",
        ),
        (
            Grid {
                cubes: 1,
                units: 1,
                buffers: 10_000,
            },
            "buffers",
        ),
    ] {
        let result = bench
            .context
            .launch("limit test", 0, grid, |_, _, _| panic!("launched"));
        assert!(matches!(result, Err(Error::Limit { resource, .. }) if resource == what));
    }
}
