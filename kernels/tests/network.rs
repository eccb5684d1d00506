//! The network's parts against plain f64 loops, in host memory and on the software driver.

use cubecl::server::Handle;
use sonew_kernels::context::{Context, Processor};
use sonew_kernels::error::Error;
use sonew_kernels::matmul::{self, Blueprint, DeviceMatrix, HostMatrix};
use sonew_kernels::network::{activation, dense, elementwise, loss, reference};
use sonew_kernels::sweep::Strategy;

mod software;

use software::Turn;

/// The software driver, held by one test at a time.
struct Bench {
    context: Context,
    _turn: Turn,
}

impl Bench {
    fn open() -> Self {
        let (client, turn) = software::open();
        Self {
            context: Context::new(client, Processor::Cpu),
            _turn: turn,
        }
    }

    fn read(&self, buffer: &Handle) -> Vec<f32> {
        self.context.download("test", buffer).unwrap()
    }

    /// NaN everywhere, so that a value that is not written shows.
    fn unwritten(&self, count: usize) -> Handle {
        self.context.upload(&vec![f32::NAN; count])
    }
}

/// Unstructured values in [−1, 1).
fn noise(seed: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let mixed = ((i + 100_003 * seed) as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(31);
            let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
            mixed as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Logits of every size up to ±100, and pixels.
fn logits_and_targets(count: usize) -> (Vec<f32>, Vec<f32>) {
    let sizes = [0.0, 1.0, 5.0, 20.0, 100.0];
    let z = noise(1, count)
        .into_iter()
        .enumerate()
        .map(|(i, x)| match i {
            0 => 100.0,
            1 => -100.0,
            _ => x * sizes[i % sizes.len()],
        });
    let t = noise(2, count).iter().map(|x| x.abs()).collect();
    (z.collect(), t)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// Asserts |found − expected| ≤ tolerance · (|expected| + scale) everywhere.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, scale: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(f) - e).abs();
        assert!(
            error <= tolerance * (e.abs() + scale),
            "value {i} is {f:e}, expected {e:e}"
        );
    }
}

/// A B in f64; A is [m, k] or its transpose, B [k, n] or its transpose.
fn product(
    a: &[f32],
    b: &[f32],
    [m, k, n]: [usize; 3],
    a_transposed: bool,
    b_transposed: bool,
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                let x = a[if a_transposed { p * m + i } else { i * k + p }];
                let y = b[if b_transposed { j * k + p } else { p * n + j }];
                c[i * n + j] += f64::from(x) * f64::from(y);
            }
        }
    }
    c
}

const TRANSPOSES: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// Half a unit in the last place of f32, per addition of a sum of up to k products below 1.
fn product_tolerance(k: usize) -> f64 {
    6e-8 * (k + 2) as f64
}

#[test]
fn the_host_product_follows_f64_for_odd_shapes_and_all_transposes() {
    for shape @ [m, k, n] in [
        [1, 1, 1],
        [7, 5, 3],
        [1, 100, 64],
        [33, 65, 17],
        [64, 64, 64],
    ] {
        let (a, b) = (noise(3, m * k), noise(4, k * n));
        for (at, bt) in TRANSPOSES {
            let mut left = HostMatrix::row_major(&a, m, k).unwrap();
            if at {
                left = HostMatrix::row_major(&a, k, m).unwrap().transposed();
            }
            let mut right = HostMatrix::row_major(&b, k, n).unwrap();
            if bt {
                right = HostMatrix::row_major(&b, n, k).unwrap().transposed();
            }
            let expected = product(&a, &b, shape, at, bt);
            let mut c = vec![f32::NAN; m * n];
            matmul::host(&mut c, left, right, false).unwrap();
            assert_close(&c, &expected, product_tolerance(k), 1.0);
            matmul::host(&mut c, left, right, true).unwrap();
            let doubled: Vec<f64> = expected.iter().map(|x| 2.0 * x).collect();
            assert_close(&c, &doubled, product_tolerance(k), 2.0);
        }
    }
}

