//! Groups of tensors on the command line: what is said, recorded and saved.

mod program;

use std::fs;
use std::path::{Path, PathBuf};

use program::{fails, sonew, succeeds};
use sonew_harness::train::record::{LogLine, read_log, read_run};

/// The command of a run of two epochs of four steps on images of 4 × 4, and its folder.
fn words(place: &Path, others: &[&str]) -> (PathBuf, Vec<String>) {
    let (data, run) = (place.join("images"), place.join("run"));
    let mut bytes = vec![0, 0, 8, 3];
    for length in [40u32, 4, 4] {
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend((0..640u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8));
    fs::write(&data, bytes).unwrap();
    let mut words = vec!["train", "--overwrite", "--out", run.to_str().unwrap()];
    words.extend(["--data", data.to_str().unwrap(), "--sizes", "16,8,16"]);
    words.extend(["--batch", "10", "--epochs", "2", "--schedule", "constant"]);
    words.extend(others);
    let words = words.into_iter().map(String::from).collect();
    (run, words)
}

fn train(place: &Path, others: &[&str]) -> PathBuf {
    let (run, words) = words(place, others);
    succeeds(&words.iter().map(String::as_str).collect::<Vec<_>>());
    run
}

fn refused(place: &Path, others: &[&str]) -> String {
    let (_, words) = words(place, others);
    fails(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn losses(run: &Path) -> Vec<f64> {
    let lines = read_log(run).unwrap().into_iter();
    lines
        .filter_map(|line| match line {
            LogLine::Epoch(epoch) => Some(epoch.loss),
            _ => None,
        })
        .collect()
}

#[test]
fn what_each_tensor_gets_is_said_and_recorded() {
    let place = tempfile::tempdir().unwrap();
    let groups = [
        ["--group", "*:lr=0.5"],
        ["--group", "b*:frozen"],
        ["--group", "b1:frozen=false,optimizer=adam"],
    ];
    let options = [&groups.concat()[..], &["--verbose"]].concat();
    let (run, words) = words(place.path(), &options);
    let output = sonew(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8(output.stderr).unwrap();
    let tensors = [
        "w0 [8, 16]: tridiag-sonew, learning rate × 0.5",
        "b0 [8]: frozen",
        "w1 [16, 8]: tridiag-sonew, learning rate × 0.5",
        "b1 [16]: adam, learning rate × 0.5",
    ];
    for line in tensors {
        assert!(said.contains(line), "{said}");
    }
    let config = read_run(&run).unwrap().config;
    assert_eq!(config["tensors"], serde_json::json!(tensors));
    assert_eq!(config["groups"].as_array().unwrap().len(), 3);
}

#[test]
fn weights_of_an_arranged_layout_are_saved_by_name_and_evaluate_to_the_same_loss() {
    let place = tempfile::tempdir().unwrap();
    let saved = place.path().join("last.safetensors");
    let saved = saved.to_str().unwrap();
    for precision in ["f32", "bf16", "f16-mixed"] {
        let of_groups = [
            "--group",
            "w1:optimizer=adam",
            "--group",
            "b0:optimizer=sgd",
        ];
        let others = ["--save", saved, "--precision", precision];
        let run = train(place.path(), &[of_groups, others].concat());
        let data = place.path().join("images");
        let data = data.to_str().unwrap();
        let evaluated = succeeds(&[
            "evaluate",
            "--weights",
            saved,
            "--data",
            data,
            "--sizes",
            "16,8,16",
            "--batch",
            "10",
            "--precision",
            precision,
            "--json",
        ]);
        let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
        assert_eq!(
            evaluated["loss"].as_f64(),
            losses(&run).last().copied(),
            "{precision}"
        );
    }
}

#[test]
fn where_all_is_frozen_nothing_moves_and_no_state_is_held() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), &["--group", "*:frozen", "--clip-norm", "1"]);
    let [first, last] = losses(&run)[..] else {
        panic!("two epochs");
    };
    assert_eq!(first.to_bits(), last.to_bits());
    let summary = read_run(&run).unwrap().summary;
    let state = summary["state_bytes_per_parameter"].as_f64().unwrap();
    assert_eq!(state.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_group_of_the_same_optimizer_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let alone = losses(&train(place.path(), &[]));
    let group = ["--group", "b*:optimizer=tridiag-sonew,lr=1"];
    assert_eq!(losses(&train(place.path(), &group)), alone);
}

#[test]
fn what_fits_no_tensor_or_says_nothing_is_refused_with_what_there_is() {
    let place = tempfile::tempdir().unwrap();
    for (options, expected) in [
        (["--group", "x*:lr=1"], "there are w0 [8, 16]"),
        (["--group", "[*,30]:lr=1"], "there are w0 [8, 16]"),
        (
            ["--group", "b*:lr"],
            "expected KEY=VALUE or frozen, found `lr`",
        ),
        (
            ["--group", "b*:optimizer=adam,chains=rows"],
            "adam has none",
        ),
        (["--accumulate", "9"], "at most the 8 batches of the run"),
    ] {
        let error = refused(place.path(), &options);
        assert!(error.contains(expected), "{options:?}: {error}");
    }
}
