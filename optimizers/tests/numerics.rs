//! Weights of 16 bits, gradients that are not finite, and loss scaling.

mod software;

use sonew_optimizers::{
    Arena, Error, Layout, LossScale, NonFinite, Numerics, Optimizer, OptimizerConfig,
    PrecisionKind, StateFormat, WeightRounding,
};

use software::Software;

struct Bench {
    device: Software,
    layout: Layout,
}

const LENGTHS: [usize; 2] = [4000, 96];

impl Bench {
    fn open() -> Self {
        Self {
            device: Software::open(),
            layout: Layout::new(&LENGTHS).unwrap(),
        }
    }

    fn optimizer(&self, name: &str, numerics: Numerics) -> Box<dyn Optimizer> {
        let mut config = OptimizerConfig::named(name).unwrap();
        if name == "shampoo" {
            config.set("block-size", "50").unwrap();
        }
        config
            .build(numerics, self.device.context.clone(), &self.layout)
            .unwrap()
    }

    fn upload(&self, precision: PrecisionKind, value: impl Fn(usize, usize) -> f32) -> Arena {
        let tensors: Vec<Vec<f32>> = LENGTHS
            .iter()
            .enumerate()
            .map(|(t, &n)| (0..n).map(|i| value(t, i)).collect())
            .collect();
        let (context, format) = (&self.device.context, precision.format());
        Arena::of(context, &self.layout, format, &tensors).unwrap()
    }

    fn read(&self, arena: &Arena) -> Vec<f32> {
        arena.tensors(&self.device.context).unwrap().concat()
    }
}

fn with_weights(precision: PrecisionKind, weights: WeightRounding) -> Numerics {
    Numerics {
        weights,
        loss_scale: None,
        ..precision.into()
    }
}

/// Steps of plain gradient descent by 2⁻¹³ from 1, where bf16 has a unit of 2⁻⁸ below 1.
fn small_steps(bench: &Bench, numerics: Numerics) -> Vec<f32> {
    let precision = numerics.precision;
    let params = bench.upload(precision, |_, _| 1.0);
    let grads = bench.upload(precision, |_, _| 1.0);
    let mut sgd = bench.optimizer("sgd", numerics);
    for _ in 0..512 {
        sgd.step(&params, &grads, 1.0 / 8192.0).unwrap();
    }
    bench.read(&params)
}

#[test]
fn updates_below_half_a_unit_move_weights_under_masters_and_stochastic_rounding_only() {
    let bench = Bench::open();
    let mixed = PrecisionKind::Bf16Mixed;
    let nearest = small_steps(&bench, mixed.into());
    assert!(nearest.iter().all(|&w| w == 1.0));
    let pure = small_steps(&bench, PrecisionKind::Bf16.into());
    assert!(pure.iter().all(|&w| w == 1.0));
    // 512 steps of 2⁻¹³ are 1/16, which bf16 holds.
    let master = small_steps(&bench, with_weights(mixed, WeightRounding::Master));
    assert!(master.iter().all(|&w| w == 0.9375));
    let stochastic = small_steps(&bench, with_weights(mixed, WeightRounding::Stochastic));
    let count = stochastic.len() as f64;
    let mean: f64 = stochastic.iter().map(|&w| f64::from(w)).sum::<f64>() / count;
    // A step moves by 2⁻⁸ with probability 2⁻⁵: 512 of them have a deviation of 0.0154, their mean over 4096 one of 2.4e-4;
    // five of those.
    assert!((mean - 0.9375).abs() < 1.2e-3, "{mean}");
    let spread: f64 = stochastic
        .iter()
        .map(|&w| (f64::from(w) - mean).powi(2))
        .sum();
    let deviation = (spread / count).sqrt();
    assert!((deviation - 0.0154).abs() < 2e-3, "{deviation}");
}

#[test]
fn stochastic_rounding_repeats_with_its_seed_and_differs_with_another() {
    let bench = Bench::open();
    for precision in [PrecisionKind::Bf16Mixed, PrecisionKind::F16Mixed] {
        let run = |seed: u64| {
            let numerics = with_weights(precision, WeightRounding::Stochastic);
            small_steps(&bench, Numerics { seed, ..numerics })
        };
        let first = run(1);
        assert!(first == run(1));
        assert!(first != run(2));
    }
}

#[test]
fn the_state_of_masters_is_counted() {
    let bench = Bench::open();
    let mixed = PrecisionKind::Bf16Mixed;
    let plain = bench.optimizer("adam", mixed.into());
    let master = bench.optimizer("adam", with_weights(mixed, WeightRounding::Master));
    assert_eq!(plain.state_bytes_per_parameter(), 8.0);
    assert_eq!(master.state_bytes_per_parameter(), 12.0);
}

