//! The last weights of a run in a file: `train --save`, and `evaluate` and `train --init`, which read it.

mod program;

use std::fs;
use std::path::Path;

use program::{fails, sonew, succeeds};
use serde_json::Value;
use sonew_harness::arrays::Arrays;

const SMALL: &[&str] = &[
    "--device",
    "wgpu:cpu",
    "--train-images",
    "300",
    "--batch",
    "100",
    "--sizes",
    "784,16,8,16,784",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A short run into a folder of its own, with what else is given.
fn train<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let run = ["train", "--optimizer", "adam", "--quiet", "--out"];
    let length = ["--epochs", "2", "--schedule", "constant"];
    [&run[..], &[text(out)], &length, SMALL, more].concat()
}

fn evaluate<'a>(weights: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["evaluate", "--weights", text(weights)], SMALL, more].concat()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args)).unwrap()
}

#[test]
fn evaluating_saved_weights_gives_the_bits_of_the_loss_that_training_gave() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    fs::write(&weights, "replaced").unwrap();
    let plain: &[&str] = &[];
    // What is evaluated then are the averages, and tensors lie in other places.
    let averaged = &["--average", "0.9", "--group", "b*:optimizer=momentum"][..];
    for (precision, others) in [
        ("f32", plain),
        ("bf16", plain),
        ("bf16-mixed", plain),
        ("f16-mixed", averaged),
    ] {
        let out = folder.path().join(precision);
        let options = ["--precision", precision, "--json"];
        let saved = [&options[..], &["--save", text(&weights)], others].concat();
        let run = json(&train(&out, &saved));
        let losses = run["summary"]["losses"].as_array().unwrap();
        let last = losses[losses.len() - 1].as_f64().unwrap();
        assert_eq!(run["config"]["save"], text(&weights));
        let found = json(&evaluate(&weights, &options));
        assert_eq!(found["loss"].as_f64().unwrap(), last, "{precision}");
        assert_eq!(
            (&found["examples"], &found["precision"]),
            (&300.into(), &precision.into())
        );
        let printed = succeeds(&evaluate(&weights, &options[..2]));
        let expected = format!("loss {last:.3} nats per image over 300 images in {precision}");
        assert_eq!(printed.trim_end(), expected);
        // A run that starts there and stays has the same loss.
        let stays = ["--lr", "0", "--init", text(&weights), "--overwrite"];
        let run = json(&train(&out, &[&options[..], &stays].concat()));
        assert_eq!(run["summary"]["losses"][0].as_f64().unwrap(), last);
    }
    let mut arrays = Arrays::read(&weights).unwrap();
    let names: Vec<&str> = arrays.names().collect();
    assert_eq!(names, ["b0", "b1", "b2", "b3", "w0", "w1", "w2", "w3"]);
    assert_eq!(arrays.get("w0").unwrap().dtype(), "F32");
    assert!(arrays.take_f32_of_shape("w0", &[16, 784]).is_ok());
    assert!(arrays.take_f32_of_shape("b3", &[784]).is_ok());
}

#[test]
fn weights_are_saved_into_the_folder_that_the_run_makes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/run");
    let weights = out.join("weights.safetensors");
    let printed = succeeds(&train(&out, &["--save", text(&weights)]));
    let line = format!("weights {}", text(&weights));
    assert!(printed.lines().any(|it| it == line), "{printed}");
    succeeds(&evaluate(&weights, &[]));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_a_run_begins_and_a_comparison_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let absent = folder.path().join("absent/weights.safetensors");
    for (path, word) in [
        (text(&absent), "absent"),
        (text(folder.path()), "directory"),
    ] {
        let error = fails(&train(&out, &["--save", path]));
        let found = error.contains("writing arrays to") && error.contains(word);
        assert!(found, "{error}");
    }
    for name in ["run.json", "log.jsonl", "loss.png"] {
        let error = fails(&train(&out, &["--save", text(&out.join(name))]));
        assert!(error.contains(name) && error.contains("record"), "{error}");
    }
    let file = folder.path().join("weights");
    let mut args = train(&out, &["--save", text(&file)]);
    args[0] = "compare";
    args[1] = "--optimizers";
    let output = sonew(&args);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("unexpected argument '--save'"), "{error}");
    // Nothing was made, not even for a moment that left something.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_diverges_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (out, weights) = (folder.path().join("run"), folder.path().join("weights"));
    fs::write(&weights, "earlier").unwrap();
    fails(&train(&out, &["--lr", "1e38", "--save", text(&weights)]));
    assert_eq!(fs::read_to_string(&weights).unwrap(), "earlier");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_saves_the_weights_of_its_last_step() {
    use sonew_harness::train::record::read_log;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let folder = tempfile::tempdir().unwrap();
    let (out, weights) = (folder.path().join("run"), folder.path().join("weights"));
    let long = ["--save", text(&weights)];
    let mut args = train(&out, &long);
    let epochs = args.iter().position(|it| *it == "--epochs").unwrap();
    args[epochs + 1] = "1000000";
    let mut child = Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(&args)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !read_log(&out).is_ok_and(|log| !log.is_empty()) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!weights.exists());
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let loss = json(&evaluate(&weights, &["--json"]))["loss"].as_f64();
    // The first weights have one of 544.
    assert!(loss.is_some_and(|it| it < 540.0), "{loss:?}");
}

#[test]
fn evaluating_what_are_no_weights_of_the_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (out, weights) = (folder.path().join("run"), folder.path().join("weights"));
    succeeds(&train(&out, &["--save", text(&weights)]));
    let absent = folder.path().join("absent");
    assert!(fails(&evaluate(&absent, &[])).contains("absent"));
    let mut args = evaluate(&weights, &[]);
    let sizes = args.iter().position(|it| *it == "--sizes").unwrap();
    args[sizes + 1] = "784,8,784";
    let error = fails(&args);
    assert!(
        error.contains("weights: ") && error.contains("[8, 784]"),
        "{error}"
    );
    let batch = args.iter().position(|it| *it == "--batch").unwrap();
    args[batch + 1] = "301";
    assert!(fails(&args).contains("301"));
}
