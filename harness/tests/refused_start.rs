//! Starts that are refused: before anything is made, so that the corrected command finds nothing in its way.

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use program::{fails, sonew, succeeds};
use sonew_harness::train::record::{RunStatus, read_run};

const SMALL: &[&str] = &[
    "--device",
    "wgpu:cpu",
    "--train-images",
    "200",
    "--sizes",
    "784,16,8,16,784",
    "--schedule",
    "constant",
    "--quiet",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A command on few images and a small network, with what else is given; a later argument counts before an earlier one.
fn small<'a>(command: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![command];
    let given = |key: &str| more.contains(&key);
    let pairs = SMALL.chunks(2).filter(|pair| !given(pair[0]));
    args.extend(pairs.flatten());
    args.extend(["--out", text(out)]);
    for (key, value) in [("--batch", "100"), ("--epochs", "2")] {
        if !given(key) {
            args.extend([key, value]);
        }
    }
    args.extend(more);
    args
}

#[test]
fn a_refused_start_leaves_no_folder_and_allocates_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("deep/run");
    let file = parent.path().join("file");
    fs::write(&file, "no arrays").unwrap();
    let refused: &[(&[&str], &[&str])] = &[
        (&["--batch", "201"], &["201", "200"]),
        (&["--batch", "20000000000"], &["20000000000", "200"]),
        (&["--batch", "18446744073709551615"], &["200"]),
        (&["--batch", "0"], &["--batch", "found 0"]),
        (&["--batch", "-1"], &["--batch", "-1"]),
        (&["--epochs", "-1"], &["--epochs", "-1"]),
        (&["--sizes", "784,16,8,16,783"], &["--sizes", "783"]),
        (&["--sizes", "784,784"], &["three sizes"]),
        (&["--sizes", "784,0,784"], &["none of them 0"]),
        (&["--sizes", "784,4000000000000,784"], &["2³¹"]),
        // 8 GB of parameters, which nothing can hold in one buffer of this device.
        (
            &["--sizes", "784,1300000,784"],
            &["parameter arena", "bytes"],
        ),
        (&["--schedule", "paper=1"], &["paper=1"]),
        (&["--schedule", "cosine=1"], &["cosine=1"]),
        (
            &["--schedule", "cosine,warmup=4"],
            &["a warm-up of 4 steps", "4;"],
        ),
        (&["--clip-norm", "0"], &["clip-norm", "> 0"]),
        (&["--clip-value", "-1"], &["clip-value", "> 0"]),
        (&["--accumulate", "0"], &["accumulate", "≥ 1"]),
        (&["--average", "1"], &["average", "0 ≤ β < 1"]),
        (&["--products", "split"], &["no matrix units for bf16"]),
        (&["--products", "tf32"], &["no matrix units for tf32"]),
        (
            &["--products", "fast"],
            &["fast", "auto, plain, split or tf32"],
        ),
        (&["--init", text(&file)], &["file"]),
        (&["--order", text(&file)], &["file"]),
        (&["--init", "/nonexistent/w"], &["/nonexistent/w"]),
        (&["--order", "/nonexistent/o"], &["/nonexistent/o"]),
        (&["--tuned", "/nonexistent/t"], &["/nonexistent/t"]),
        (&["--data", "/nonexistent/d"], &["/nonexistent/d"]),
        (&["--train-images", "60001"], &["--train-images", "60000"]),
        (&["--set", "gama=1"], &["gama"]),
        (&["--lr", "-1"], &["lr"]),
        // Finite in f64, not in the f32 that kernels are given.
        (&["--lr", "1e39"], &["--lr", "1e39", "f32"]),
        (&["--set", "weight-decay=1e39"], &["weight-decay", "f32"]),
        (&["--set", "beta2=0.99999999"], &["beta2", "f32"]),
        (
            &["--set", "relative-gamma=word"],
            &["relative-gamma", "`auto`"],
        ),
        (&["--loss-scale", "1e31"], &["--loss-scale", "1e30"]),
        (
            &["--sizes", "784,8,784", "--sizes", "784,8,784"],
            &["--sizes", "multiple"],
        ),
    ];
    for command in ["train", "compare"] {
        for (args, words) in refused {
            let error = fails(&small(command, &out, args));
            for word in *words {
                assert!(error.contains(word), "{command} {args:?}: {error}");
            }
            assert!(!out.parent().unwrap().exists(), "{command} {args:?}");
        }
    }
    succeeds(&small("train", &out, &[]));
}

