//! Launches leave their kernels' text, the same each time, and an executor can run them.

use std::process::Command;
use std::sync::{Arc, Mutex};

use cubecl::prelude::*;
use cubecl::server::Handle;
use half::{bf16, f16};
use sonew_runtime::recorder::{Buffer, Executor, Language, Launch, Recording, Source, record};
use sonew_runtime::{Client, Error, Gpu, check};

/// y ← αx + y on vectors, in f32 arithmetic.
#[cube(launch_unchecked)]
fn axpy<F: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    y: &mut Array<Vector<F, N>>,
    alpha: f32,
    count: u32,
) {
    if ABSOLUTE_POS < count as usize {
        let product = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]) * Vector::new(alpha);
        let sum = product + Vector::cast_from(y[ABSOLUTE_POS]);
        y[ABSOLUTE_POS] = Vector::cast_from(sum);
    }
}

/// Adds up the squares of neighbours: variables of several types and two shared memories.
#[cube(launch)]
fn squares(x: &Array<f32>, y: &mut Array<f32>) {
    let mut shared = SharedMemory::<f32>::new(64usize);
    let mut counts = SharedMemory::<u32>::new(64usize);
    let unit = UNIT_POS as usize;
    shared[unit] = x[ABSOLUTE_POS];
    counts[unit] = UNIT_POS;
    sync_cube();
    let mut sum = 0.0f32;
    let mut seen = 0u32;
    let mut odd = false;
    while seen < 64u32 {
        let value = shared[((UNIT_POS + seen) % 64u32) as usize];
        sum += value * value;
        odd = !odd;
        seen += counts[1usize];
    }
    if odd {
        sum += 1.0;
    }
    y[ABSOLUTE_POS] = sum;
}

/// Two buffers of 64 values, the bytes of the second 0, 1, 2 and so on.
fn buffers(client: &Client, value_bytes: usize) -> [Handle; 2] {
    let count = 64 * value_bytes;
    let ascending: Vec<u8> = (0..count).map(|i| i as u8).collect();
    [
        client.create_from_slice(&vec![0; count]),
        client.create_from_slice(&ascending),
    ]
}

fn launch<F: Float>(
    client: &Client,
    [x, y]: &[Handle; 2],
    count: CubeCount,
    units: u32,
    width: usize,
) {
    let vectors = 64 / width;
    // SAFETY: `buffers` made both with 64 values.
    unsafe {
        axpy::launch_unchecked::<F, Gpu>(
            client,
            count,
            CubeDim::new_1d(units),
            width,
            ArrayArg::from_raw_parts(x.clone(), vectors),
            ArrayArg::from_raw_parts(y.clone(), vectors),
            0.5,
            vectors as u32,
        );
    }
}

/// A recording with one launch of 64 values in `F`.
fn recorded<F: Float + CubeElement>(language: Language, width: usize) -> (Recording, [Handle; 2]) {
    let recording = record(language);
    let client = recording.client();
    let handles = buffers(&client, size_of::<F>());
    launch::<F>(&client, &handles, CubeCount::new_1d(3), 32, width);
    (recording, handles)
}

fn one<F: Float + CubeElement>(language: Language, width: usize) -> Launch {
    let mut launches = recorded::<F>(language, width).0.take().unwrap();
    assert_eq!(launches.len(), 1);
    launches.remove(0)
}

fn has_its_entry<F: Float + CubeElement>(language: Language, width: usize, entry: &str) {
    let Launch { source, cubes } = one::<F>(language, width);
    assert_eq!((cubes, source.units), ((3, 1, 1), (32, 1, 1)));
    assert!(source.entry.starts_with("axpy"), "{}", source.entry);
    assert!(source.kernel.contains("axpy::Axpy"), "{}", source.kernel);
    assert_eq!(source.shared_bytes, 0);
    let entry = entry.replace("NAME", &source.entry);
    assert!(
        source.text.contains(&entry),
        "no `{entry}` in\n{}",
        source.text
    );
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&source.readable()), words(&source.text));
}

#[test]
fn a_launch_leaves_its_kernels_text() {
    has_its_entry::<f32>(Language::CudaSm80, 4, "__launch_bounds__(32)NAME (");
    has_its_entry::<bf16>(Language::CudaSm90, 8, "__launch_bounds__(32)NAME (");
    has_its_entry::<f16>(Language::Wgsl, 4, "@workgroup_size(32, 1, 1)\nfn NAME(");
    #[cfg(feature = "vulkan")]
    has_its_entry::<f32>(Language::Spirv, 4, "\"NAME\"");
}