#[test]
fn statistics_in_the_parameters_format_halve_the_state_and_are_rounded_when_they_are_stored() {
    let bench = Bench::open();
    let mixed = PrecisionKind::Bf16Mixed;
    let compact = Numerics {
        statistics: StateFormat::Parameters,
        ..mixed.into()
    };
    for (name, bytes) in [("momentum", 2.0), ("adam", 4.0), ("tridiag-sonew", 6.0)] {
        let optimizer = bench.optimizer(name, compact);
        assert_eq!(optimizer.state_bytes_per_parameter(), bytes, "{name}");
        let masters = Numerics {
            weights: WeightRounding::Master,
            ..compact
        };
        let optimizer = bench.optimizer(name, masters);
        assert_eq!(optimizer.state_bytes_per_parameter(), bytes + 4.0, "{name}");
    }
    let run = |numerics: Numerics, steps: usize| {
        let mut momentum = bench.optimizer("momentum", numerics);
        let params = bench.upload(mixed, |_, i| 1.0 + (i as f32).cos());
        for step in 0..steps {
            let grads = bench.upload(mixed, |t, i| ((i + 31 * step + t) as f32).sin());
            momentum.step(&params, &grads, 0.3).unwrap();
        }
        bench.read(&params)
    };
    // From nothing the first momentum is the gradient, which bf16 holds; bf16 arithmetic would round η b too.
    assert!(run(compact, 1) == run(mixed.into(), 1));
    assert!(run(compact, 1) != run(PrecisionKind::Bf16.into(), 1));
    let (narrow, wide) = (run(compact, 5), run(mixed.into(), 5));
    assert!(narrow != wide);
    for (n, w) in narrow.iter().zip(&wide) {
        // Weights of up to 8 and momenta of up to 10, each rounded to 8 digits five times.
        assert!((n - w).abs() < 5.0 * (8.0 + 3.0) / 256.0, "{n}, {w}");
    }
}

#[test]
fn a_nan_in_one_tensor_skips_the_step_or_stops_with_its_name() {
    let bench = Bench::open();
    for precision in PrecisionKind::ALL {
        for name in ["adam", "tridiag-sonew", "shampoo"] {
            let what = format!("{name}, {precision}");
            let with = |non_finite| Numerics {
                non_finite,
                loss_scale: None,
                ..precision.into()
            };
            let good = bench.upload(precision, |t, i| ((i + t) as f32).sin());
            let bad = bench.upload(precision, |t, i| match (t, i) {
                (1, 7) => f32::NAN,
                (1, 9) => f32::INFINITY,
                _ => 0.5,
            });
            let start = || bench.upload(precision, |_, i| (i as f32).cos());
            let mut skipping = bench.optimizer(name, with(NonFinite::Skip));
            let mut plain = bench.optimizer(name, with(NonFinite::Proceed));
            let (skipped, expected) = (start(), start());
            for _ in 0..2 {
                skipping.step(&skipped, &bad, 0.01).unwrap();
                let report = skipping.report().unwrap();
                assert_eq!(report.first_non_finite, Some((1, 7)), "{what}");
                assert_eq!(report.non_finite_gradients, 2, "{what}");
                skipping.step(&skipped, &good, 0.01).unwrap();
                plain.step(&expected, &good, 0.01).unwrap();
            }
            let report = skipping.report().unwrap();
            assert_eq!((report.skipped_steps, report.step), (2, 2), "{what}");
            let same = bench.read(&skipped) == bench.read(&expected);
            assert!(same, "{what}: a skipped step left a trace");

            let mut stopping = bench.optimizer(name, with(NonFinite::Stop));
            let params = start();
            stopping.step(&params, &good, 0.01).unwrap();
            let before = bench.read(&params);
            let error = stopping.step(&params, &bad, 0.01).unwrap_err();
            let expected = Error::NonFinite {
                step: 1,
                tensor: 1,
                index: 7,
                count: 2,
            };
            assert_eq!(error, expected, "{what}");
            assert!(bench.read(&params) == before, "{what}");
        }
    }
}

