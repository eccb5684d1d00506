//! The network's parts against plain f64 loops, in host memory and on the software driver. Long, as each
//! part has its own inputs.

use cubecl::server::Handle;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::error::Error;
use sonew_kernels::network::{DenseLayers, Layer, PackedImages, elementwise, reference};
use sonew_kernels::noise;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::{self, HostMatrix, Multiplication};

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
            context: Context::new(client, Profile::LLVMPIPE),
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
    let first = 100_003 * seed;
    (first..first + count)
        .map(|i| noise::noise(i) as f32)
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
            product::host(&mut c, left, right, false).unwrap();
            assert_close(&c, &expected, product_tolerance(k), 1.0);
            product::host(&mut c, left, right, true).unwrap();
            let doubled: Vec<f64> = expected.iter().map(|x| 2.0 * x).collect();
            assert_close(&c, &doubled, product_tolerance(k), 2.0);
        }
    }
}

#[test]
fn host_products_refuse_matrices_that_do_not_fit() {
    let values = [0f32; 6];
    let matrix = HostMatrix::row_major(&values, 2, 3).unwrap();
    assert!(HostMatrix::row_major(&values, 2, 2).is_err());
    assert!(product::host(&mut [0.0; 4], matrix, matrix, false).is_err());
}

const ROWS: usize = 70;
const WIDTH: usize = 37;

#[test]
fn activations_follow_f64_in_host_memory() {
    let z: Vec<f32> = noise(9, ROWS * WIDTH).iter().map(|x| 12.0 * x).collect();
    let bias = noise(10, WIDTH);
    for linear in [false, true] {
        let expected = reference::activation(&wide(&z), &wide(&bias), linear);
        // z + b is rounded to f32 first, at up to 13, and tanh adds a few units in the last place.
        let mut found = z.clone();
        elementwise::activate(&mut found, &bias, linear);
        assert_close(&found, &expected, 1e-6, 1.0);
    }
}

#[test]
fn the_derivative_of_tanh_follows_f64_in_host_memory() {
    let (delta, a) = (noise(11, ROWS * WIDTH), noise(12, ROWS * WIDTH));
    let expected: Vec<f64> = wide(&delta)
        .iter()
        .zip(wide(&a))
        .map(|(d, a)| d * (1.0 - a * a))
        .collect();
    let mut found = delta.clone();
    elementwise::backward_tanh(&mut found, &a);
    assert_close(&found, &expected, 3e-7, 1.0);
}

#[test]
fn bias_gradients_follow_f64_in_host_memory() {
    for rows in [1, 31, 32, 33, 1100] {
        let delta = noise(13, rows * WIDTH);
        let mut expected = vec![0.0; WIDTH];
        for (i, d) in wide(&delta).iter().enumerate() {
            expected[i % WIDTH] += d;
        }
        let mut found = vec![f32::NAN; WIDTH];
        elementwise::column_sums(&delta, &mut found);
        assert_close(&found, &expected, 6e-8 * rows as f64, 1.0);
    }
}

#[test]
fn the_loss_and_its_gradient_follow_f64_in_host_memory_for_logits_up_to_a_hundred() {
    let (z, targets) = logits_and_targets(ROWS * WIDTH);
    let (expected, gradient) = reference::cross_entropy(&wide(&z), &wide(&targets), ROWS);
    let close = |loss: f64| assert!((loss - expected).abs() < 1e-6 * expected, "{loss}");
    close(elementwise::loss(&z, &targets, WIDTH));
    let mut found = z.clone();
    close(elementwise::loss_and_gradient(
        &mut found, &targets, WIDTH, 1.0,
    ));
    // σ − t is a difference of numbers up to 1.
    assert_close(&found, &gradient, 5e-7, 1.0 / ROWS as f64);
}

/// A layer whose logits are its biases, whatever the images.
struct Logits<'a> {
    bench: &'a Bench,
    layers: DenseLayers,
    params: Handle,
}

/// Where the biases begin: behind W, at a block of the arena.
const BIAS: usize = (WIDTH * WIDTH).next_multiple_of(256);

/// Weights of 0, and these biases.
fn params(logits: &[f32]) -> Vec<f32> {
    let mut params = vec![0f32; BIAS + WIDTH];
    params[BIAS..].copy_from_slice(logits);
    params
}

/// Such a layer in a precision.
fn layer(bench: &Bench, kind: PrecisionKind) -> DenseLayers {
    let layer = Layer {
        inputs: WIDTH,
        outputs: WIDTH,
        linear: true,
        weight: 0,
        bias: BIAS,
    };
    let (context, arena) = (&bench.context, BIAS + WIDTH);
    DenseLayers::new(
        context,
        vec![layer],
        kind,
        arena,
        ROWS,
        Multiplication::Auto,
    )
    .unwrap()
}

