//! The binary as a person uses it to train and to look at what there is. Long, as every
//! command has a test.

mod program;

use std::path::Path;

use program::{fails, sonew, succeeds};
use sonew_harness::arrays::{self, Array, Arrays};
use sonew_harness::train::record::{EpochRecord, LogLine, read_log, read_run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn epochs(run: &Path) -> Vec<EpochRecord> {
    let lines = read_log(run).unwrap().into_iter();
    lines
        .filter_map(|line| match line {
            LogLine::Epoch(epoch) => Some(epoch),
            _ => None,
        })
        .collect()
}

const SMALL: &[&str] = &[
    "--device",
    "wgpu:cpu",
    "--train-images",
    "300",
    "--batch",
    "100",
    "--sizes",
    "784,40,10,40,784",
    "--quiet",
];

#[test]
fn a_run_prints_its_record_as_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (command, runs) in [
        (&["train", "--optimizer", "sgd"][..], 1),
        (&["compare", "--optimizers", "sgd,adam"][..], 2),
    ] {
        let out = folder.path().join(command[0]);
        let more = ["--json", "--epochs", "1", "--steps", "2", "--out"];
        let args = [command, &more, &[text(&out)], SMALL].concat();
        let printed: serde_json::Value = serde_json::from_str(&succeeds(&args)).unwrap();
        assert_eq!(printed["folder"], text(&out));
        assert_eq!(printed["status"], "finished");
        let summary = read_run(&out).unwrap().summary;
        assert_eq!(printed["summary"], summary);
        let first = if runs == 1 { &summary } else { &summary[0] };
        assert!(first["seconds_per_evaluation"].as_f64().unwrap() > 0.0);
        assert!(first["losses"][0].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn training_lowers_the_loss_and_leaves_a_full_record() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec![
        "train",
        "--optimizer",
        "tridiag-sonew",
        "--epochs",
        "3",
        "--schedule",
        "constant",
        "--log-steps",
        "--out",
        text(&out),
    ];
    args.extend(SMALL);
    succeeds(&args);
    let log = read_log(&out).unwrap();
    let losses: Vec<f64> = log
        .iter()
        .filter_map(|line| match line {
            LogLine::Epoch(epoch) => Some(epoch.loss),
            _ => None,
        })
        .collect();
    let steps = log
        .iter()
        .filter(|line| matches!(line, LogLine::Step(_)))
        .count();
    assert_eq!((losses.len(), steps), (3, 9));
    assert!(losses[2] < losses[0] && losses[0] < 544.0, "{losses:?}");
    let run = read_run(&out).unwrap();
    assert_eq!(run.config["optimizer"]["band"], 1);
    assert_eq!(run.config["device"]["id"], "wgpu:cpu");
    for file in ["loss.svg", "loss.png"] {
        assert!(out.join(file).metadata().unwrap().len() > 1000);
    }
    // Another run into the same folder has to be asked for.
    assert!(fails(&args).contains("--overwrite"));
    args.push("--overwrite");
    succeeds(&args);
}

#[test]
fn what_stands_around_a_step_is_recorded_with_the_optimizer() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let around = [
        ["--clip-norm", "1"],
        ["--clip-value", "0.5"],
        ["--accumulate", "2"],
        ["--average", "0.9"],
        ["--schedule", "cosine,warmup=2"],
        ["--optimizer", "adam"],
        ["--epochs", "3"],
    ]
    .concat();
    succeeds(&[&["train", "--out", text(&out)], &around[..], SMALL].concat());
    let config = read_run(&out).unwrap().config;
    assert_eq!(config["optimizer"]["rule"], "adam");
    let gradients = serde_json::json!({"clip-norm": 1.0, "clip-value": 0.5, "accumulate": 2});
    assert_eq!(config["gradients"], gradients);
    assert_eq!(config["average"], 0.9);
    assert_eq!(config["schedule"], "cosine,warmup=2");
    let epochs = epochs(&out);
    assert!(epochs.iter().all(|it| it.weights_loss.is_some()));
    // Six of the nine steps before the last decay, along half a cosine.
    let share = 0.5 * (1.0 + (std::f64::consts::PI * 6.0 / 7.0).cos());
    assert!((epochs[2].lr - 1e-3 * share).abs() < 1e-12);
}

#[test]
fn the_same_seed_gives_the_same_losses_and_a_comparison_shows_every_optimizer() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let out = folder.path().join(name);
        let mut args = vec![
            "compare",
            "--optimizers",
            "adam,tridiag-sonew:graft=adam,adam:lr=1e-4",
            "--epochs",
            "2",
            "--schedule",
            "constant",
            "--out",
            text(&out),
        ];
        args.extend(SMALL);
        let table = succeeds(&args);
        let losses: Vec<_> = ["adam", "tridiag-sonew graft=adam", "adam lr=1e-4"]
            .map(|label| {
                assert!(table.contains(label), "{table}");
                read_log(out.join(label))
                    .unwrap()
                    .into_iter()
                    .filter_map(|line| match line {
                        LogLine::Epoch(epoch) => Some(epoch.loss),
                        _ => None,
                    })
                    .collect::<Vec<f64>>()
            })
            .into();
        assert!(
            out.join("table.md").exists()
                && out.join("table.csv").exists()
                && out.join("loss.png").exists()
        );
        losses
    };
    let (first, second): (Vec<_>, Vec<_>) = (run("a"), run("b"));
    assert_eq!(first, second);
    assert_ne!(first[0], first[2]);
}

