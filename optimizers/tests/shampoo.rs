//! Shampoo against a plain f64 implementation, step by step, and its policy for roots that fail. Long, as
//! that implementation and its network are here.

mod software;

use sonew_kernels::kronecker::reference;
use sonew_kernels::noise::noise;
use sonew_optimizers::{Arena, Error, Layout, Optimizer, OptimizerConfig, PrecisionKind};

use software::Software;

struct Bench {
    device: Software,
}

impl Bench {
    fn open() -> Self {
        Self {
            device: Software::open(),
        }
    }

    fn optimizer(&self, settings: &[(&str, &str)], layout: &Layout) -> Box<dyn Optimizer> {
        let mut config = OptimizerConfig::named("shampoo").unwrap();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        config
            .build(PrecisionKind::F32, self.device.context.clone(), layout)
            .unwrap()
    }

    fn upload(&self, layout: &Layout, tensors: &[Vec<f64>]) -> Arena {
        let narrow: Vec<Vec<f32>> = tensors
            .iter()
            .map(|t| t.iter().map(|&x| x as f32).collect())
            .collect();
        let format = PrecisionKind::F32.format();
        Arena::of(&self.device.context, layout, format, &narrow).unwrap()
    }

    fn read(&self, arena: &Arena) -> Vec<Vec<f64>> {
        let tensors = arena.tensors(&self.device.context).unwrap();
        let widen = |t: Vec<f32>| t.into_iter().map(f64::from).collect();
        tensors.into_iter().map(widen).collect()
    }
}

fn filled(shift: usize, n: usize, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|i| f64::from((scale * noise(37 * i + 1009 * shift)) as f32))
        .collect()
}

/// A network 5 – 6 – 4 with tanh, and the mean square of what it says about 20 inputs.
const SHAPES: [[usize; 2]; 4] = [[6, 5], [6, 1], [4, 6], [4, 1]];

fn network_segments() -> Layout {
    Layout::with_shapes(vec![vec![6, 5], vec![6], vec![4, 6], vec![4]]).unwrap()
}

fn network_start() -> Vec<Vec<f64>> {
    SHAPES
        .iter()
        .enumerate()
        .map(|(t, [m, n])| filled(t, m * n, 0.5))
        .collect()
}

fn network_gradient(w: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut g: Vec<Vec<f64>> = w.iter().map(|t| vec![0.0; t.len()]).collect();
    for sample in 0..20 {
        let x = filled(50 + sample, 5, 1.0);
        let wanted = filled(90 + sample, 4, 1.0);
        let hidden: Vec<f64> = (0..6)
            .map(|i| (w[1][i] + (0..5).map(|j| w[0][5 * i + j] * x[j]).sum::<f64>()).tanh())
            .collect();
        let mut back = [0.0; 6];
        for k in 0..4 {
            let out = w[3][k] + (0..6).map(|i| w[2][6 * k + i] * hidden[i]).sum::<f64>();
            let delta = (out - wanted[k]) / 10.0;
            g[3][k] += delta;
            for i in 0..6 {
                g[2][6 * k + i] += delta * hidden[i];
                back[i] += delta * w[2][6 * k + i];
            }
        }
        for i in 0..6 {
            let delta = back[i] * (1.0 - hidden[i] * hidden[i]);
            g[1][i] += delta;
            for j in 0..5 {
                g[0][5 * i + j] += delta * x[j];
            }
        }
    }
    g
}

const SETTINGS: reference::Settings = reference::Settings {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-4,
    graft_epsilon: 1e-12,
    start: 12,
    root_interval: 5,
};

const SAME: &[(&str, &str)] = &[
    ("beta1", "0.9"),
    ("beta2", "0.95"),
    ("epsilon", "1e-4"),
    ("start-step", "12"),
    ("root-interval", "5"),
    // Or the small tensors here would be merged into vectors.
    ("merge-size", "1"),
];

