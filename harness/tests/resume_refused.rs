//! Runs that cannot go on: what is refused changes no byte of the folder, and says what was found and what to do.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{fails, succeeds};
use sonew_harness::train::record::{RunStatus, read_run};

/// Images of 4 × 4, unlike those of another seed.
fn images(path: &Path, seed: u32) {
    let mut bytes = vec![0, 0, 8, 3];
    for length in [40u32, 4, 4] {
        bytes.extend(length.to_be_bytes());
    }
    bytes
        .extend((0..640u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 7) as u8));
    fs::write(path, bytes).unwrap();
}

/// Trains in the folder `name` of `place` for two epochs of four steps.
fn train(place: &Path, name: &str, others: &[&str]) -> PathBuf {
    let (data, run) = (place.join("images"), place.join(name));
    images(&data, 0);
    let mut words = vec!["train", "--out", run.to_str().unwrap()];
    words.extend(["--data", data.to_str().unwrap(), "--sizes", "16,8,16"]);
    words.extend(["--batch", "10", "--epochs", "2", "--schedule", "constant"]);
    words.push("--quiet");
    words.extend(others);
    succeeds(&words);
    run
}

const EACH_EPOCH: &[&str] = &["--checkpoint-every", "1"];

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Requires that a resumption is refused with these words and changes nothing.
fn refused(run: &Path, others: &[&str], expected: &[&str]) {
    let before = files(run);
    let mut words = vec!["train", "--resume", run.to_str().unwrap()];
    words.extend(others);
    let error = fails(&words);
    for part in expected {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(files(run) == before, "changed by what was refused: {error}");
}

fn checkpoint(run: &Path, step: usize) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

#[test]
fn a_record_with_nothing_to_go_on_from_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", &[]);
    refused(&run, &[], &["has finished", "no checkpoint", "--overwrite"]);
    refused(&run, EACH_EPOCH, &["has finished", "no checkpoint"]);
    // As a killed run leaves it.
    let record = run.join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replacen("finished", "running", 1)).unwrap();
    refused(&run, &[], &["begun without --checkpoint-every"]);
    for damaged in ["", &text[..text.len() / 2]] {
        fs::write(&record, damaged).unwrap();
        refused(&run, &[], &["run.json", "EOF"]);
    }
}

#[test]
fn checkpoints_that_are_damaged_renamed_or_of_another_run_are_named() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let more = ["--epochs", "4"];
    refused(
        &run,
        &["--epochs", "1"],
        &["has taken 8 steps", "asked for 4", "--epochs"],
    );
    let (newer, older) = (checkpoint(&run, 8), checkpoint(&run, 4));
    fs::rename(&newer, checkpoint(&run, 99)).unwrap();
    fs::remove_file(&older).unwrap();
    refused(&run, &more, &["after step 8", "by its name after step 99"]);
    fs::remove_file(checkpoint(&run, 99)).unwrap();
    for (options, expected) in [
        (
            ["--optimizer", "adam"],
            "checkpoint after step 8 is of another run",
        ),
        (
            ["--precision", "bf16"],
            "none of its checkpoints can be read",
        ),
    ] {
        let other = train(place.path(), options[1], &[EACH_EPOCH, &options].concat());
        fs::copy(checkpoint(&other, 8), &newer).unwrap();
        refused(&run, &more, &[expected]);
    }
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::write(run.join("checkpoints"), "").unwrap();
    refused(&run, &more, &["checkpoints"]);
}

#[test]
fn a_log_that_is_cut_or_not_there_is_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let log = run.join("log.jsonl");
    let mut bytes = fs::read(&log).unwrap();
    bytes.pop();
    fs::write(&log, &bytes).unwrap();
    let found = format!("has {} bytes and had {}", bytes.len(), bytes.len() + 1);
    refused(&run, &[], &[&found, "put the whole one back"]);
    fs::remove_file(&log).unwrap();
    refused(&run, &[], &["log.jsonl"]);
}

#[test]
fn other_data_under_the_same_name_and_files_that_are_gone_are_told() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let data = place.path().join("images");
    images(&data, 12_345);
    refused(&run, &["--epochs", "3"], &["the images are not those"]);
    fs::remove_file(&data).unwrap();
    refused(
        &run,
        &[],
        &["reading images", "working folder", "give the file anew"],
    );
    let moved = place.path().join("moved");
    images(&moved, 0);
    let path = run.to_str().unwrap();
    let moved = moved.to_str().unwrap();
    succeeds(&["train", "--resume", path, "--epochs", "3", "--data", moved]);
    assert_eq!(read_run(&run).unwrap().status, RunStatus::Finished);
}

