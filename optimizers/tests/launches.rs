//! How many kernels a step launches: as many for one tensor as for a hundred.

mod software;

use std::rc::Rc;

use software::Software;
use sonew_optimizers::{Context, OptimizerConfig, PrecisionKind, Processor, Segments};

/// Kernels that the second step launches.
fn launches(
    software: &Software,
    processor: Processor,
    name: &str,
    settings: &[(&str, &str)],
    tensors: usize,
) -> u64 {
    let mut config = OptimizerConfig::named(name).unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    // The geometry of a graphics processor runs on the software driver as well.
    let context = Rc::new(Context::new(software.context.client().clone(), processor));
    let segments = Segments::with_shapes((0..tensors).map(|i| vec![3, 5 + i]).collect()).unwrap();
    let mut optimizer = config
        .build(PrecisionKind::F32, context.clone(), &segments)
        .unwrap();
    let values = vec![0.5f32; segments.arena_len()];
    let (params, grads) = (context.upload(&values), context.upload(&values));
    optimizer.step(&params, &grads, 1e-3).unwrap();
    let before = context.launches();
    optimizer.step(&params, &grads, 1e-3).unwrap();
    let count = context.launches() - before;
    context.wait("test").unwrap();
    count
}

#[test]
fn the_number_of_launches_of_a_step_does_not_depend_on_the_number_of_tensors() {
    let software = Software::open();
    // What is said of each in README.
    let cases: [(&str, &[(&str, &str)], u64); 8] = [
        ("sgd", &[], 1),
        ("adam", &[], 1),
        ("diag-sonew", &[], 1),
        ("tridiag-sonew", &[], 1),
        ("band-4-sonew", &[], 1),
        ("tridiag-sonew", &[("graft", "adam")], 3),
        ("tridiag-sonew", &[("graft", "sgd")], 3),
        ("band-4-sonew", &[("graft", "momentum")], 3),
    ];
    for processor in [Processor::Cpu, Processor::Gpu] {
        for (name, settings, expected) in cases {
            for tensors in [1, 100] {
                assert_eq!(
                    launches(&software, processor, name, settings, tensors),
                    expected,
                    "{name} {settings:?} on {processor:?}, {tensors} tensors"
                );
            }
        }
    }
}