#[test]
fn the_device_product_follows_f64_on_parts_of_a_buffer_and_all_transposes() {
    let bench = Bench::open();
    let naive = Strategy::Forced(Blueprint::Naive);
    // The matrices lie behind 256 values and before another 256, as tensors of an arena do.
    let inner = |handle: Handle| handle.offset_start(1024).offset_end(1024);
    let framed = |values: &[f32]| {
        let frame = [f32::NAN; 256];
        inner(bench.context.upload(&[&frame, values, &frame].concat()))
    };
    for shape @ [m, k, n] in [[1, 1, 1], [7, 5, 3], [4, 64, 9], [12, 8, 16]] {
        let (a, b) = (noise(5, m * k), noise(6, k * n));
        for (at, bt) in TRANSPOSES {
            let mut left = DeviceMatrix::row_major(framed(&a), m, k).unwrap();
            if at {
                left = DeviceMatrix::row_major(framed(&a), k, m)
                    .unwrap()
                    .transposed();
            }
            let mut right = DeviceMatrix::row_major(framed(&b), k, n).unwrap();
            if bt {
                right = DeviceMatrix::row_major(framed(&b), n, k)
                    .unwrap()
                    .transposed();
            }
            let whole = bench.context.upload(&vec![7f32; m * n + 512]);
            let c = DeviceMatrix::row_major(inner(whole.clone()), m, n).unwrap();
            matmul::device(&bench.context, &c, &left, &right, naive).unwrap();
            let found = bench.read(&whole);
            let expected = product(&a, &b, shape, at, bt);
            assert_close(
                &found[256..256 + m * n],
                &expected,
                product_tolerance(k),
                1.0,
            );
            let frame = found[..256].iter().chain(&found[256 + m * n..]);
            assert!(frame.into_iter().all(|&x| x == 7.0), "{shape:?}");
        }
    }
}

#[test]
fn the_tiled_device_product_follows_f64() {
    let bench = Bench::open();
    let shape @ [m, k, n] = [30, 50, 20];
    let (a, b) = (noise(7, m * k), noise(8, k * n));
    let matrix = |values: &[f32], rows, columns| {
        DeviceMatrix::row_major(bench.context.upload(values), rows, columns).unwrap()
    };
    let c = bench.unwritten(m * n);
    matmul::device(
        &bench.context,
        &DeviceMatrix::row_major(c.clone(), m, n).unwrap(),
        &matrix(&a, m, k),
        &matrix(&b, n, k).transposed(),
        Strategy::Inferred,
    )
    .unwrap();
    let expected = product(&a, &b, shape, false, true);
    assert_close(&bench.read(&c), &expected, product_tolerance(k), 1.0);
}

#[test]
fn products_refuse_matrices_that_do_not_fit() {
    let values = [0f32; 6];
    let host_matrix = HostMatrix::row_major(&values, 2, 3).unwrap();
    assert!(HostMatrix::row_major(&values, 2, 2).is_err());
    assert!(matmul::host(&mut [0.0; 4], host_matrix, host_matrix, false).is_err());

    let bench = Bench::open();
    let buffer = bench.context.upload(&values);
    assert!(DeviceMatrix::row_major(buffer.clone(), 2, 2).is_err());
    let matrix = DeviceMatrix::row_major(buffer, 2, 3).unwrap();
    let run = |c, a, b| matmul::device(&bench.context, c, a, b, Strategy::Inferred);
    assert!(matches!(
        run(&matrix, &matrix, &matrix),
        Err(Error::Shape { .. })
    ));
    // A transposed result.
    let square = DeviceMatrix::row_major(bench.unwritten(9), 3, 3).unwrap();
    let transposed = matrix.clone().transposed();
    assert!(run(&square.clone().transposed(), &transposed, &matrix).is_err());
}

const ROWS: usize = 70;
const WIDTH: usize = 37;

#[test]
fn activations_follow_f64_in_host_memory_and_on_the_device() {
    let z: Vec<f32> = noise(9, ROWS * WIDTH).iter().map(|x| 12.0 * x).collect();
    let bias = noise(10, WIDTH);
    let bench = Bench::open();
    for linear in [false, true] {
        let expected = reference::activation(&wide(&z), &wide(&bias), linear);
        // z + b is rounded to f32 first, at up to 13, and tanh adds a few units in the last place.
        let mut found = z.clone();
        elementwise::activate(&mut found, &bias, linear);
        assert_close(&found, &expected, 1e-6, 1.0);
        let buffer = bench.context.upload(&z);
        let on_device = bench.context.upload(&bias);
        activation::activate(&bench.context, &buffer, &on_device, ROWS, WIDTH, linear).unwrap();
        assert_close(&bench.read(&buffer), &expected, 1e-6, 1.0);
    }
}

