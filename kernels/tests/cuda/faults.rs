//! Small kernels with a fault that a driver would run without a word, and conversions bit by bit.

use cubecl::prelude::*;
use cubecl::server::Handle;
use half::f16;
use sonew_runtime::Gpu;
use sonew_runtime::recorder::host::HostCuda;
use sonew_runtime::recorder::{Recording, record};
use tempfile::TempDir;

use crate::LANGUAGE;
use crate::tools::compiler_or_skip;

/// Each unit reads what its neighbour writes.
#[cube(launch)]
fn races(x: &mut Array<f32>) {
    x[UNIT_POS as usize] = x[((UNIT_POS + 1) % CUBE_DIM) as usize] + 1.0;
}

/// As [`races`], through shared memory and without the barrier after the write.
#[cube(launch)]
fn forgets_a_barrier(x: &mut Array<f32>) {
    let mut shared = SharedMemory::<f32>::new(32usize);
    shared[UNIT_POS as usize] = x[UNIT_POS as usize];
    x[UNIT_POS as usize] = shared[((UNIT_POS + 1) % CUBE_DIM) as usize];
    sync_cube();
}

/// As it should be.
#[cube(launch)]
fn rotates(x: &mut Array<f32>) {
    let mut shared = SharedMemory::<f32>::new(32usize);
    shared[UNIT_POS as usize] = x[UNIT_POS as usize];
    sync_cube();
    x[UNIT_POS as usize] = shared[((UNIT_POS + 1) % CUBE_DIM) as usize];
}

/// A barrier for some units of the cube.
#[cube(launch)]
fn diverges(x: &mut Array<f32>) {
    if UNIT_POS < 3 {
        sync_cube();
    }
    x[UNIT_POS as usize] = 1.0;
}

/// One value too many.
#[cube(launch_unchecked)]
fn overruns(x: &mut Array<f32>) {
    x[UNIT_POS as usize + 1] = 1.0;
}

/// Reads the last value of another buffer, or of its own.
#[cube(launch)]
fn copies(x: &Array<f32>, y: &mut Array<f32>) {
    y[UNIT_POS as usize] = x[(CUBE_DIM - 1) as usize];
}

#[cube(launch)]
fn narrows(x: &Array<f32>, y: &mut Array<f16>, z: &mut Array<f32>) {
    if ABSOLUTE_POS < x.len() {
        let narrow = f16::cast_from(x[ABSOLUTE_POS]);
        y[ABSOLUTE_POS] = narrow;
        z[ABSOLUTE_POS] = f32::cast_from(narrow);
    }
}

/// What only units that run as a warp can do.
#[cube(launch)]
fn sums_over_a_warp(x: &mut Array<f32>) {
    x[UNIT_POS as usize] = plane_sum(x[UNIT_POS as usize]);
}

const UNITS: usize = 32;

/// A device on the host's processor, if there is a compiler.
fn device(test: &str) -> Option<(Recording, TempDir)> {
    let (compiler, folder) = compiler_or_skip(test)?;
    let recording = record(LANGUAGE);
    recording.execute_with(Box::new(HostCuda::new(compiler)));
    Some((recording, folder))
}

fn values(recording: &Recording) -> Handle {
    let values: Vec<f32> = (0..UNITS).map(|i| i as f32).collect();
    let client = recording.client();
    client.create_from_slice(bytemuck::cast_slice(&values))
}

fn array(handle: &Handle, length: usize) -> ArrayArg<Gpu> {
    // SAFETY: every buffer here is made with this many values.
    unsafe { ArrayArg::from_raw_parts(handle.clone(), length) }
}

fn cube() -> (CubeCount, CubeDim) {
    (CubeCount::new_1d(1), CubeDim::new_1d(UNITS as u32))
}

/// What the executor said about a launch.
fn complaint(recording: &Recording) -> String {
    recording.take().unwrap_err().to_string()
}

#[test]
fn a_result_that_depends_on_the_order_of_units_is_refused() {
    let test = "a_result_that_depends_on_the_order_of_units_is_refused";
    let Some((recording, _folder)) = device(test) else {
        return;
    };
    let ((count, dim), x) = (cube(), values(&recording));
    let client = recording.client();
    races::launch::<Gpu>(&client, count.clone(), dim, array(&x, UNITS));
    let said = complaint(&recording);
    assert!(said.contains("depends on the order of the units"), "{said}");

    let _ = client.flush();
    forgets_a_barrier::launch::<Gpu>(&client, count, dim, array(&x, UNITS));
    let said = complaint(&recording);
    assert!(said.contains("depends on the order of the units"), "{said}");
}