#[test]
fn thirty_steps_on_a_network_follow_plain_f64_through_the_start_of_preconditioning() {
    let bench = Bench::open();
    let layout = network_segments();
    for (root, products) in [
        ("eigen", "host"),
        ("eigen", "device"),
        ("newton", "host"),
        ("newton-double", "host"),
        ("newton-refreshed", "host"),
        ("auto", "device"),
    ] {
        let mut settings = SAME.to_vec();
        settings.extend([("root", root), ("products", products)]);
        let mut optimizer = bench.optimizer(&settings, &layout);
        let mut expected = network_start();
        let mut oracles: Vec<reference::Shampoo> = SHAPES
            .iter()
            .map(|&[m, n]| reference::Shampoo::new(m, n, SETTINGS))
            .collect();
        let params = bench.upload(&layout, &expected);
        for step in 0..30 {
            // Each side follows its own weights.
            let own = network_gradient(&bench.read(&params));
            let grads = bench.upload(&layout, &own);
            optimizer.step(&params, &grads, 0.01).unwrap();
            let g = network_gradient(&expected);
            for (t, oracle) in oracles.iter_mut().enumerate() {
                oracle.step(&mut expected[t], &g[t], 0.01, &[]);
            }
            let found = bench.read(&params);
            for (t, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let size = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                for (f, e) in found.iter().zip(expected) {
                    let error = (f - e).abs() / size;
                    assert!(
                        error <= 1e-4,
                        "{root}, step {step}, tensor {t}: {f} instead of {e}"
                    );
                }
            }
        }
        let roots = optimizer.report().unwrap().roots.unwrap();
        assert_eq!(roots.refused, 0, "{root}");
    }
}

/// Two 4 × 4 matrices with absolute ridge 0; the second has no gradient, and so no roots, before step `silent`.
fn silent_gradients(step: usize, silent: usize) -> Vec<Vec<f64>> {
    let second = if step < silent {
        vec![0.0; 16]
    } else {
        filled(step + 500, 16, 1.0)
    };
    vec![filled(step, 16, 1.0), second]
}

const UNRIDGED: &[(&str, &str)] = &[
    ("beta1", "0.9"),
    ("beta2", "0.95"),
    ("epsilon", "0"),
    ("ridge", "absolute"),
    ("start-step", "0"),
    ("root-interval", "5"),
    ("merge-size", "1"),
];

#[test]
fn a_failed_root_keeps_the_old_one_and_follows_plain_f64_that_does_the_same() {
    let bench = Bench::open();
    let layout = Layout::with_shapes(vec![vec![4, 4]; 2]).unwrap();
    let mut on_device = UNRIDGED.to_vec();
    on_device.push(("products", "device"));
    for settings in [UNRIDGED, &on_device] {
        failed_roots_follow_plain_f64(&bench, &layout, settings);
    }
}

fn failed_roots_follow_plain_f64(bench: &Bench, layout: &Layout, settings: &[(&str, &str)]) {
    let mut optimizer = bench.optimizer(settings, layout);
    let settings = reference::Settings {
        epsilon: 0.0,
        start: 0,
        ..SETTINGS
    };
    let mut expected = vec![filled(1, 16, 1.0), filled(2, 16, 1.0)];
    let mut oracles = vec![reference::Shampoo::new(4, 4, settings); 2];
    let params = bench.upload(layout, &expected);
    for step in 0..30 {
        let g = silent_gradients(step, 12);
        let grads = bench.upload(layout, &g);
        optimizer.step(&params, &grads, 0.01).unwrap();
        for (t, oracle) in oracles.iter_mut().enumerate() {
            // At steps 0, 5 and 10 the second tensor's statistics are zero.
            let failed: &[usize] = if t == 1 && step < 12 { &[0, 1] } else { &[] };
            oracle.step(&mut expected[t], &g[t], 0.01, failed);
        }
        let found = bench.read(&params);
        for (found, expected) in found.iter().zip(&expected) {
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() <= 1e-4, "step {step}: {f} instead of {e}");
            }
        }
    }
    // Two factors, three times.
    assert_eq!(optimizer.report().unwrap().roots.unwrap().refused, 6);
}