/// Texts with much that `CubeCL` leaves to chance.
fn texts() -> String {
    fn text(language: Language) -> String {
        let recording = record(language);
        let client = recording.client();
        let [x, y] = buffers(&client, 4);
        squares::launch::<Gpu>(
            &client,
            CubeCount::new_1d(1),
            CubeDim::new_1d(64),
            // SAFETY: `buffers` made both with 64 values.
            unsafe { ArrayArg::from_raw_parts(x, 64) },
            // SAFETY: as above.
            unsafe { ArrayArg::from_raw_parts(y, 64) },
        );
        recording.take().unwrap()[0].source.text.clone()
    }
    let vectors = one::<bf16>(Language::CudaSm90, 8).source.text.clone();
    assert_eq!(vectors.matches("struct __align__").count(), 3, "{vectors}");
    let cuda = text(Language::CudaSm80);
    assert_eq!(cuda.matches("// Shared array").count(), 2, "{cuda}");
    let wgsl = text(Language::Wgsl);
    for text in [&cuda, &wgsl] {
        assert!(text.matches("l_mut_").count() > 3, "{text}");
    }
    [vectors, cuda, wgsl].join("\n")
}

/// What a run of `texts_for_another_process` prints around the texts.
const MARK: &str = "----";

#[test]
#[ignore = "run by `the_text_is_the_same_in_every_run`"]
fn texts_for_another_process() {
    println!("{MARK}{}{MARK}", texts());
}

#[test]
fn the_text_is_the_same_in_every_run() {
    let expected = texts();
    for _ in 0..10 {
        assert_eq!(texts(), expected);
    }
    for _ in 0..10 {
        let run = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "texts_for_another_process",
                "--ignored",
                "--nocapture",
            ])
            .output()
            .unwrap();
        let printed = String::from_utf8(run.stdout).unwrap();
        let found = printed.split(MARK).nth(1);
        assert_eq!(found, Some(expected.as_str()), "{printed}");
    }
}

#[test]
fn a_variant_is_compiled_once_and_launches_come_in_order() {
    let (recording, handles) = recorded::<f32>(Language::Wgsl, 4);
    let client = recording.client();
    launch::<f32>(&client, &handles, CubeCount::new_1d(1), 32, 2);
    launch::<f32>(&client, &handles, CubeCount::new_2d(5, 6), 32, 4);
    let launches = recording.take().unwrap();
    let cubes: Vec<_> = launches.iter().map(|launch| launch.cubes).collect();
    assert_eq!(cubes, [(3, 1, 1), (1, 1, 1), (5, 6, 1)]);
    assert!(Arc::ptr_eq(&launches[0].source, &launches[2].source));
    assert_ne!(launches[0].source.text, launches[1].source.text);
    assert!(recording.take().unwrap().is_empty());
}

#[test]
fn what_a_language_cannot_say_is_an_error_of_the_launch() {
    let (recording, handles) = recorded::<bf16>(Language::Wgsl, 4);
    let client = recording.client();
    let error = check(&client, "reading").unwrap_err();
    assert!(matches!(error, Error::Launch { .. }), "{error}");
    assert!(error.to_string().contains("bf16"), "{error}");
    let error = recording.take().unwrap_err();
    assert!(matches!(error, Error::Launch { .. }), "{error}");
    assert!(
        error.to_string().contains("recording kernels as WGSL"),
        "{error}"
    );

    // The device is none the worse for it.
    assert_eq!(check(&client, "reading"), Ok(()));
    launch::<f16>(&client, &handles, CubeCount::new_1d(1), 32, 4);
    assert_eq!(recording.take().unwrap().len(), 1);
}