impl<'a> Logits<'a> {
    fn new(bench: &'a Bench, logits: &[f32]) -> Self {
        Self {
            bench,
            layers: layer(bench, PrecisionKind::F32),
            params: bench.context.upload(&params(logits)),
        }
    }

    /// The loss of `rows` images, and the gradient of the biases.
    fn ask(&mut self, images: &[f32]) -> (f64, Vec<f32>) {
        let context = &self.bench.context;
        let rows = images.len() / WIDTH;
        let images = context.upload(images);
        let layers = &mut self.layers;
        layers.place(context, &images, rows).unwrap();
        let forward = layers.forward(context, &self.params, rows, Some(1.0), 0);
        forward.unwrap();
        let gradient = self.bench.unwritten(BIAS + WIDTH);
        self.layers
            .backward(context, &self.params, &gradient)
            .unwrap();
        let loss = self.layers.mean_losses(context, &[rows]).unwrap()[0];
        (loss, self.bench.read(&gradient)[BIAS..].to_vec())
    }
}

#[test]
fn the_loss_and_its_gradient_follow_f64_on_the_device_for_logits_up_to_a_hundred() {
    let bench = Bench::open();
    let (logits, _) = logits_and_targets(WIDTH);
    let images: Vec<f32> = noise(2, ROWS * WIDTH).iter().map(|x| x.abs()).collect();
    let (loss, gradient) = Logits::new(&bench, &logits).ask(&images);
    let z = wide(&logits).repeat(ROWS);
    let (expected, deltas) = reference::cross_entropy(&z, &wide(&images), ROWS);
    assert!((loss - expected).abs() < 1e-6 * expected, "{loss}");
    let sum = |j: usize| deltas.iter().skip(j).step_by(WIDTH).sum();
    let sums: Vec<f64> = (0..WIDTH).map(sum).collect();
    // Sums of 70 differences of numbers up to 1, over 70.
    assert_close(&gradient, &sums, 4e-6, 1.0);
}

#[test]
fn logits_of_any_size_have_a_loss_in_host_memory_and_on_the_device() {
    // Where e^{−|z|} is nothing, the loss is that of the unit of z times the unit.
    let bench = Bench::open();
    let z: Vec<f32> = noise(5, WIDTH)
        .iter()
        .map(|x| x.signum() * (x.abs() + 1.0))
        .collect();
    let targets = vec![0.25; ROWS * WIDTH];
    let losses = |exponent: i32| {
        let unit = f64::from(exponent).exp2();
        let z: Vec<f32> = z.iter().map(|&x| (f64::from(x) * unit) as f32).collect();
        [
            elementwise::loss(&z.repeat(ROWS), &targets, WIDTH) / unit,
            Logits::new(&bench, &z).ask(&targets).0 / unit,
        ]
    };
    let first = losses(10);
    assert!(first.iter().all(|x| x.is_finite() && *x > 0.0));
    // The largest for which a tile's loss is a number of f32.
    for exponent in [60, 100, 110] {
        assert_eq!(losses(exponent), first, "2^{exponent}");
    }
}

#[test]
fn a_short_batch_counts_its_own_rows_only() {
    let bench = Bench::open();
    let (logits, _) = logits_and_targets(WIDTH);
    let images: Vec<f32> = noise(3, ROWS * WIDTH).iter().map(|x| x.abs()).collect();
    let mut layers = Logits::new(&bench, &logits);
    let mut loss = |rows: std::ops::Range<usize>| {
        let images = bench
            .context
            .upload(&images[rows.start * WIDTH..rows.end * WIDTH]);
        let (context, count) = (&bench.context, rows.len());
        let Logits { layers, params, .. } = &mut layers;
        layers.place(context, &images, count).unwrap();
        layers.forward(context, params, count, None, 0).unwrap();
        layers.mean_losses(context, &[count]).unwrap()[0] * count as f64
    };
    let parts = loss(0..1) + loss(1..38) + loss(38..ROWS);
    let whole = loss(0..ROWS);
    assert!((parts - whole).abs() < 1e-6 * whole, "{parts} {whole}");
}