#[test]
fn more_failures_in_a_row_than_are_tolerated_are_an_error_that_names_the_factor() {
    let bench = Bench::open();
    let layout = Layout::with_shapes(vec![vec![4, 4]; 2]).unwrap();
    for place in ["host", "device"] {
        let mut settings = UNRIDGED.to_vec();
        settings.extend([("tolerated-failures", "2"), ("products", place)]);
        let mut optimizer = bench.optimizer(&settings, &layout);
        let params = bench.upload(&layout, &[filled(1, 16, 1.0), filled(2, 16, 1.0)]);
        for step in 0..10 {
            let grads = bench.upload(&layout, &silent_gradients(step, 100));
            optimizer.step(&params, &grads, 0.01).unwrap();
        }
        optimizer.report().unwrap();
        let grads = bench.upload(&layout, &silent_gradients(10, 100));
        let taken = optimizer.step(&params, &grads, 0.01);
        let error = match place {
            "host" => taken.unwrap_err(),
            _ => taken.and_then(|()| optimizer.report()).unwrap_err(),
        };
        match error {
            Error::Root {
                tensor,
                block,
                side,
                failures,
                ..
            } => assert_eq!((tensor, block, side, failures), (1, 0, "left", 3)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn spread_roots_are_those_of_the_interval_s_start_once_it_ends() {
    for place in ["host", "device"] {
        spread_roots_come_to_use_at_the_interval_s_end(place);
    }
}

fn spread_roots_come_to_use_at_the_interval_s_end(place: &str) {
    let bench = Bench::open();
    let layout = network_segments();
    let at_once = |extra: &[(&str, &str)]| {
        let mut settings = SAME.to_vec();
        settings.extend_from_slice(extra);
        settings.push(("products", place));
        bench.optimizer(&settings, &layout)
    };
    // Roots at steps 0 and 4 only, gradients that do not depend on the weights, and at step 4 of the spread optimizer
    // the roots of step 0 come to use: the same that the other has used from step 0 to 3.
    let interval = ("root-interval", "4");
    let mut spread = at_once(&[interval, ("spread-roots", "true"), ("start-step", "0")]);
    let mut plain = at_once(&[("root-interval", "1000"), ("start-step", "0")]);
    let gradient = |step: usize| -> Vec<Vec<f64>> {
        SHAPES
            .iter()
            .enumerate()
            .map(|(t, [m, n])| filled(10 * step + t, m * n, 1.0))
            .collect()
    };
    let moved = |optimizer: &mut Box<dyn Optimizer>, step: usize| {
        let params = bench.upload(&layout, &network_start());
        let grads = bench.upload(&layout, &gradient(step));
        optimizer.step(&params, &grads, 0.01).unwrap();
        bench.read(&params)
    };
    for step in 0..4 {
        let (a, b) = (moved(&mut spread, step), moved(&mut plain, step));
        assert_ne!(a, b, "step {step}: the spread roots are not in use yet");
    }
    // Momenta differ from the first steps; they decay by 0.9 a step.
    let difference = |a: Vec<Vec<f64>>, b: Vec<Vec<f64>>| {
        let pairs = a.concat().into_iter().zip(b.concat());
        pairs.fold(0.0f64, |most, (a, b)| most.max((a - b).abs()))
    };
    let first = difference(moved(&mut spread, 4), moved(&mut plain, 4));
    // Hold the roots of the spread optimizer: the second interval ends at step 8.
    let second = difference(moved(&mut spread, 5), moved(&mut plain, 5));
    let third = difference(moved(&mut spread, 6), moved(&mut plain, 6));
    for (before, after) in [(first, second), (second, third)] {
        let ratio = after / before;
        assert!(
            (ratio - 0.9).abs() < 1e-2,
            "equal roots leave a difference of momenta that decays by 0.9, found {ratio}"
        );
    }
}

#[test]
fn roots_may_be_spread_over_fewer_or_more_steps_than_there_are_factors() {
    let bench = Bench::open();
    let layout = network_segments();
    for (interval, place) in [
        ("1", "host"),
        ("2", "host"),
        ("50", "host"),
        ("7", "device"),
    ] {
        let mut settings = SAME.to_vec();
        settings.extend([
            ("root-interval", interval),
            ("products", place),
            ("spread-roots", "true"),
            ("start-step", "0"),
        ]);
        let mut optimizer = bench.optimizer(&settings, &layout);
        let params = bench.upload(&layout, &network_start());
        for _ in 0..60 {
            let g = network_gradient(&bench.read(&params));
            optimizer
                .step(&params, &bench.upload(&layout, &g), 0.01)
                .unwrap();
        }
        let report = optimizer.report().unwrap().roots.unwrap();
        assert_eq!((report.refused, report.raised), (0, 0));
        let w = bench.read(&params);
        assert!(w.concat().iter().all(|x| x.is_finite()), "{interval}");
    }
}

#[test]
fn factors_in_bf16_are_rounded_when_they_change_and_take_half_the_state() {
    let bench = Bench::open();
    let layout = Layout::new(&[1]).unwrap();
    // A bias of one unit: its statistic is a number, ½ g² after one step, and its root that number's.
    let settings = |factors| {
        [
            ("beta1", "0"),
            ("beta2", "0.5"),
            ("epsilon", "0"),
            ("start-step", "0"),
            ("root-interval", "1"),
            ("graft", "none"),
            ("factors", factors),
        ]
    };
    let step = |factors| {
        let mut shampoo = bench.optimizer(&settings(factors), &layout);
        let params = bench.upload(&layout, &[vec![0.0]]);
        let grads = bench.upload(&layout, &[vec![1.3]]);
        shampoo.step(&params, &grads, 1.0).unwrap();
        let w = bench.read(&params)[0][0];
        (w, shampoo.state_bytes_per_parameter())
    };
    let g = f64::from(1.3f32);
    let statistic = 0.5 * g * g;
    // Eight significant digits.
    let held = |x: f64| {
        let unit = (x.log2().floor() - 7.0).exp2();
        (x / unit).round() * unit
    };
    let (w, bytes) = step("f32");
    assert!((w + g / statistic.sqrt()).abs() < 1e-6, "{w}");
    let (narrow, half) = step("bf16");
    let expected = -g * held(1.0 / held(statistic).sqrt());
    assert!((narrow - expected).abs() < 1e-6, "{narrow}, {expected}");
    assert!((narrow - w).abs() > 1e-3, "the rounding shows");
    // Two momenta of 4 bytes; one statistic and one root.
    assert_eq!((bytes, half), (8.0 + 8.0, 8.0 + 4.0));
    let refused = OptimizerConfig::named("shampoo").and_then(|mut config| {
        config.set("products", "device")?;
        config.set("factors", "bf16")
    });
    assert!(matches!(refused, Err(Error::Unreadable { .. })));
}

#[test]
fn what_a_step_refuses_has_moved_nothing() {
    let bench = Bench::open();
    let layout = network_segments();
    let (mut a, mut b) = (
        bench.optimizer(SAME, &layout),
        bench.optimizer(SAME, &layout),
    );
    let (pa, pb) = (
        bench.upload(&layout, &network_start()),
        bench.upload(&layout, &network_start()),
    );
    let other = Layout::new(&[4]).unwrap();
    let other = bench.upload(&other, &[vec![0.0; 4]]);
    let half = PrecisionKind::Bf16.format();
    let narrow = Arena::zeros(&bench.device.context, &layout, half);
    for step in 0..14 {
        let g = network_gradient(&bench.read(&pa));
        let grads = bench.upload(&layout, &g);
        if step == 5 {
            assert!(a.step(&pa, &grads, -1.0).is_err());
            for wrong in [&other, &narrow] {
                assert!(a.step(wrong, &grads, 0.01).is_err());
                assert!(a.step(&pa, wrong, 0.01).is_err());
            }
        }
        a.step(&pa, &grads, 0.01).unwrap();
        b.step(&pb, &grads, 0.01).unwrap();
    }
    assert_eq!(bench.read(&pa), bench.read(&pb));
}

#[test]
fn any_shape_is_taken_and_its_assignment_told() {
    let bench = Bench::open();
    let shapes = vec![
        vec![],
        vec![1, 7],
        vec![9, 1],
        vec![70, 2],
        vec![3, 4, 5],
        vec![33, 20],
    ];
    let layout = Layout::with_shapes(shapes).unwrap();
    let [host, device] =
        ["host", "device"].map(|products| any_shape_is_taken(&bench, &layout, products));
    for (host, device) in host.concat().iter().zip(device.concat()) {
        // Sums of at most 20 products, a root of them, three steps.
        assert!((host - device).abs() < 1e-4, "{host} and {device}");
    }
}

/// Three steps; returns the weights.
fn any_shape_is_taken(bench: &Bench, layout: &Layout, products: &str) -> Vec<Vec<f64>> {
    let settings = [
        ("block-size", "16"),
        ("largest-size", "64"),
        ("merge-size", "12"),
        ("start-step", "0"),
        // The statistics are rank-deficient: a small ridge would amplify what rounding leaves in their null space.
        ("epsilon", "1e-3"),
        ("products", products),
    ];
    let mut optimizer = bench.optimizer(&settings, layout);
    assert_eq!(
        optimizer.assignments(),
        [
            "vector of 1, p = 2",
            "vector of 7, p = 2",
            "vector of 9, p = 2",
            "graft only: an axis of 70 is longer than 64",
            "matrix of 12 × 5, p = 4",
            "matrix of 33 × 20, p = 4, in 6 blocks",
        ]
    );
    let start: Vec<Vec<f64>> = layout
        .tensors()
        .iter()
        .enumerate()
        .map(|(t, range)| filled(t, range.len(), 1.0))
        .collect();
    let params = bench.upload(layout, &start);
    for step in 0..3 {
        let g: Vec<Vec<f64>> = layout
            .tensors()
            .iter()
            .map(|range| filled(step + 77, range.len(), 1.0))
            .collect();
        let grads = bench.upload(layout, &g);
        optimizer.step(&params, &grads, 0.01).unwrap();
    }
    let end = bench.read(&params);
    for (t, (end, start)) in end.iter().zip(&start).enumerate() {
        assert!(end.iter().all(|x| x.is_finite()), "tensor {t}");
        assert!(
            end.iter().zip(start).all(|(e, s)| e != s),
            "tensor {t} does not move"
        );
    }
    end
}
