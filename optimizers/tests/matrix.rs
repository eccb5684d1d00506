//! Every optimizer through the same properties. One list; a new optimizer is one more line. Long, as the list and
//! what is done with it stand together.

use std::rc::Rc;

use sonew_kernels::noise;
use sonew_kernels::precision::HostFormat;
use sonew_optimizers::{
    Arena, Chains, Context, Error, FirstOrder, Group, Layout, NonFinite, Numerics, Optimizer,
    OptimizerConfig, Precision, PrecisionKind, PrecisionVisitor, Recipe, Shampoo, Sonew,
};

mod software;

use software::Software;

/// Name, settings, learning rate for the quadratic, state bytes per parameter.
const MATRIX: &[(&str, &[(&str, &str)], f64, f64)] = &[
    ("sgd", &[], 0.1, 0.0),
    ("momentum", &[], 0.02, 4.0),
    ("nesterov", &[], 0.02, 4.0),
    ("adagrad", &[], 0.5, 4.0),
    ("rmsprop", &[], 0.01, 8.0),
    ("adam", &[], 0.05, 8.0),
    ("diag-sonew", &[("epsilon", "0.1")], 0.05, 8.0),
    ("tridiag-sonew", &[("epsilon", "0.1")], 0.05, 12.0),
    (
        "tridiag-sonew",
        &[("epsilon", "0.1"), ("removal", "incident")],
        0.05,
        12.0,
    ),
    ("band-4-sonew", &[("epsilon", "0.1")], 0.2, 24.0),
    ("band-4-sonew", &[("relative-epsilon", "0.1")], 0.1, 24.0),
    (
        "tridiag-sonew",
        &[("graft", "adam"), ("epsilon", "0.1")],
        0.05,
        12.0,
    ),
    (
        "tridiag-sonew",
        &[("graft", "sgd"), ("epsilon", "0.1")],
        0.1,
        12.0,
    ),
    (
        "tridiag-sonew",
        &[("graft", "momentum"), ("epsilon", "0.1")],
        0.1,
        12.0,
    ),
    (
        "band-4-sonew",
        &[("graft", "rmsprop"), ("epsilon", "0.1")],
        0.002,
        28.0,
    ),
    (
        "tridiag-sonew",
        &[("statistics", "sum"), ("epsilon", "1")],
        0.5,
        12.0,
    ),
    // Two momenta, the graft's second moment, and a statistic and a root of n² for each factor.
    (
        "shampoo",
        &[("start-step", "3"), ("merge-size", "1")],
        0.05,
        12.0 + FACTORS,
    ),
    (
        "shampoo",
        &[("graft", "none"), ("vectors", "false"), ("start-step", "0")],
        0.05,
        8.0,
    ),
    (
        "shampoo",
        &[
            ("graft", "adam"),
            ("root", "newton-refreshed"),
            ("root-interval", "7"),
            ("statistics-interval", "2"),
            ("exponent", "6"),
            ("merge-size", "1"),
            ("start-step", "0"),
            ("products", "device"),
        ],
        0.02,
        12.0 + FACTORS,
    ),
    (
        "shampoo",
        &[
            ("graft", "sgd"),
            ("nesterov", "true"),
            ("merge-size", "1"),
            ("start-step", "0"),
            ("spread-roots", "true"),
        ],
        0.1,
        8.0 + FACTORS,
    ),
];

/// Bytes of Shampoo's factors per parameter: 15 × 15, 20 × 20, 1, 7 × 7, 27 × 27 and 19 × 19.
const FACTORS: f64 = 8.0 * (225.0 + 400.0 + 1.0 + 49.0 + 729.0 + 361.0) / 821.0;

fn config(name: &str, settings: &[(&str, &str)]) -> OptimizerConfig {
    let mut config = OptimizerConfig::named(name).unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    config
}

