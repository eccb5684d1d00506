//! A machine without drivers: values and advice, no panic.
//!
//! The machine of the test may have drivers, so each test runs this file again in a child process
//! whose environment hides them.

// Metal cannot be hidden.
#![cfg(not(target_vendor = "apple"))]

use std::process::{Command, Output};

use sonew_runtime::{Error, Selector, Sought, open, survey};

/// Runs one of the ignored tests below with the Vulkan and CUDA drivers out of sight.
fn in_a_bare_environment(test: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env("CUDA_PATH", "/nonexistent")
        .output()
        .unwrap()
}

fn assert_quiet_success(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stdout
}

#[test]
fn a_survey_without_drivers_says_what_it_looked_for_and_what_to_install() {
    let stdout = assert_quiet_success(&in_a_bare_environment("child_surveys"));
    assert!(stdout.contains("0 devices"), "{stdout}");
    assert!(stdout.contains("not found"), "{stdout}");
}

#[test]
fn opening_without_drivers_is_a_typed_error_with_advice() {
    assert_quiet_success(&in_a_bare_environment("child_opens"));
}

#[test]
#[ignore = "run by a test above in a child process"]
fn child_surveys() {
    let survey = survey();
    println!("{} devices", survey.devices.len());
    for item in survey.missing.iter().flat_map(|it| &it.looked_for) {
        println!("looked for {item}");
    }
    let kinds: Vec<Sought> = survey.missing.iter().map(|it| it.kind).collect();
    assert_eq!(
        kinds,
        [Sought::Cuda, Sought::WgpuGpu, Sought::SoftwareDriver]
    );
    for missing in &survey.missing {
        assert!(!missing.reason.is_empty(), "{missing:?}");
        assert!(!missing.advice.is_empty(), "{missing:?}");
    }
    #[cfg(feature = "cuda")]
    for needed in ["libcuda.so.1", "libnvrtc", "CUDA_PATH"] {
        let looked_for = &survey.missing[0].looked_for;
        assert!(looked_for.iter().any(|it| it.what.contains(needed)));
    }
    #[cfg(all(feature = "wgpu", target_os = "linux"))]
    assert!(
        survey.missing[1].looked_for[0]
            .what
            .contains("libvulkan.so.1")
    );
}

#[test]
#[ignore = "run by a test above in a child process"]
fn child_opens() {
    let expected = [
        (Selector::Cuda(0), vec![Sought::Cuda]),
        (Selector::Wgpu(0), vec![Sought::WgpuGpu]),
        (Selector::Software, vec![Sought::SoftwareDriver]),
        (
            Selector::Auto,
            vec![Sought::Cuda, Sought::WgpuGpu, Sought::SoftwareDriver],
        ),
    ];
    for (asked, kinds) in expected {
        // Twice: a failed attempt must not leave anything behind.
        for _ in 0..2 {
            let error = open(asked).unwrap_err();
            let text = error.to_string();
            let Error::NoDevice { selector, missing } = error else {
                panic!("{asked}: {text}");
            };
            assert_eq!(selector, asked);
            assert_eq!(missing.iter().map(|it| it.kind).collect::<Vec<_>>(), kinds);
            assert!(text.contains(&format!("`{asked}`")), "{text}");
            for it in &missing {
                assert!(text.contains(&it.advice), "{text}");
            }
        }
    }
}