#[test]
fn a_loss_scale_that_overflows_is_halved_until_the_run_recovers() {
    let bench = Bench::open();
    let precision = PrecisionKind::F16Mixed;
    let scale = LossScale {
        // Gradients of up to 2: 2¹⁴ is the largest scale at which they stay finite.
        initial: 2f64.powi(20),
        growth_interval: 10,
        floor: 1.0,
    };
    let numerics = Numerics {
        loss_scale: Some(scale),
        ..precision.into()
    };
    let mut optimizer = bench.optimizer("tridiag-sonew", numerics);
    let mut plain = bench.optimizer("tridiag-sonew", PrecisionKind::F32.into());
    let start = |_: usize, i: usize| (i as f32).cos();
    let params = bench.upload(precision, start);
    let expected = bench.upload(PrecisionKind::F32, start);
    let gradient = |step: usize, i: usize| 2.0 * ((i * (step + 3)) as f32).sin();
    let mut taken = 0;
    let mut scales = Vec::new();
    for _ in 0..40 {
        let scale = optimizer.loss_scale();
        scales.push(scale);
        let scaled = |_: usize, i: usize| (scale * f64::from(gradient(taken, i))) as f32;
        let grads = bench.upload(precision, scaled);
        optimizer.step(&params, &grads, 1e-3).unwrap();
        if optimizer.steps() as usize > taken {
            let grads = bench.upload(PrecisionKind::F32, |_, i| gradient(taken, i));
            plain.step(&expected, &grads, 1e-3).unwrap();
            taken += 1;
        }
    }
    // 2²⁰ to 2¹⁵ overflow; every ten steps 2¹⁵ is tried again.
    assert_eq!(
        scales[..7],
        [20, 19, 18, 17, 16, 15, 14].map(|k| 2f64.powi(k))
    );
    let skipped = optimizer.report().unwrap().skipped_steps;
    assert_eq!((skipped, taken), (9, 31));
    let found = bench.read(&params);
    let expected = bench.read(&expected);
    // A weight of at most 1 rounded to 11 digits in each step; the directions differ by as much.
    let allowed = 40.0 / 2048.0;
    for (f, e) in found.iter().zip(&expected) {
        assert!((f - e).abs() < allowed, "{f} instead of {e}");
    }
}

#[test]
fn an_overflow_stops_a_run_only_where_no_smaller_scale_is_left() {
    let bench = Bench::open();
    let precision = PrecisionKind::F16Mixed;
    let numerics = Numerics {
        loss_scale: Some(LossScale {
            initial: 4.0,
            growth_interval: 0,
            floor: 1.0,
        }),
        non_finite: NonFinite::Stop,
        ..precision.into()
    };
    let mut adam = bench.optimizer("adam", numerics);
    let params = bench.upload(precision, |_, _| 1.0);
    let grads = bench.upload(precision, |_, _| f32::INFINITY);
    for scale in [4.0, 2.0] {
        assert_eq!(adam.loss_scale(), scale);
        adam.step(&params, &grads, 0.1).unwrap();
    }
    assert_eq!(adam.loss_scale(), 1.0);
    let error = adam.step(&params, &grads, 0.1).unwrap_err();
    assert!(matches!(error, Error::NonFinite { step: 2, .. }), "{error}");
}

#[test]
fn gradients_that_underflow_in_f16_arrive_with_a_loss_scale() {
    let bench = Bench::open();
    let precision = PrecisionKind::F16Mixed;
    for (loss_scale, moves) in [(None, false), (Some(LossScale::fixed(65536.0)), true)] {
        let numerics = Numerics {
            loss_scale,
            ..precision.into()
        };
        let mut adam = bench.optimizer("adam", numerics);
        let params = bench.upload(precision, |_, _| 1.0);
        let scale = adam.loss_scale() as f32;
        // Half of the least f16 is rounded to 0.
        let grads = bench.upload(precision, |_, _| scale * 2e-8);
        adam.step(&params, &grads, 0.125).unwrap();
        let moved = bench.read(&params).iter().all(|&w| w < 1.0);
        assert_eq!(moved, moves);
    }
}

#[test]
fn what_does_not_go_with_a_precision_is_refused() {
    let bench = Bench::open();
    let config = OptimizerConfig::named("sgd").unwrap();
    let refused = |numerics: Numerics| {
        config
            .build(numerics, bench.device.context.clone(), &bench.layout)
            .map(|_| ())
            .unwrap_err()
    };
    for precision in [PrecisionKind::F32, PrecisionKind::Bf16, PrecisionKind::F16] {
        let masters = with_weights(precision, WeightRounding::Master);
        assert!(matches!(refused(masters), Error::Numerics { .. }));
        let scaled = Numerics {
            loss_scale: Some(LossScale::default()),
            non_finite: NonFinite::Skip,
            ..precision.into()
        };
        assert!(matches!(refused(scaled), Error::Numerics { .. }));
    }
    for (precision, statistics) in [
        (PrecisionKind::Bf16, StateFormat::F32),
        (PrecisionKind::F16, StateFormat::F32),
        (PrecisionKind::F16Mixed, StateFormat::Parameters),
    ] {
        let numerics = Numerics {
            statistics,
            ..precision.into()
        };
        assert!(matches!(refused(numerics), Error::Numerics { .. }));
    }
    let proceeding = Numerics {
        non_finite: NonFinite::Proceed,
        ..PrecisionKind::F16Mixed.into()
    };
    assert!(matches!(refused(proceeding), Error::Numerics { .. }));
    let endless = Numerics {
        loss_scale: Some(LossScale::fixed(f64::INFINITY)),
        ..PrecisionKind::F16Mixed.into()
    };
    assert!(matches!(refused(endless), Error::Range { .. }));
}