#[test]
fn a_kernel_runs_on_arrays_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.safetensors"),
        folder.path().join("out.safetensors"),
    );
    let file = [
        (
            "diagonal".to_owned(),
            Array::f32(vec![3], vec![2.0, 2.0, 4.0]),
        ),
        (
            "edges".to_owned(),
            Array::f32(vec![1, 3], vec![1.0, 2.0, 0.0]),
        ),
    ];
    arrays::write(&input, &file.into()).unwrap();
    let args = [
        "kernel",
        "banded-ldl",
        "--device",
        "wgpu:cpu",
        "--in",
        text(&input),
        "--out",
        text(&output),
    ];
    succeeds(&args);
    let mut found = Arrays::read(&output).unwrap();
    // ψ_j = H_{j,j+1} / H_{j+1,j+1}, D_j = 1/(H_jj − ψ_j H_{j,j+1}).
    assert_eq!(found.take_f32("psi").unwrap().1, [0.5, 0.5, 0.0]);
    assert_eq!(found.take_f32("d").unwrap().1, [1.0 / 1.5, 1.0, 0.25]);
    assert!(
        fails(&[
            "kernel",
            "banded-ldl",
            "--in",
            text(&output),
            "--out",
            text(&output)
        ])
        .contains("diagonal")
    );
    assert!(fails(&["kernel", "qr", "--in", "a", "--out", "b"]).contains("banded-ldl"));
    assert!(succeeds(&["kernel", "--list"]).contains("edges [b, n]"));
}

#[test]
fn shampoo_trains_says_how_it_treats_each_tensor_and_records_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec![
        "train",
        "--optimizer",
        "shampoo",
        "--set",
        "start-step=2",
        "--set",
        "root-interval=2",
        "--epochs",
        "2",
        "--schedule",
        "constant",
        "--verbose",
        "--out",
        text(&out),
    ];
    args.extend(SMALL);
    let output = sonew(&args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    for line in [
        "shampoo: w0 [40, 784]: matrix of 40 × 784, p = 4",
        "shampoo: b0 [40]: vector of 40, p = 2",
        "shampoo: w1 [10, 40]: vector of 400, p = 2",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let epochs = epochs(&out);
    assert!(epochs[1].loss < epochs[0].loss);
    assert_eq!(epochs[1].roots_refused, Some(0));
    let parts: Vec<_> = epochs[1].optimizer_parts.keys().collect();
    assert_eq!(parts, ["application", "roots", "statistics"]);
}

#[test]
fn a_run_in_bf16_takes_half_the_bytes_of_one_in_f32_and_learns() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec![
        "compare",
        "--optimizers",
        "adam,tridiag-sonew",
        "--precisions",
        "f32,bf16,bf16-mixed,f16-mixed",
        "--epochs",
        "3",
        "--schedule",
        "constant",
        "--out",
        text(&out),
    ];
    args.extend(SMALL);
    let table = succeeds(&args);
    for (label, bytes) in [
        ("adam f32", "4.00 + 8.00"),
        ("adam bf16", "2.00 + 4.00"),
        ("tridiag-sonew f32", "4.00 + 12.00"),
        ("tridiag-sonew bf16", "2.00 + 6.00"),
        ("tridiag-sonew bf16-mixed", "2.00 + 12.00"),
        ("tridiag-sonew f16-mixed", "2.00 + 12.00"),
    ] {
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("{label} ")))
            .unwrap_or_else(|| panic!("{label}: {table}"));
        assert!(row.contains(bytes), "{row}");
        let losses: Vec<f64> = epochs(&out.join(label))
            .iter()
            .map(|epoch| epoch.loss)
            .collect();
        assert!(losses[2] < losses[0], "{label}: {losses:?}");
    }
}

