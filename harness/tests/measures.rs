//! The binary as a person uses it to check and to measure a device.

mod program;

use std::path::{Path, PathBuf};
use std::time::Duration;

use program::{fails, succeeds};
use sonew_harness::lab::bench::{Bench, Part, TrainingTime};
use sonew_harness::lab::report::{Request, report};
use sonew_optimizers::OptimizerConfig;
use sonew_runtime::Selector;

#[test]
fn the_table_of_roots_has_a_row_for_each_matrix_and_method() {
    let table = succeeds(&[
        "roots",
        "--size",
        "24",
        "--on-device",
        "--device",
        "wgpu:cpu",
    ]);
    let row = |matrix: &str, method: &str| {
        table
            .lines()
            .find(|line| line.starts_with(matrix) && line.contains(&format!(" {method} ")))
            .unwrap_or_else(|| panic!("{matrix}, {method}: {table}"))
            .to_owned()
    };
    assert!(row("condition 1e8", "eigen").contains("yes"));
    assert!(row("condition 1e8", "newton-refreshed").contains("yes"));
    assert!(row("condition 1e8", "newton-refreshed, on device").contains("yes"));
    assert!(row("identity", "newton").contains("yes"));
    assert!(row("1 × 1", "newton-double").contains("yes"));
}

#[test]
fn the_table_of_stability_compares_every_policy_in_every_precision() {
    let table = succeeds(&["stability", "--noise", "1,0.01", "--device", "wgpu:cpu"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    // Two noises, three precisions, γ or none, four policies.
    assert_eq!(rows.len(), 2 * 3 * 2 * 4, "{table}");
    let find = |precision: &str, gamma: &str, removal: &str| -> &Vec<&str> {
        rows.iter()
            .find(|row| row[..4] == ["1e-2", precision, gamma, removal])
            .unwrap_or_else(|| panic!("{precision} {gamma} {removal}: {table}"))
    };
    let number = |text: &str| -> f64 { text.parse().unwrap() };
    for policy in ["outgoing", "incident", "clamp", "reweight"] {
        let kept = find("bf16", "8e-3", policy);
        assert!(number(kept[6]) <= 1.02 / 0.0078, "{kept:?}");
    }
    // What bf16 knows of such gradients is that they are all equal: every edge goes.
    let removed = find("bf16", "8e-3", "incident");
    assert!(
        number(removed[4]) < 0.01 && number(removed[8]) > 900.0,
        "{removed:?}"
    );
    let exact = find("f32", "0e0", "outgoing");
    assert_eq!(number(exact[8]), 0.0, "{exact:?}");
}

#[test]
fn a_device_is_verified_kernel_by_kernel_with_json_for_programs() {
    let on_cpu = ["--device", "wgpu:cpu", "--precision", "bf16,f16"];
    let verify = |more: &[&str]| succeeds(&[&["verify"], &on_cpu[..], more].concat());
    let table = verify(&["--kernel", "convert"]);
    assert_eq!(table.matches(" right ").count(), 2, "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&verify(&["--kernel", "adam", "--json"])).unwrap();
    let lines = json["kernels"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["verdict"], "right");
        assert!(line["error"].as_f64().unwrap() <= line["tolerance"].as_f64().unwrap());
    }
    let error = fails(&["verify", "--device", "wgpu:cpu", "--kernel", "sonew"]);
    assert!(
        error.contains("sonew-step") && error.contains("training"),
        "{error}"
    );
}

#[test]
fn a_kernel_is_timed_beside_what_the_device_copies() {
    // Beside the autoencoder a single tensor that is looked at in windows, and ends within a block.
    let on_cpu = ["bench", "--device", "wgpu:cpu", "--kernel", "adam"];
    let json = succeeds(&[&on_cpu[..], &["--size", "70001", "--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let positive = |value: &serde_json::Value| value.as_f64().unwrap() > 0.0;
    let copies = json["bench"]["ceiling"]["copies"].as_array().unwrap();
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[1]["values"], 2_837_314);
    assert!(positive(&copies[0]["bytes_per_second"]));
    let kernels = json["bench"]["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 2);
    // Four arrays read and three written.
    assert_eq!(kernels[0]["bytes"], 2_837_314 * 28);
    assert_eq!(kernels[1]["values"], 70_001);
    assert!(positive(&kernels[0]["seconds"]["median"]));
    let error = fails(&["bench", "--device", "wgpu:cpu", "--size", "4000000000"]);
    assert!(error.contains("--size"), "{error}");
}

#[test]
fn a_report_says_of_a_device_whether_it_is_right_and_how_fast() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let on_cpu = ["report", "--device", "wgpu:cpu", "--out", out];
    succeeds(&[&on_cpu[..], &["--quick", "--kernel", "sgd"]].concat());
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(
        markdown.contains("5 of 5 right or unsupported"),
        "{markdown}"
    );
    assert!(markdown.contains("GB/s"), "{markdown}");
    let json = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let device = &json["devices"][0];
    assert_eq!(device["device"]["id"], "wgpu:cpu");
    let parts = device["parts"].as_array().unwrap();
    let commands = parts.iter().map(|part| part["command"].as_str().unwrap());
    let commands: Vec<&str> = commands.map(|it| it.split(' ').next().unwrap()).collect();
    assert_eq!(commands, ["verify", "bench"]);
    assert!(parts.iter().all(|part| part["failure"].is_null()));
    assert_eq!(device["no_time_for"], serde_json::json!([]));

    let error = fails(&["report", "--device", "cuda:7", "--out", out]);
    assert!(error.contains("no cuda:7"), "{error}");
}

/// A program that takes the place of `sonew`.
#[cfg(unix)]
fn stand_in(folder: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("sonew");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[cfg(unix)]
#[test]
fn what_fails_on_a_device_is_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    // The program, but for a measurement that ends as one does whose driver is lost.
    let sonew = env!("CARGO_BIN_EXE_sonew");
    let script = format!(
        "#!/bin/sh\n[ $1 != bench ] || {{ echo the driver is gone >&2; exit 3; }}\nexec '{sonew}' \"$@\"\n"
    );
    let program = stand_in(folder.path(), &script);
    let request = Request {
        devices: vec![Selector::Software],
        kernels: vec!["sgd".into()],
        quick: true,
        time: Duration::from_secs(300),
    };
    let right = report(&program, folder.path(), &request).unwrap();
    assert!(!right);
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for word in ["5 of 5 right", "exit status: 3: the driver is gone"] {
        assert!(markdown.contains(word), "{markdown}");
    }
}

#[test]
fn the_blueprint_that_was_tuned_is_stored_for_its_device_and_used_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    let file = path.to_str().unwrap();
    let json = succeeds(&[
        "tune",
        "precondition",
        "--band",
        "0",
        "--size",
        "3000",
        "--device",
        "wgpu:cpu",
        "--out",
        file,
        "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let found = &json["tuned"];
    let chosen = &found["candidates"][found["chosen"].as_u64().unwrap() as usize];
    assert!(chosen["again"].as_f64().unwrap() > 0.0, "{chosen}");
    let stored: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let tuning = &stored["devices"][0]["blueprints"][0];
    assert_eq!(
        (&tuning["kernel"], &tuning["band"]),
        (&"precondition".into(), &0.into())
    );
    assert_eq!(tuning["blueprint"], chosen["blueprint"]);

    let verify = |file: &str| {
        vec![
            "verify".to_owned(),
            "--kernel".into(),
            "sgd".into(),
            "--precision".into(),
            "f32".into(),
            "--device".into(),
            "wgpu:cpu".into(),
            "--tuned".into(),
            file.into(),
        ]
    };
    let arguments = verify(file);
    succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());

    // A blueprint for words that hold two values shows that the file is used: one value is none of them.
    let with = |width: u32, run: u32| {
        let mut sweep = chosen["blueprint"].clone();
        sweep["sweep"]["width"] = width.into();
        sweep["sweep"]["run"] = run.into();
        sweep["sweep"]["twins"] = true.into();
        let mut file = stored.clone();
        file["devices"][0]["blueprints"][0] =
            serde_json::json!({"kernel": "sgd", "precision": "f32", "band": 0, "blueprint": sweep});
        std::fs::write(&path, file.to_string()).unwrap();
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let error = with(1, 16);
    assert!(error.contains("0 of 1"), "{error}");
    for (width, run) in [(3, 16), (4, 0), (4, 4_000_000_000)] {
        let error = with(width, run);
        assert!(
            error.contains(&format!("width {width}, run {run}")),
            "{error}"
        );
    }

    let mut other = stored;
    other["devices"][0]["name"] = "another".into();
    std::fs::write(&path, other.to_string()).unwrap();
    let error = fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        error.contains("another") && error.contains("sonew tune"),
        "{error}"
    );
    let error = fails(&["tune", "product", "--device", "wgpu:cpu", "--out", file]);
    assert!(error.contains("products run in host memory"), "{error}");
    let error = fails(&["tune", "ldl", "--device", "wgpu:cpu", "--out", file]);
    assert!(error.contains("banded-ldl"), "{error}");
    let error = fails(&[
        "tune",
        "sgd",
        "--size",
        "4000000000",
        "--device",
        "wgpu:cpu",
    ]);
    assert!(
        error.contains("--size") && !error.contains("width"),
        "{error}"
    );
}

#[test]
fn parts_of_a_training_step_and_first_uses_are_timed_and_read_again_from_json() {
    let bench = |kernel: &str| -> Bench {
        let json = succeeds(&[
            "bench", "--device", "wgpu:cpu", "--kernel", kernel, "--json",
        ]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        serde_json::from_value(json["bench"].clone()).unwrap()
    };
    let first = bench("first-use").first_uses;
    assert_eq!(first.len(), OptimizerConfig::NAMES.len());
    assert!(first.iter().all(|it| it.cold > 0.0 && it.warm > 0.0));
    let training = bench("training-step");
    let time = |part: Part| {
        let of = |it: &&TrainingTime| it.part == part;
        training.training.iter().find(of).unwrap().seconds.median
    };
    assert!(time(Part::Forward) > 0.0 && time(Part::Gradients) > 0.0);
    for name in ["adam", "tridiag-sonew", "band-4-sonew"] {
        assert!(time(Part::Optimizer(name.into())) > 0.0);
        assert!(time(Part::Step(name.into())) > 0.0);
    }
}

#[cfg(unix)]
#[test]
fn a_report_ends_in_time_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    // The program, but for checks that end at once and a measurement that would take a day.
    let sonew = env!("CARGO_BIN_EXE_sonew");
    let script = format!(
        r#"#!/bin/sh
case $1 in
verify) echo '{{"kernels": []}}' ;;
bench) exec sleep 86400 ;;
*) exec '{sonew}' "$@" ;;
esac
"#
    );
    let program = stand_in(folder.path(), &script);
    let request = Request {
        devices: vec![Selector::Software],
        kernels: vec!["sgd".into()],
        quick: true,
        time: Duration::from_secs(8),
    };
    let right = report(&program, folder.path(), &request).unwrap();
    assert!(right, "what there was no time for is not wrong");
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for word in ["0 of 0 right", "no time", "- `sonew bench --kernel sgd`"] {
        assert!(markdown.contains(word), "{markdown}");
    }
}
