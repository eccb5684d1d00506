//! The binary as a person uses it.

use std::path::Path;
use std::process::{Command, Output};

use sonew_harness::arrays::{self, Array, Arrays};
use sonew_harness::record::{LogLine, read_log, read_run};

fn sonew(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(args)
        .output()
        .expect("the binary was built with the tests")
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = sonew(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = sonew(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    error
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
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
        (&["train", "--schedule", "cosine"], "warmup"),
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