#[test]
fn units_wait_for_each_other_at_a_barrier() {
    let Some((recording, _folder)) = device("units_wait_for_each_other_at_a_barrier") else {
        return;
    };
    let ((count, dim), x) = (cube(), values(&recording));
    let client = recording.client();
    rotates::launch::<Gpu>(&client, count, dim, array(&x, UNITS));
    recording.take().unwrap();
    let bytes = client.read_one(x).unwrap();
    let found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    let expected: Vec<f32> = (0..UNITS).map(|i| ((i + 1) % UNITS) as f32).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_barrier_that_some_units_do_not_reach_is_refused() {
    let Some((recording, _folder)) = device("a_barrier_that_some_units_do_not_reach_is_refused")
    else {
        return;
    };
    let ((count, dim), x) = (cube(), values(&recording));
    diverges::launch::<Gpu>(&recording.client(), count, dim, array(&x, UNITS));
    let said = complaint(&recording);
    assert!(said.contains("others have ended"), "{said}");
}

#[test]
fn a_text_that_needs_a_warp_is_not_executed() {
    let Some((recording, _folder)) = device("a_text_that_needs_a_warp_is_not_executed") else {
        return;
    };
    let ((count, dim), x) = (cube(), values(&recording));
    sums_over_a_warp::launch::<Gpu>(&recording.client(), count, dim, array(&x, UNITS));
    let said = complaint(&recording);
    assert!(said.contains("not executed: "), "{said}");
    // Which of the two a compiler stumbles over first is its own affair.
    assert!(
        said.contains("warpSize") || said.contains("__shfl"),
        "{said}"
    );
}

#[test]
fn an_access_outside_of_a_buffer_is_refused() {
    let Some((recording, _folder)) = device("an_access_outside_of_a_buffer_is_refused") else {
        return;
    };
    let ((count, dim), x) = (cube(), values(&recording));
    // SAFETY: the access outside is turned away; that is what is tested.
    unsafe {
        overruns::launch_unchecked::<Gpu>(&recording.client(), count, dim, array(&x, UNITS));
    }
    let said = complaint(&recording);
    let expected = "buffer_0 is accessed at 32 and has 32 values";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_buffer_that_is_read_and_written_as_two_is_refused() {
    let Some((recording, _folder)) = device("a_buffer_that_is_read_and_written_as_two_is_refused")
    else {
        return;
    };
    let ((count, dim), x, y) = (cube(), values(&recording), values(&recording));
    let client = recording.client();
    let launch = |x: &Handle, y: &Handle| {
        let (x, y) = (array(x, UNITS), array(y, UNITS));
        copies::launch::<Gpu>(&client, count.clone(), dim, x, y);
    };
    launch(&x, &y);
    recording.take().unwrap();
    launch(&x, &x);
    let said = complaint(&recording);
    assert!(said.contains("buffer_1 may write it"), "{said}");
}

/// Every value of f16, what is half way between two, and the neighbours of those in f32, of either sign.
fn numbers() -> Vec<f32> {
    let mut numbers = Vec::new();
    for bits in 0..=0x7c00u16 {
        let value = f16::from_bits(bits).to_f32();
        let next = match bits {
            // The next power of two is where infinity begins.
            0x7bff.. => 65536.0,
            _ => f16::from_bits(bits + 1).to_f32(),
        };
        let middle = if value.is_finite() {
            (value + next) / 2.0
        } else {
            value
        };
        for x in [value, middle] {
            numbers.extend([x, x.next_up(), if x > 0.0 { x.next_down() } else { 0.0 }]);
        }
    }
    numbers.extend([f32::MAX, f32::MIN_POSITIVE, 1e-45]);
    let negative: Vec<f32> = numbers.iter().map(|x| -x).collect();
    numbers.extend(negative);
    numbers
}

#[test]
fn numbers_are_narrowed_to_f16_as_everywhere() {
    let Some((recording, _folder)) = device("numbers_are_narrowed_to_f16_as_everywhere") else {
        return;
    };
    let numbers = numbers();
    let count = numbers.len();
    let client = recording.client();
    let x = client.create_from_slice(bytemuck::cast_slice(&numbers));
    let (y, z) = (client.empty(2 * count), client.empty(4 * count));
    narrows::launch::<Gpu>(
        &client,
        CubeCount::new_1d(count.div_ceil(256) as u32),
        CubeDim::new_1d(256),
        array(&x, count),
        array(&y, count),
        array(&z, count),
    );
    recording.take().unwrap();
    let narrow: Vec<u16> = bytemuck::pod_collect_to_vec(&client.read_one(y).unwrap());
    let wide: Vec<f32> = bytemuck::pod_collect_to_vec(&client.read_one(z).unwrap());
    for ((x, narrow), wide) in numbers.iter().zip(narrow).zip(wide) {
        let expected = f16::from_f32(*x);
        // `next_up` of infinity is infinity, so there is no NaN.
        assert_eq!(narrow, expected.to_bits(), "{x:e}");
        assert_eq!(wide.to_bits(), expected.to_f32().to_bits(), "{x:e}");
    }
}