/// What stands around a step, of which each and all together have the same properties, and a learning rate for the quadratic.
fn recipes() -> Vec<(Recipe, f64)> {
    let sonew = || Recipe::from(Sonew::tridiagonal().epsilon(0.1));
    let halves = || Group::shaped(&[None]).lr(0.5);
    let rows = || Group::shaped(&[None, Some(19)]).chains(Chains::Rows);
    let adam = || Group::shaped(&[None, Some(20)]).optimizer(FirstOrder::adam());
    vec![
        (sonew().clip_norm(20.0), 0.05),
        (sonew().clip_value(0.5), 0.05),
        (sonew().accumulate(2), 0.1),
        (sonew().average(0.5), 0.05),
        (sonew().group(halves()).group(rows()), 0.05),
        (sonew().group(adam()), 0.05),
        (
            sonew()
                .group(halves())
                .group(rows())
                .group(adam())
                .clip_norm(20.0)
                .clip_value(0.9)
                .accumulate(2)
                .average(0.5),
            0.1,
        ),
    ]
}

/// The software driver is one device: one test at a time.
const TENSORS: [usize; 4] = [300, 1, 7, 513];

fn layout() -> Layout {
    Layout::with_shapes(vec![vec![15, 20], vec![], vec![7], vec![27, 19]]).unwrap()
}

fn noise(i: usize) -> f32 {
    noise::noise(i) as f32
}

/// Runs `steps` on ½ Σ c_i w_i² from a fixed start and returns the trajectory's last weights, or zero gradients.
struct Quadratic {
    precision: PrecisionKind,
    recipe: Recipe,
    lr: f64,
    steps: usize,
    zero_gradient: bool,
}

struct Trajectory {
    start: Vec<f32>,
    end: Vec<f32>,
    curvature: Vec<f32>,
    state_bytes: f64,
    non_finite: u64,
}

impl Trajectory {
    fn value(&self, w: &[f32]) -> f64 {
        w.iter()
            .zip(&self.curvature)
            .map(|(w, c)| f64::from(c * w * w) / 2.0)
            .sum()
    }
}

impl Quadratic {
    fn run(self, context: &Rc<Context>) -> Trajectory {
        let layout = self.recipe.arrange(&layout()).unwrap();
        // The gradients here are of size 1: no loss scale, which they would have to be multiplied by.
        let numerics = Numerics {
            loss_scale: None,
            non_finite: NonFinite::Proceed,
            ..self.precision.into()
        };
        let optimizer = self.recipe.build(numerics, context.clone(), &layout);
        self.precision.accept(Descend {
            quadratic: self,
            context: context.clone(),
            layout,
            optimizer: optimizer.unwrap(),
        })
    }
}

struct Descend {
    quadratic: Quadratic,
    context: Rc<Context>,
    layout: Layout,
    optimizer: Box<dyn Optimizer>,
}

impl PrecisionVisitor for Descend {
    type Output = Trajectory;

    fn visit<P: Precision>(self) -> Trajectory {
        let Self {
            quadratic,
            context,
            layout,
            mut optimizer,
        } = self;
        let wave = |shift: usize| {
            let tensors: Vec<Vec<f32>> = TENSORS
                .iter()
                .map(|&n| {
                    (0..n)
                        .map(|i| P::Params::rounded(noise(i * 37 + shift)))
                        .collect()
                })
                .collect();
            layout.gather(&tensors).unwrap()
        };
        let start = wave(11);
        let curvature: Vec<f32> = wave(5).iter().map(|x| 1.0 + 0.5 * x).collect();
        let upload = |values: &[f32]| {
            Arena::from_values(&context, &layout, P::Params::FORMAT, values).unwrap()
        };
        let params = upload(&start);
        let mut w = start.clone();
        for _ in 0..quadratic.steps {
            let scale = if quadratic.zero_gradient { 0.0 } else { 1.0 };
            let gradient: Vec<f32> = w
                .iter()
                .zip(&curvature)
                .map(|(w, c)| scale * w * c)
                .collect();
            let gradient = upload(&gradient);
            optimizer.step(&params, &gradient, quadratic.lr).unwrap();
            let all = params.view(&context, "quadratic", <[f32]>::to_vec);
            w = all.unwrap();
        }
        let report = optimizer.report().unwrap();
        let each = quadratic.recipe.gradients.accumulate;
        assert_eq!(report.step, quadratic.steps as u64 / each);
        Trajectory {
            start,
            end: w,
            curvature,
            state_bytes: optimizer.state_bytes_per_parameter(),
            non_finite: report.non_finite_gradients,
        }
    }
}