#[test]
fn limits_are_those_of_the_device() {
    let recording = record(Language::Wgsl);
    let client = recording.client();
    let handles = buffers(&client, 4);
    for (cubes, units) in [(1, 1025), (65536, 32)] {
        launch::<f32>(&client, &handles, CubeCount::new_1d(cubes), units, 4);
        let error = recording.take().unwrap_err();
        assert!(matches!(error, Error::Launch { .. }), "{error}");
    }
    let hopper = record(Language::CudaSm90).client().properties().clone();
    let ampere = record(Language::CudaSm80).client().properties().clone();
    assert!(hopper.features.cube_cluster && !ampere.features.cube_cluster);
    assert!(hopper.hardware.max_shared_memory_size > ampere.hardware.max_shared_memory_size);
}

#[test]
fn buffers_keep_what_was_written() {
    fn kept(language: Language) {
        let (recording, [x, y]) = recorded::<f32>(language, 4);
        let client = recording.client();
        let ascending: Vec<u8> = (0..=255).collect();
        assert_eq!(client.read_one(x).unwrap().to_vec(), [0; 256]);
        assert_eq!(client.read_one(y.clone()).unwrap().to_vec(), ascending);
        let part = y.offset_start(16).offset_end(236);
        assert_eq!(client.read_one(part).unwrap().to_vec(), [16, 17, 18, 19]);
        // A tensor whose rows CUDA pads.
        let tensor = client.create_tensor_from_slice(&ascending[..24], [2, 3].into(), 4);
        let descriptor = tensor
            .memory
            .copy_descriptor([2, 3].into(), tensor.strides, 4);
        let read = client.read_one_unchecked_tensor(descriptor);
        assert_eq!(read.to_vec(), ascending[..24]);
    }
    kept(Language::CudaSm80);
    kept(Language::Wgsl);
}

/// What an executor was given.
struct Seen {
    cubes: (u32, u32, u32),
    lengths: Vec<usize>,
    info: Vec<u64>,
}

/// Adds one to every byte of the last buffer instead of running the kernel.
struct Increment(Arc<Mutex<Vec<Seen>>>);

impl Executor for Increment {
    fn execute(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
    ) -> Result<(), String> {
        assert!(kernel.text.contains(&kernel.entry));
        if cubes.0 == 13 {
            panic!("thirteen cubes");
        }
        let Some(last) = buffers.last_mut().filter(|_| cubes.0 != 4) else {
            return Err("four cubes".to_owned());
        };
        let bytes: Vec<u8> = last.read().iter().map(|it| it.wrapping_add(1)).collect();
        last.write(&bytes);
        let seen = Seen {
            cubes,
            lengths: buffers.iter().map(Buffer::len).collect(),
            info: info.to_vec(),
        };
        self.0.lock().unwrap().push(seen);
        Ok(())
    }
}

fn executes(language: Language) {
    let recording = record(language);
    let client = recording.client();
    let handles = buffers(&client, 4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    launch::<f32>(&client, &handles, CubeCount::new_1d(2), 32, 4);
    recording.execute_with(Box::new(Increment(seen.clone())));
    launch::<f32>(&client, &handles, CubeCount::new_1d(2), 32, 4);
    let counts = client.create_from_slice(u32::as_bytes(&[7, 8, 9]));
    launch::<f32>(
        &client,
        &handles,
        CubeCount::Dynamic(counts.binding()),
        32,
        4,
    );

    let incremented: Vec<u8> = (2..=255).chain([0, 1]).collect();
    assert_eq!(
        client.read_one(handles[1].clone()).unwrap().to_vec(),
        incremented
    );
    assert_eq!(
        client.read_one(handles[0].clone()).unwrap().to_vec(),
        [0; 256]
    );
    // Scalars by type, each padded to eight bytes, then the buffers' lengths.
    let scalars = [u64::from(0.5f32.to_bits()), 16];
    let mut seen = seen.lock().unwrap();
    for (seen, cubes) in seen.drain(..).zip([(2, 1, 1), (7, 8, 9)]) {
        assert_eq!(seen.cubes, cubes);
        assert_eq!(seen.lengths, [256, 256]);
        assert_eq!((seen.info.len(), &seen.info[..2]), (4, &scalars[..]));
    }
    drop(seen);
    assert_eq!(recording.take().unwrap().len(), 3);

    for (cubes, reason) in [(4, "four cubes"), (13, "thirteen cubes")] {
        launch::<f32>(&client, &handles, CubeCount::new_1d(cubes), 32, 4);
        let error = recording.take().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn an_executor_is_given_what_the_driver_would_be() {
    executes(Language::CudaSm80);
    executes(Language::Wgsl);
}