#[test]
fn the_derivative_of_tanh_follows_f64_in_host_memory_and_on_the_device() {
    let (delta, a) = (noise(11, ROWS * WIDTH), noise(12, ROWS * WIDTH));
    let expected: Vec<f64> = wide(&delta)
        .iter()
        .zip(wide(&a))
        .map(|(d, a)| d * (1.0 - a * a))
        .collect();
    let mut found = delta.clone();
    elementwise::backward_tanh(&mut found, &a);
    assert_close(&found, &expected, 3e-7, 1.0);
    let bench = Bench::open();
    let (buffer, on_device) = (bench.context.upload(&delta), bench.context.upload(&a));
    activation::backward_tanh(&bench.context, &buffer, &on_device, ROWS, WIDTH).unwrap();
    assert_close(&bench.read(&buffer), &expected, 3e-7, 1.0);
}

#[test]
fn bias_gradients_follow_f64_in_host_memory_and_on_the_device() {
    let bench = Bench::open();
    for rows in [1, 31, 32, 33, 1100] {
        let delta = noise(13, rows * WIDTH);
        let mut expected = vec![0.0; WIDTH];
        for (i, d) in wide(&delta).iter().enumerate() {
            expected[i % WIDTH] += d;
        }
        let tolerance = 6e-8 * rows as f64;
        let mut found = vec![f32::NAN; WIDTH];
        elementwise::column_sums(&delta, &mut found);
        assert_close(&found, &expected, tolerance, 1.0);
        let out = bench.unwritten(WIDTH);
        dense::column_sums(
            &bench.context,
            &bench.context.upload(&delta),
            &bench.unwritten(dense::column_sums_scratch(rows, WIDTH) + 5),
            &out,
            rows,
            WIDTH,
        )
        .unwrap();
        assert_close(&bench.read(&out), &expected, tolerance, 1.0);
    }
}

#[test]
fn the_loss_and_its_gradient_follow_f64_for_logits_up_to_a_hundred() {
    let (z, targets) = logits_and_targets(ROWS * WIDTH);
    let (expected, gradient) = reference::cross_entropy(&wide(&z), &wide(&targets), ROWS);
    let close = |loss: f64| assert!((loss - expected).abs() < 1e-6 * expected, "{loss}");
    close(elementwise::loss(&z, &targets, WIDTH));
    let mut found = z.clone();
    close(elementwise::loss_and_gradient(
        &mut found, &targets, WIDTH, 1.0,
    ));
    // σ − t is a difference of numbers up to 1.
    let scale = 1.0 / ROWS as f64;
    assert_close(&found, &gradient, 5e-7, scale);

    let bench = Bench::open();
    let context = &bench.context;
    let target_buffer = context.upload(&targets);
    for with_gradient in [false, true] {
        let buffer = context.upload(&z);
        let partials = bench.unwritten(ROWS * loss::LANES);
        loss::loss(
            context,
            &buffer,
            &target_buffer,
            &partials,
            ROWS,
            WIDTH,
            with_gradient.then_some(1.0),
        )
        .unwrap();
        close(loss::mean_loss(context, &partials, ROWS).unwrap());
        let after = bench.read(&buffer);
        if with_gradient {
            assert_close(&after, &gradient, 2e-6, scale);
        } else {
            assert_eq!(after, z);
        }
    }
}