#[test]
fn checkpoints_without_a_run_and_a_file_in_their_place_are_not_replaced() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let again = |expected: &str| {
        let before = files(&run);
        let error = fails(&["train", "--overwrite", "--out", run.to_str().unwrap()]);
        assert!(error.contains(expected), "{error}");
        assert!(files(&run) == before, "{error}");
    };
    for own in ["run.json", "log.jsonl", "loss.svg", "loss.png"] {
        fs::remove_file(run.join(own)).unwrap();
    }
    again("holds checkpoints");
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::write(run.join("checkpoints"), "mine").unwrap();
    again("holds checkpoints");
}

#[test]
fn a_learning_rate_asked_for_on_top_counts_before_that_of_the_optimizer() {
    let place = tempfile::tempdir().unwrap();
    let options = ["--optimizer", "adam:lr=1e-3:beta2=0.9"];
    let run = train(place.path(), "run", &[EACH_EPOCH, &options].concat());
    let path = run.to_str().unwrap();
    succeeds(&["train", "--resume", path, "--lr", "1e-5", "--epochs", "3"]);
    assert_eq!(read_run(&run).unwrap().config["lr"], 1e-5);
    succeeds(&["train", "--resume", path, "--epochs", "4"]);
    let config = read_run(&run).unwrap().config;
    assert_eq!(
        (&config["lr"], &config["epochs"]),
        (&1e-5.into(), &4.into())
    );
    assert_eq!(config["optimizer"]["beta2"], 0.9);
}

/// With a rate of 10³⁰ all is lost with the second step, which skipping does not bring back.
#[test]
fn what_has_come_to_nothing_does_not_replace_a_good_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let path = run.to_str().unwrap();
    let good = fs::read(checkpoint(&run, 8)).unwrap();
    let error = fails(&["train", "--resume", path, "--epochs", "6", "--lr", "1e30"]);
    assert!(error.contains("try a smaller --lr"), "{error}");
    let status = read_run(&run).unwrap().status;
    assert!(matches!(status, RunStatus::Diverged(_)), "{status:?}");
    assert!(fs::read(checkpoint(&run, 8)).unwrap() == good);
    assert!(!checkpoint(&run, 24).exists());
    succeeds(&["train", "--resume", path, "--lr", "1e-3"]);
    assert_eq!(read_run(&run).unwrap().status, RunStatus::Finished);
}

#[test]
fn of_groups_the_factors_may_change_and_nothing_else_and_nothing_around_the_step_may_go() {
    let place = tempfile::tempdir().unwrap();
    let around = ["--group", "b*:lr=0.5,weight-decay=0.1", "--accumulate", "2"];
    let run = train(place.path(), "run", &[EACH_EPOCH, &around].concat());
    for (others, expected) in [
        (&["--group", "b*:weight-decay=0.2"][..], "groups is"),
        (&["--group", "w0:frozen"], "groups is"),
        (&["--accumulate", "1"], "gradients is null now"),
        (&["--average", "0.9"], "average is 0.9 now"),
        (&["--clip-norm", "1"], "gradients.clip-norm is 1.0 now"),
    ] {
        refused(&run, others, &[expected]);
    }
    let path = run.to_str().unwrap();
    let more = ["--epochs", "3", "--group", "b*:lr=0.25", "--quiet"];
    succeeds(&[&["train", "--resume", path][..], &more].concat());
    assert_eq!(read_run(&run).unwrap().config["groups"][1]["lr"], 0.25);
}

#[test]
fn a_run_that_another_program_still_writes_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let run = train(place.path(), "run", EACH_EPOCH);
    let log = fs::OpenOptions::new()
        .append(true)
        .open(run.join("log.jsonl"))
        .unwrap();
    log.lock().unwrap();
    refused(
        &run,
        &["--epochs", "3"],
        &["another program still writes this run", "wait"],
    );
    drop(log);
    let path = run.to_str().unwrap();
    succeeds(&["train", "--resume", path, "--epochs", "3", "--quiet"]);
}