#[test]
fn a_loss_scale_that_overflows_f16_skips_steps_until_it_fits_or_stops_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args = vec![
        "train",
        "--optimizer",
        "adam",
        "--precision",
        "f16-mixed",
        "--loss-scale",
        "1e8",
        "--epochs",
        "10",
        "--schedule",
        "constant",
        "--out",
        text(&out),
        "--overwrite",
    ];
    args.extend(SMALL);
    succeeds(&args);
    let epochs = epochs(&out);
    let last = epochs.last().unwrap();
    assert!(last.skipped_steps > 2 && last.loss_scale < 1e7, "{last:?}");
    assert!(last.loss < 0.9 * epochs[0].loss, "{last:?}");

    // Weights of 10³⁸ have no finite gradients, whatever the scale.
    for (policy, said) in [("stop", "step 1: a gradient of w"), ("skip", "no progress")] {
        let mut args = vec!["train", "--lr", "1e38", "--schedule", "constant"];
        args.extend(["--non-finite", policy, "--out", text(&out), "--overwrite"]);
        args.extend(SMALL);
        let error = fails(&args);
        assert!(error.contains(said), "{policy}: {error}");
    }
    assert!(fails(&["train", "--precision", "f32", "--weights", "master"]).contains("bf16-mixed"));
    assert!(fails(&["train", "--precision", "f32,bf16"]).contains("compare"));
}

#[test]
fn a_root_and_its_application_run_on_arrays_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |kernel: &str, arrays: &[(&str, Array)], set: &[&str]| {
        let (input, output) = (path("in.safetensors"), path("out.safetensors"));
        let file = arrays
            .iter()
            .map(|(name, array)| ((*name).to_owned(), array.clone()));
        arrays::write(&input, &file.collect()).unwrap();
        let mut args = vec!["kernel", kernel, "--device", "wgpu:cpu"];
        args.extend(["--in", text(&input), "--out", text(&output)]);
        for option in set {
            args.extend(["--set", option]);
        }
        succeeds(&args);
        Arrays::read(&output).unwrap()
    };
    let s = Array::f32(vec![2, 2], vec![16.0, 0.0, 0.0, 81.0]);
    for option in ["root=newton", "root=newton-device"] {
        let mut root = run("inverse-root", &[("s", s.clone())], &[option]);
        let x = root.take_f32("x").unwrap().1;
        for (found, expected) in x.iter().zip([0.5, 0.0, 0.0, 1.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-5, "{option}: {x:?}");
        }
    }
    let g = Array::f32(vec![2, 1], vec![4.0, 9.0]);
    let l = Array::f32(vec![2, 2], vec![0.5, 0.0, 0.0, 2.0]);
    let r = Array::f32(vec![1, 1], vec![10.0]);
    let mut applied = run(
        "kronecker-apply",
        &[("g", g.clone()), ("l", l.clone()), ("r", r)],
        &[],
    );
    assert_eq!(applied.take_f32("d").unwrap().1, [20.0, 180.0]);
    let mut left = run("kronecker-apply", &[("g", g), ("l", l)], &[]);
    assert_eq!(left.take_f32("d").unwrap().1, [2.0, 18.0]);
}

#[test]
fn the_text_of_a_kernel_is_printed_without_a_device() {
    let wgsl = succeeds(&["source", "adam", "--target", "wgsl", "--precision", "bf16"]);
    assert!(
        wgsl.starts_with("// adam, bf16 in WGSL") && wgsl.contains("@compute"),
        "{wgsl}"
    );
    let cuda = succeeds(&["source", "banded-ldl"]);
    assert!(
        cuda.contains("__global__") && cuda.contains("// banded-ldl band 6"),
        "{cuda}"
    );
    let error = fails(&["source", "ldl"]);
    assert!(error.contains("banded-ldl"), "{error}");
}

#[test]
fn mistakes_are_named_with_what_was_expected() {
    for (args, word) in [
        (&["train", "--optimizer", "adamw"][..], "tridiag-sonew"),
        (&["train", "--set", "gama=1"], "gama"),
        (&["train", "--set", "beta1=2"], "0 ≤ β < 1"),
        (&["train", "--lr", "-1"], "lr"),
        (&["train", "--device", "gpu"], "wgpu:cpu"),
        (
            &["train", "--data", "/nonexistent/images"],
            "/nonexistent/images",
        ),
        (&["train", "--train-images", "60001"], "60000"),
        (&["train", "--schedule", "sine"], "warmup"),
        (&["compare", "--optimizers", "adam:beta1"], "KEY=VALUE"),
    ] {
        let error = fails(args);
        assert!(error.contains(word), "{args:?}: {error}");
    }
}

#[test]
fn devices_and_optimizers_are_listed() {
    assert!(succeeds(&["devices"]).contains("wgpu:cpu"));
    let listed = succeeds(&["optimizers"]);
    assert!(listed.contains("relative-gamma") && listed.contains("band-4-sonew"));
}

#[test]
fn without_a_folder_for_sockets_no_driver_complains() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(["devices"])
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    assert!(output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("XDG_RUNTIME_DIR"), "{error}");
}