#[test]
fn logits_of_any_size_have_a_loss_in_host_memory_and_on_the_device() {
    // Where e^{−|z|} is nothing, the loss is that of the unit of z times the unit.
    let bench = Bench::open();
    let z: Vec<f32> = noise(5, ROWS * WIDTH)
        .iter()
        .map(|x| x.signum() * (x.abs() + 1.0))
        .collect();
    let targets = vec![0.25; z.len()];
    let losses = |exponent: i32| {
        let unit = f64::from(exponent).exp2();
        let z: Vec<f32> = z.iter().map(|&x| (f64::from(x) * unit) as f32).collect();
        let partials = bench.unwritten(ROWS * loss::LANES);
        let (buffer, target_buffer) = (bench.context.upload(&z), bench.context.upload(&targets));
        loss::loss(
            &bench.context,
            &buffer,
            &target_buffer,
            &partials,
            ROWS,
            WIDTH,
            None,
        )
        .unwrap();
        let on_device = loss::mean_loss(&bench.context, &partials, ROWS).unwrap();
        [
            elementwise::loss(&z, &targets, WIDTH) / unit,
            on_device / unit,
        ]
    };
    let first = losses(10);
    assert!(first.iter().all(|x| x.is_finite() && *x > 0.0));
    for exponent in [60, 100, 120] {
        assert_eq!(losses(exponent), first, "2^{exponent}");
    }
}

#[test]
fn a_logit_that_is_not_a_number_shows_in_the_loss_and_in_its_gradient() {
    let (mut z, targets) = logits_and_targets(ROWS * WIDTH);
    z[3 * WIDTH + 36] = f32::NAN;
    assert!(elementwise::loss(&z, &targets, WIDTH).is_nan());
    assert!(elementwise::loss_and_gradient(&mut z, &targets, WIDTH, 1.0).is_nan());
    let unfit = z.iter().filter(|x| !x.is_finite()).count();
    assert_eq!(unfit, 1);
    let mut activation = [f32::NAN, 0.5];
    elementwise::activate(&mut activation, &[0.0, 0.0], false);
    assert!(activation[0].is_nan() && activation[1].is_finite());
}

#[test]
fn host_results_have_the_same_bits_with_any_number_of_threads() {
    let (rows, width) = (500, 301);
    let (z, targets) = logits_and_targets(rows * width);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut delta = z.clone();
            let loss = elementwise::loss_and_gradient(&mut delta, &targets, width, 1.0);
            let mut sums = vec![0.0; width];
            elementwise::column_sums(&delta, &mut sums);
            elementwise::activate(&mut delta, &sums, false);
            (loss.to_bits(), delta, sums)
        })
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn buffers_of_another_length_are_refused_before_a_launch() {
    let bench = Bench::open();
    let context = &bench.context;
    let (six, two) = (bench.unwritten(6), bench.unwritten(2));
    let length = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Length { .. })));
    length(activation::activate(context, &six, &six, 3, 2, false));
    length(activation::backward_tanh(context, &six, &two, 3, 2));
    length(dense::column_sums(context, &six, &six, &six, 3, 2));
    length(dense::column_sums(
        context,
        &bench.unwritten(80),
        &two,
        &two,
        40,
        2,
    ));
    length(loss::loss(context, &six, &six, &six, 3, 2, None));
    let empty = activation::backward_tanh(context, &six, &six, 0, 2);
    assert!(matches!(empty, Err(Error::Shape { .. })));
}

#[test]
fn the_exponential_of_a_negative_number_is_within_two_units_in_the_last_place() {
    for i in 0..=1_740_000 {
        let x = i as f32 * -5e-5;
        let exact = f64::from(x).exp();
        let error = (f64::from(elementwise::exp_of_negative(x)) - exact).abs();
        assert!(
            error <= 2.0 * f64::from(f32::EPSILON) * exact,
            "exp({x}): {error:e}"
        );
    }
    assert_eq!(elementwise::exp_of_negative(0.0), 1.0);
    assert!(elementwise::exp_of_negative(f32::NEG_INFINITY) < 2e-38);
    assert!(elementwise::exp_of_negative(f32::NAN).is_nan());
}

#[test]
fn tanh_is_within_a_few_units_in_the_last_place() {
    for i in -200_000..=200_000 {
        let x = i as f32 * 5e-5;
        let exact = f64::from(x).tanh();
        let error = (f64::from(elementwise::tanh(x)) - exact).abs();
        // Eight units in the last place of the result: seven roundings in p, four in q, three outside.
        assert!(
            error <= 8.0 * f64::from(f32::EPSILON) * exact.abs(),
            "tanh({x}): {error:e}"
        );
    }
    assert!(elementwise::tanh(f32::NAN).is_nan());
    assert!((elementwise::tanh(f32::INFINITY) - 1.0).abs() < 1e-6);
}