fn run(
    precision: PrecisionKind,
    recipe: impl Into<Recipe>,
    lr: f64,
    steps: usize,
    zero_gradient: bool,
) -> Trajectory {
    let software = Software::open();
    let quadratic = Quadratic {
        precision,
        recipe: recipe.into(),
        lr,
        steps,
        zero_gradient,
    };
    quadratic.run(&software.context)
}

#[test]
fn every_optimizer_moves_a_quadratic_down_in_every_precision() {
    for precision in PrecisionKind::ALL {
        for &(name, settings, lr, _) in MATRIX {
            let run = run(precision, config(name, settings), lr, 40, false);
            let (before, after) = (run.value(&run.start), run.value(&run.end));
            assert!(
                after < 0.5 * before,
                "{name} {settings:?}, {precision}: {before} became {after}"
            );
            assert_eq!(run.non_finite, 0, "{name} {settings:?}");
        }
    }
}

#[test]
fn what_stands_around_a_step_keeps_its_properties_in_every_precision() {
    for precision in PrecisionKind::ALL {
        for (recipe, lr) in recipes() {
            let down = run(precision, recipe.clone(), lr, 40, false);
            let (before, after) = (down.value(&down.start), down.value(&down.end));
            assert!(
                after < 0.5 * before,
                "{recipe:?}, {precision}: {before} became {after}"
            );
            let again = run(precision, recipe.clone(), lr, 40, false);
            let bits = |w: &[f32]| w.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(
                bits(&down.end) == bits(&again.end),
                "{recipe:?}, {precision}"
            );
            let still = run(precision, recipe.clone(), lr, 4, true);
            assert!(still.start == still.end, "{recipe:?}, {precision}");
        }
    }
}

#[test]
fn the_same_start_twice_gives_the_same_bits() {
    for precision in [PrecisionKind::F32, PrecisionKind::Bf16] {
        for &(name, settings, lr, _) in MATRIX {
            let [first, second] =
                [0, 1].map(|_| run(precision, config(name, settings), lr, 5, false).end);
            let bits = |w: &[f32]| w.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&first) == bits(&second), "{name} {settings:?}");
        }
    }
}

#[test]
fn a_zero_gradient_moves_nothing_in_any_precision() {
    for precision in PrecisionKind::ALL {
        for &(name, settings, lr, _) in MATRIX {
            let run = run(precision, config(name, settings), lr, 3, true);
            assert!(run.start == run.end, "{name} {settings:?}, {precision}");
        }
    }
}

#[test]
fn state_takes_the_documented_bytes_and_half_of_them_in_a_format_of_16_bits() {
    for precision in PrecisionKind::ALL {
        for &(name, settings, lr, bytes) in MATRIX {
            let run = run(precision, config(name, settings), lr, 1, false);
            // Shampoo's factors are f32 in every precision.
            let factors = if bytes.fract() == 0.0 { 0.0 } else { FACTORS };
            let pure = matches!(precision, PrecisionKind::Bf16 | PrecisionKind::F16);
            let share = if pure { 0.5 } else { 1.0 };
            let expected = factors + share * (bytes - factors);
            assert!(
                (run.state_bytes - expected).abs() < 1e-9,
                "{name} {settings:?}, {precision}: {}",
                run.state_bytes
            );
        }
    }
}