#[test]
fn a_refused_start_leaves_no_folder_of_the_default_name_either() {
    let here = tempfile::tempdir().unwrap();
    for args in [
        &["train", "--batch", "60001"][..],
        &["compare", "--batch", "60001"],
    ] {
        let program = Command::new(env!("CARGO_BIN_EXE_sonew"))
            .args(args)
            .args(["--device", "wgpu:cpu"])
            .current_dir(here.path())
            .output()
            .unwrap();
        assert_eq!(program.status.code(), Some(1));
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_leaves_no_part_of_its_path() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = fails(&small("train", &file, &[]));
    assert!(error.contains("expected a folder"), "{error}");
    fails(&small("train", &file.join("below"), &[]));
    // The name is longer than a file system takes; the folder before it is not.
    let long = parent.path().join("new").join("n".repeat(300));
    fails(&small("train", &long, &[]));
    assert!(!parent.path().join("new").exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_refused_setting_leaves_the_run_that_was_to_be_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("run");
    succeeds(&small("train", &out, &["--optimizer", "sgd"]));
    let before = fs::read(out.join("run.json")).unwrap();
    for (more, word) in [
        (["--optimizer", "sgd", "--lr", "1e39"], "--lr"),
        (
            ["--optimizer", "sgd", "--set", "epsilon=1"],
            "no setting `epsilon`",
        ),
        (
            ["--optimizer", "band-17-sonew", "--seed", "1"],
            "band of at most 16",
        ),
    ] {
        let error = fails(&small(
            "train",
            &out,
            &[&more[..], &["--overwrite"]].concat(),
        ));
        assert!(error.contains(word), "{more:?}: {error}");
        assert_eq!(fs::read(out.join("run.json")).unwrap(), before, "{more:?}");
        assert!(out.join("loss.png").exists(), "{more:?}");
    }
}

#[test]
fn what_only_measures_refuses_at_once_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let new = parent.path().join("new");
    let file = parent.path().join("file");
    fs::write(&file, "mine").unwrap();
    let tune = [
        "tune", "sgd", "--size", "100", "--device", "wgpu:cpu", "--out",
    ];
    for (args, word) in [
        (
            &["report", "--kernel", "nan", "--out", text(&new)][..],
            "no kernel is called `nan`",
        ),
        (
            &["report", "--kernel=--json", "--out", text(&new)],
            "no kernel is called `--json`",
        ),
        (
            &["report", "--device", "wgpu:cpu", "--out", text(&file)],
            "file",
        ),
        (&[&tune[..], &[text(parent.path())]].concat(), "directory"),
        (&[&tune[..], &[text(&new.join("t.json"))]].concat(), "new"),
        (&["stability", "--noise", "nan"], "finite in f32"),
        (&["stability", "--noise", "inf"], "finite in f32"),
        (&["roots", "--recorded", "0"], "--recorded"),
        (
            &["roots", "--size", "4", "--device", "cuda:0"],
            "--on-device",
        ),
        (&["bench", "--band", "1", "--band", "1"], "multiple"),
        (
            &["verify", "--precision", "f32", "--precision", "f32"],
            "multiple",
        ),
    ] {
        let error = fails(args);
        assert!(error.contains(word), "{args:?}: {error}");
        assert!(!new.exists(), "{args:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

const LONG: &str = "shampoo:start-step=1:root-interval=1:statistics-interval=1:epsilon=1e-6:graft-epsilon=1e-8:weight-decay=0:residual-threshold=0.1:tolerated-failures=3:block-size=1024:merge-size=1:largest-size=4096:exponent=0:nesterov=false:vectors=true:ridge=relative:root=eigen";

#[test]
fn a_long_list_of_settings_gets_a_short_folder_of_its_own() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("compare");
    let optimizers = format!("sgd,{LONG},{LONG}:beta1=0.8");
    let args = small("compare", &out, &["--optimizers", &optimizers]);
    let table = succeeds(&args);
    assert!(table.contains("beta1=0.8"), "{table}");
    let config = read_run(&out).unwrap().config;
    let mut folders: Vec<&str> = config
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| plan["folder"].as_str().unwrap())
        .collect();
    assert!(folders.iter().all(|name| name.len() < 80), "{folders:?}");
    for (name, momentum) in folders.iter().zip([0.0, 0.900055, 0.8]).skip(1) {
        let run = read_run(out.join(name)).unwrap();
        assert_eq!(run.status, RunStatus::Finished);
        assert_eq!(run.config["optimizer"]["beta1"], momentum, "{name}");
    }
    folders.dedup();
    assert_eq!(folders.len(), 3, "{folders:?}");
    assert!(out.join("table.md").exists());

    // The default folder of a single run is named the same way.
    let mut args = vec![
        "train",
        "--optimizer",
        LONG,
        "--epochs",
        "1",
        "--batch",
        "100",
    ];
    args.extend(SMALL);
    let program = Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(args)
        .current_dir(parent.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&program.stderr);
    assert!(program.status.success(), "{error}");
    assert_eq!(fs::read_dir(parent.path().join("runs")).unwrap().count(), 1);
}

#[test]
fn what_no_run_wrote_is_refused_before_training_and_stays() {
    let parent = tempfile::tempdir().unwrap();
    for (command, name) in [
        ("train", "loss.svg"),
        ("train", "loss.png"),
        ("train", "log.jsonl"),
        ("train", "run.json"),
        ("compare", "table.md"),
        ("compare", "table.csv"),
        ("compare", "adam/log.jsonl"),
        ("compare", "adam/loss.svg"),
        // A file where a folder is to be.
        ("compare", "sgd"),
    ] {
        let out = parent.path().join(name.replace('/', " "));
        let file = out.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        for more in [&[][..], &["--overwrite"]] {
            let mut args = small(command, &out, more);
            if command == "compare" {
                args.extend(["--optimizers", "sgd,adam"]);
            }
            let output = sonew(&args);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{name} {more:?}: {error}");
            assert!(error.contains("choose another folder"), "{error}");
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                "mine",
                "{name} {more:?}"
            );
            assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "{name} {more:?}");
        }
    }
}

