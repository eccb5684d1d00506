//! How many kernels a step launches: as many for one tensor as for a hundred.

mod software;

use std::rc::Rc;

use software::Software;
use sonew_kernels::launch::{Sweep, Tuned, Tuning};
use sonew_kernels::sonew::Blueprint;
use sonew_optimizers::{
    Arena, Context, Layout, NonFinite, Numerics, OptimizerConfig, PrecisionKind, Profile, Recipe,
    WeightRounding,
};

/// Kernels that the second step launches.
fn launches(
    software: &Software,
    profile: Profile,
    name: &str,
    settings: &[(&str, &str)],
    tensors: usize,
) -> u64 {
    let mut config = OptimizerConfig::named(name).unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    // The geometry of a graphics processor runs on the software driver as well.
    let context = Rc::new(Context::new(software.context.client().clone(), profile));
    let layout = Layout::with_shapes((0..tensors).map(|i| vec![3, 5 + i]).collect()).unwrap();
    let mut optimizer = config
        .build(PrecisionKind::F32, context.clone(), &layout)
        .unwrap();
    let half = |_| Arena::filled(&context, &layout, PrecisionKind::F32.format(), 0.5);
    let [params, grads] = [0; 2].map(half);
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
    // What docs/kernels.md says of each.
    let cases: [(&str, &[(&str, &str)], u64); 9] = [
        ("sgd", &[], 1),
        ("adam", &[], 1),
        ("diag-sonew", &[], 1),
        ("tridiag-sonew", &[], 1),
        ("band-4-sonew", &[], 1),
        ("tridiag-sonew", &[("graft", "adam")], 3),
        ("tridiag-sonew", &[("graft", "sgd")], 3),
        ("band-4-sonew", &[("graft", "momentum")], 3),
        ("tridiag-sonew", &[("graft", "rmsprop")], 5),
    ];
    for profile in [Profile::LLVMPIPE, Profile::GPU] {
        for (name, settings, expected) in cases {
            for tensors in [1, 100] {
                assert_eq!(
                    launches(&software, profile, name, settings, tensors),
                    expected,
                    "{name} {settings:?} on {profile:?}, {tensors} tensors"
                );
            }
        }
    }
}

/// What a step says whose blueprint of `kernel` has more units than any device takes.
fn refusal(software: &Software, kernel: &str, numerics: Numerics, recipe: &Recipe) -> String {
    let precision = numerics.precision;
    let mut tuned = Tuned::default();
    tuned.put(Tuning {
        kernel: kernel.into(),
        precision: precision.name().into(),
        band: 0,
        blueprint: Blueprint {
            sweep: Sweep {
                units: 1 << 20,
                ..Sweep::infer(Profile::LLVMPIPE)
            },
            unroll: true,
        },
    });
    let client = software.context.client().clone();
    let context = Rc::new(Context::new(client, Profile::LLVMPIPE).with_tuned(tuned));
    let layout = Layout::with_shapes(vec![vec![3, 5], vec![7]]).unwrap();
    let mut optimizer = recipe.build(numerics, context.clone(), &layout).unwrap();
    let zeros = |_| Arena::zeros(&context, &layout, precision.format());
    let [params, grads] = [0; 2].map(zeros);
    let error = optimizer.step(&params, &grads, 1e-3).unwrap_err();
    error.to_string()
}

#[test]
fn a_tuned_blueprint_reaches_every_launch_of_a_step() {
    let software = Software::open();
    let config = |name: &str, settings: &[(&str, &str)]| {
        let mut config = OptimizerConfig::named(name).unwrap();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        Recipe::from(config)
    };
    let graft = config("tridiag-sonew", &[("graft", "adam")]);
    let (adam, shampoo) = (config("adam", &[]), config("shampoo", &[]));
    let f32 = Numerics::from(PrecisionKind::F32);
    let skip = Numerics {
        non_finite: NonFinite::Skip,
        ..f32
    };
    let mixed = Numerics::from(PrecisionKind::Bf16Mixed);
    let masters = Numerics {
        weights: WeightRounding::Master,
        ..mixed
    };
    let drawn = Numerics {
        weights: WeightRounding::Stochastic,
        ..mixed
    };
    let clipped = adam.clone().clip_norm(1.0);
    let (gathered, averaged) = (adam.clone().accumulate(2), adam.clone().average(0.9));
    for (kernel, numerics, recipe, operation) in [
        ("adam", f32, &adam, "adam"),
        ("sonew-graft", f32, &graft, "sonew graft"),
        ("kronecker-descent", f32, &shampoo, "kronecker measure"),
        ("inspect", skip, &adam, "gradient inspection"),
        ("convert", masters, &adam, "convert"),
        ("stochastic-rounding", drawn, &adam, "stochastic rounding"),
        ("clip", f32, &clipped, "clipping"),
        ("accumulate", f32, &gathered, "gradient accumulation"),
        ("average-weights", f32, &averaged, "average of weights"),
    ] {
        let refused = refusal(&software, kernel, numerics, recipe);
        assert!(
            refused.contains(operation) && refused.contains("units"),
            "{kernel}: {refused}"
        );
    }
}