#[test]
fn a_builder_out_of_range_is_refused_when_it_is_built_as_its_string_is_when_it_is_set() {
    let software = Software::open();
    let refused = |config: OptimizerConfig| {
        config
            .build(PrecisionKind::F32, software.context.clone(), &layout())
            .map(|_| ())
            .unwrap_err()
    };
    let set = |name, key, value| config(name, &[]).set(key, value).unwrap_err();
    assert_eq!(
        refused(Sonew::tridiagonal().beta2(1.0).into()),
        set("tridiag-sonew", "beta2", "1")
    );
    assert_eq!(
        refused(Shampoo::default().root_interval(0).into()),
        set("shampoo", "root-interval", "0")
    );
    assert_eq!(
        refused(FirstOrder::adam().epsilon(-1.0).into()),
        set("adam", "epsilon", "-1")
    );
    assert_eq!(
        refused(FirstOrder::sgd().beta1(0.5).into()),
        set("sgd", "beta1", "0.5")
    );
    let error = refused(Sonew::band(33).into()).to_string();
    assert!(error.contains("band = 33.0 is out of range"), "{error}");
}

#[test]
fn names_are_those_of_the_field_and_unknown_ones_are_listed() {
    for name in OptimizerConfig::NAMES {
        assert_eq!(OptimizerConfig::named(name).unwrap().name(), name);
    }
    assert_eq!(
        OptimizerConfig::named("band-1-sonew").unwrap().name(),
        "tridiag-sonew"
    );
    for wrong in ["adamw", "band-33-sonew", "band--sonew", ""] {
        let error = OptimizerConfig::named(wrong).unwrap_err();
        assert!(error.to_string().contains("tridiag-sonew"), "{error}");
    }
}

#[test]
fn settings_out_of_range_or_unknown_name_the_value_and_the_key() {
    let mut adam = config("adam", &[]);
    for (key, value) in [
        ("beta1", "1"),
        ("beta2", "-0.1"),
        ("epsilon", "-1"),
        ("weight-decay", "-2"),
    ] {
        let error = adam.set(key, value).unwrap_err();
        assert!(matches!(error, Error::Range { .. }), "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    assert!(matches!(
        adam.set("gamma", "1"),
        Err(Error::UnknownSetting { .. })
    ));
    assert!(matches!(
        adam.set("beta1", "much"),
        Err(Error::Unreadable { .. })
    ));
    let mut shampoo = config("shampoo", &[]);
    for (key, value) in [
        ("beta2", "0"),
        ("beta2", "1"),
        ("root-interval", "0"),
        ("statistics-interval", "0"),
        ("block-size", "0"),
        ("exponent", "65"),
        ("residual-threshold", "0"),
        ("graft-epsilon", "-1"),
    ] {
        let error = shampoo.set(key, value).unwrap_err();
        assert!(
            matches!(error, Error::Range { .. }),
            "{key} = {value}: {error}"
        );
        assert!(error.to_string().contains(key), "{error}");
    }
    assert!(matches!(
        shampoo.set("graft", "momentum"),
        Err(Error::Unreadable { .. })
    ));
    let mut sonew = config("tridiag-sonew", &[]);
    assert!(matches!(
        sonew.set("graft", "lion"),
        Err(Error::Unreadable { .. })
    ));
    assert!(matches!(
        sonew.set("band", "3"),
        Err(Error::UnknownSetting { .. })
    ));
    for (key, value, expected) in [
        ("graft", "0", "expected one of `none`"),
        ("beta1", "much", "expected a finite number"),
        ("beta1", "", "expected a finite number"),
        ("beta1", "1e400", "expected a finite number"),
    ] {
        let error = sonew.set(key, value).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (key, value, expected) in [
        ("root-interval", "1.5", "expected a whole number ≥ 0"),
        ("root-interval", "-1", "expected a whole number ≥ 0"),
        ("root-interval", "1e400", "expected a whole number ≥ 0"),
        (
            "root-interval",
            "99999999999999999999",
            "expected a smaller number",
        ),
        ("nesterov", "maybe", "expected true or false"),
    ] {
        let error = shampoo.set(key, value).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(
        config("tridiag-sonew", &[]),
        sonew,
        "a refused setting changes nothing"
    );
    sonew.set("momentum", "0.5").unwrap();
    assert!(
        sonew
            .settings()
            .iter()
            .any(|s| s.key == "beta1" && s.value == "0.5")
    );
}