#[test]
fn a_run_below_a_comparison_is_replaced_only_if_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("compare");
    let adam = out.join("adam");
    succeeds(&small("train", &adam, &["--optimizer", "adam"]));
    let before = fs::read(adam.join("run.json")).unwrap();
    let optimizers = ["--optimizers", "sgd,adam"];
    let error = fails(&small("compare", &out, &optimizers));
    assert!(error.contains("--overwrite"), "{error}");
    assert_eq!(fs::read(adam.join("run.json")).unwrap(), before);
    assert!(!out.join("sgd").exists() && !out.join("run.json").exists());
    let more = [&optimizers[..], &["--overwrite"]].concat();
    succeeds(&small("compare", &out, &more));
    assert_ne!(fs::read(adam.join("run.json")).unwrap(), before);
    // A table of a comparison is its own, one that lies beside a run is not.
    succeeds(&small("compare", &out, &more));
    fs::write(adam.join("table.md"), "mine").unwrap();
    let more = [&optimizers[..], &["--overwrite"]].concat();
    let error = fails(&small("compare", &adam, &more));
    assert!(error.contains("table.md"), "{error}");
    succeeds(&small("train", &adam, &["--overwrite"]));
    assert_eq!(fs::read_to_string(adam.join("table.md")).unwrap(), "mine");
}
