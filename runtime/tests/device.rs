//! What is surveyed can be opened, computed with and timed.
//!
//! One test opens devices, on one thread: a `CubeCL` stream belongs to the thread that uses it.

use cubecl::prelude::*;
use sonew_runtime::{
    Backend, Client, Error, Format, Gpu, Processor, Selector, Support, TimingMethod, check, open,
    survey, time,
};

#[cube(launch)]
fn double(x: &Array<f32>, y: &mut Array<f32>) {
    if ABSOLUTE_POS < y.len() {
        y[ABSOLUTE_POS] = x[ABSOLUTE_POS] * 2.0;
    }
}

/// Doubles some numbers on the device, checks them, and times doing it again.
fn doubled(client: &Client) -> Result<TimingMethod, Error> {
    let values: Vec<f32> = (0..1000).map(|i| i as f32 - 400.5).collect();
    let input = client.create_from_slice(f32::as_bytes(&values));
    let output = client.empty(values.len() * size_of::<f32>());
    let launch = |units: u32| {
        double::launch::<Gpu>(
            client,
            CubeCount::Static(16, 1, 1),
            CubeDim::new_1d(units),
            // SAFETY: both buffers were made with this many numbers.
            unsafe { ArrayArg::from_raw_parts(input.clone(), values.len()) },
            // SAFETY: as above.
            unsafe { ArrayArg::from_raw_parts(output.clone(), values.len()) },
        );
    };

    launch(64);
    check(client, "reading the doubled numbers")?;
    let bytes = client.read_one(output.clone()).expect("a readable buffer");
    let expected: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
    assert_eq!(f32::from_bytes(&bytes), expected);

    let (answer, timing) = time(
        client,
        || {
            launch(64);
            42
        },
        "double",
    )?;
    assert_eq!(answer, 42);
    assert!(!timing.duration.is_zero(), "{timing:?}");

    let too_large = || launch(2 * client.properties().hardware.max_units_per_cube);
    too_large();
    let error = check(client, "reading after a launch that failed").unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Launch { .. }), "{error}");
    let error = time(client, too_large, "a launch that fails").unwrap_err();
    println!("{error}");
    assert!(
        matches!(error, Error::Launch { .. } | Error::Clock { .. }),
        "{error}"
    );
    let error = time(client, || -> u32 { panic!("on purpose") }, "a panic").unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error}");
    assert!(error.to_string().contains("on purpose"), "{error}");

    // None of these costs the device.
    let (_, timing) = time(client, || launch(64), "double again")?;
    Ok(timing.method)
}

#[test]
fn every_surveyed_device_opens_computes_and_is_timed() {
    let survey = survey();
    println!("{survey:#?}");
    if survey.devices.is_empty() {
        println!("SKIPPED: there is no device here, not even a software driver");
    }
    for listed in &survey.devices {
        let device = open(listed.id).unwrap();
        assert_eq!(device.info, *listed);
        assert!(listed.max_buffer_bytes > 0);
        assert!(listed.plane.0 <= listed.plane.1);
        assert_eq!(listed.support(Format::F32), Support::Native);
        if listed.backend == Backend::WgpuWgsl {
            assert_eq!(listed.support(Format::Bf16).word(), "words");
        }

        let method = doubled(&device.client).unwrap();
        let expected = match listed.backend {
            Backend::Cuda => TimingMethod::Host,
            Backend::WgpuWgsl | Backend::WgpuSpirv => TimingMethod::Device,
        };
        assert_eq!(method, expected, "{}", listed.id);
    }

    match open(Selector::Auto) {
        Ok(device) => assert_eq!(device.info.id, survey.devices[0].id),
        Err(error) => assert!(
            survey.devices.is_empty() && matches!(error, Error::NoDevice { .. }),
            "{error}"
        ),
    }

    let software: Vec<_> = survey
        .devices
        .iter()
        .filter(|device| device.processor == Processor::Cpu)
        .collect();
    match software[..] {
        [] => println!("SKIPPED: no software driver here, so its formats are not checked"),
        [wgsl, spirv] => {
            assert_eq!(wgsl.id, Selector::Software);
            assert_eq!(wgsl.backend, Backend::WgpuWgsl);
            assert_eq!(wgsl.support(Format::F16), Support::Native);
            assert_eq!(wgsl.support(Format::Bf16).word(), "words");
            assert_eq!(wgsl.memory_bytes, None);
            assert_eq!(spirv.id, Selector::VulkanSoftware);
            assert_eq!(spirv.backend, Backend::WgpuSpirv);
            assert_eq!(spirv.name, wgsl.name);
        }
        _ => panic!("one software driver at most, in both languages: {software:?}"),
    }

    for (kind, selector) in [
        (Backend::Cuda, Selector::Cuda(99)),
        (Backend::WgpuWgsl, Selector::Wgpu(99)),
        (Backend::WgpuSpirv, Selector::Vulkan(99)),
    ] {
        let error = open(selector).unwrap_err();
        assert!(
            matches!(error, Error::OutOfRange { .. } | Error::NoDevice { .. }),
            "{kind}: {error}"
        );
    }

    let json = serde_json::to_value(&survey).unwrap();
    for (device, json) in survey
        .devices
        .iter()
        .zip(json["devices"].as_array().unwrap())
    {
        assert_eq!(json["id"], device.id.to_string());
        assert_eq!(json["formats"][0]["format"], "f32");
        assert_eq!(json["formats"][0]["support"], "native");
    }
}