#[test]
fn images_on_the_device_make_the_batches_that_the_host_makes_in_every_format() {
    let bench = Bench::open();
    let context = &bench.context;
    let count = 5;
    // Every pixel there is, and images that begin within a word.
    let bytes: Vec<u8> = (0..count * WIDTH).map(|i| (i * 37) as u8).collect();
    let indices = [3, 0, 4, 4, 1];
    for kind in [PrecisionKind::F32, PrecisionKind::Bf16, PrecisionKind::F16] {
        let mut layers = layer(&bench, kind);
        let images = PackedImages::new(context, &bytes, WIDTH, kind).unwrap();
        let order = images.order(context, &indices).unwrap();
        layers.reserve(context, 2).unwrap();
        layers.gather(context, &images, &order, 1, 4).unwrap();
        let params = bench.context.upload(&params(&noise(8, WIDTH)));
        let forward = |layers: &mut DenseLayers, slot| {
            layers
                .forward(context, &params, 4, Some(1.0), slot)
                .unwrap();
            let gradient = bench.unwritten(BIAS + WIDTH);
            layers.backward(context, &params, &gradient).unwrap();
            bench.read(&gradient)[..WIDTH * WIDTH].to_vec()
        };
        let gathered = forward(&mut layers, 0);
        let values = indices[1..].iter().flat_map(|&index| {
            let start = index as usize * WIDTH;
            let image = &bytes[start..start + WIDTH];
            image.iter().map(|&pixel| f32::from(pixel) / 255.0)
        });
        let values: Vec<f32> = values.collect();
        layers.place(context, &context.upload(&values), 4).unwrap();
        let placed = forward(&mut layers, 1);
        assert_eq!(gathered, placed, "{kind:?}");
        let losses = layers.mean_losses(context, &[4, 4]).unwrap();
        assert_eq!(losses[0], losses[1], "{kind:?}");
        assert!(gathered.iter().any(|&x| x != 0.0));
    }
}

#[test]
fn a_weight_that_is_not_a_number_shows_in_the_loss_and_in_the_gradient_on_the_device() {
    let bench = Bench::open();
    let mut logits = vec![0.5; WIDTH];
    logits[36] = f32::NAN;
    let (loss, gradient) = Logits::new(&bench, &logits).ask(&[0.5; ROWS * WIDTH]);
    assert!(loss.is_nan());
    let unfit = gradient.iter().filter(|x| x.is_nan()).count();
    assert_eq!(unfit, 1);
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
fn layers_and_buffers_that_do_not_fit_are_refused_before_a_launch() {
    let bench = Bench::open();
    let context = &bench.context;
    let Logits {
        mut layers, params, ..
    } = Logits::new(&bench, &[0.0; WIDTH]);
    let (one, short) = (bench.unwritten(WIDTH), bench.unwritten(WIDTH - 1));
    let length = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Length { .. })));
    length(layers.place(context, &short, 1));
    length(layers.forward(context, &one, 1, None, 0));
    length(layers.backward(context, &params, &one));
    let shape = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Shape { .. })));
    for rows in [0, ROWS + 1] {
        shape(layers.place(context, &one, rows));
        shape(layers.forward(context, &params, rows, None, 0));
    }
    // A slot that is not reserved, and images that do not fit.
    shape(layers.forward(context, &params, 1, None, 1));
    let kind = PrecisionKind::F32;
    shape(PackedImages::new(context, &[0; 2 * WIDTH + 1], WIDTH, kind).map(|_| ()));
    let images = PackedImages::new(context, &[0; 2 * WIDTH], WIDTH, kind).unwrap();
    shape(images.order(context, &[2]).map(|_| ()));
    shape(images.order(context, &[]).map(|_| ()));
    let order = images.order(context, &[1, 0, 1]).unwrap();
    shape(layers.gather(context, &images, &order, 1, 3));
    // An order of a larger set.
    let fewer = PackedImages::new(context, &[0; WIDTH], WIDTH, kind).unwrap();
    shape(layers.gather(context, &fewer, &order, 0, 1));
    let narrow = PackedImages::new(context, &[0; 2 * WIDTH - 2], WIDTH - 1, kind).unwrap();
    shape(layers.gather(context, &narrow, &order, 0, 1));
    let layer = |inputs, outputs| Layer {
        inputs,
        outputs,
        linear: false,
        weight: 0,
        bias: inputs * outputs,
    };
    let make = |layers, batch| {
        let kind = PrecisionKind::F32;
        DenseLayers::new(context, layers, kind, 20, batch, Multiplication::Auto).map(|_| ())
    };
    make(vec![layer(3, 2), layer(2, 3)], 5).unwrap();
    for (layers, batch) in [
        (vec![], 5),
        (vec![layer(3, 2)], 5),
        (vec![layer(3, 2), layer(3, 3)], 5),
        (vec![layer(3, 6), layer(6, 3)], 5),
        (vec![layer(3, 2), layer(2, 3)], 0),
    ] {
        assert!(matches!(make(layers, batch), Err(Error::Shape { .. })));
    }
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
