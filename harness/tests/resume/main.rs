//! Runs that are killed, and gone on with: the weights have the bits of a run that was not, and no line of the log is lost
//! or doubled.

mod case;
mod kills;
#[path = "../program/mod.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use case::{Case, LARGE, assert_same, checkpoints, log, newest, small_case, unfinished};
use program::{fails, succeeds};
use sonew_harness::train::record::{LogLine, read_log, read_run};

#[test]
fn a_run_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on_from_there() {
    let mut options = vec!["--checkpoint-every", "1000epochs"];
    options.extend(LARGE);
    let case = Case::new(&options);
    case.run("whole");
    for signal in ["TERM", "INT", "HUP"] {
        let child = case.spawn(signal);
        let log_of = case.path(signal).join("log.jsonl");
        while fs::metadata(&log_of).map_or(0, |it| it.len()) < 300 {
            sleep(Duration::from_millis(5));
        }
        let id = child.id().to_string();
        let asked = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(asked.unwrap().success());
        let status = child.wait_with_output().unwrap().status;
        assert_eq!(status.code(), Some(130), "{signal}");
        assert_eq!(checkpoints(&case.path(signal)).len(), 1, "{signal}");
        case.run(signal);
        assert_same(&case.path("whole"), &case.path(signal), signal);
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_and_none_at_all_is_an_error() {
    let case = small_case(&["--epochs", "3", "--checkpoint-every", "1epoch"]);
    case.run("run");
    let run = case.path("run");
    let whole = newest(&run);
    let [newer, older] = &checkpoints(&run)[..] else {
        panic!("two are kept");
    };
    let mut bytes = fs::read(newer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newer, &bytes).unwrap();
    case.run("run");
    assert!(newest(&run) == whole);
    assert_eq!(log(&run).len(), 3 + 12);
    for path in [newer, older] {
        fs::write(path, &bytes).unwrap();
    }
    let path = run.to_str().unwrap();
    let error = fails(&["train", "--resume", path]);
    assert!(
        error.contains("none of its checkpoints can be read"),
        "{error}"
    );
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn a_finished_run_is_carried_on_with_more_epochs_as_if_they_had_been_asked_for_at_once() {
    let long = small_case(&["--epochs", "5", "--checkpoint-every", "2"]);
    long.run("whole");
    let short = small_case(&["--epochs", "2", "--checkpoint-every", "2"]);
    short.run("run");
    let run = short.path("run");
    let path = run.to_str().unwrap();
    succeeds(&["train", "--resume", path, "--epochs", "5"]);
    assert_same(&long.path("whole"), &run, "five epochs");
    let config = read_run(&run).unwrap().config;
    assert_eq!(config["epochs"], 5);
    assert_eq!(config["resumed"][0]["step"], 8);
    // Later resumptions know of it.
    succeeds(&["train", "--resume", path]);
    assert_same(&long.path("whole"), &run, "again");
}

#[test]
fn what_may_not_change_is_refused_with_its_name_and_what_may_is_taken() {
    let case = small_case(&["--epochs", "2", "--checkpoint-every", "1"]);
    case.run("run");
    let run = case.path("run");
    let path = run.to_str().unwrap();
    let before = fs::read(run.join("log.jsonl")).unwrap();
    for (options, expected) in [
        (
            &["--batch", "5"][..],
            "batch is 5 now, and the run began with 10",
        ),
        (&["--seed", "1"], "seed is 1 now, and the run began with 0"),
        (&["--precision", "bf16"], "precision is \"bf16\""),
        (&["--set", "beta2=0.5"], "optimizer.beta2 is 0.5"),
        (&["--optimizer", "adam"], "optimizer.family"),
        (&["--train-images", "20"], "images is 20"),
        (&["--no-such-option"], "unexpected argument"),
        (&["--out", "elsewhere"], "--out"),
    ] {
        let mut words = vec!["train", "--resume", path];
        words.extend(options);
        let error = fails(&words);
        assert!(error.contains(expected), "{options:?}: {error}");
        assert_eq!(
            fs::read(run.join("log.jsonl")).unwrap(),
            before,
            "{options:?}"
        );
    }
    succeeds(&["train", "--resume", path, "--lr", "1e-4", "--epochs", "3"]);
    assert_eq!(read_run(&run).unwrap().config["lr"], 1e-4);
    let error = fails(&["train", "--resume", case.folder.path().to_str().unwrap()]);
    assert!(error.contains("it holds no run"), "{error}");
}

#[test]
fn a_run_that_is_replaced_leaves_no_checkpoint_behind() {
    let case = small_case(&["--epochs", "1", "--checkpoint-every", "1", "--overwrite"]);
    case.run("run");
    assert_eq!(checkpoints(&case.path("run")).len(), 1);
    let mut words = case.options.clone();
    words.retain(|word| word != "--checkpoint-every" && word != "1");
    let path = case.path("run");
    let mut all = vec!["train", "--epochs=1", "--out", path.to_str().unwrap()];
    all.extend(
        words
            .iter()
            .map(String::as_str)
            .filter(|word| *word != "--epochs"),
    );
    succeeds(&all);
    assert!(checkpoints(&path).is_empty());
}

#[test]
fn a_checkpoint_of_one_language_goes_on_in_another_within_the_contract() {
    for optimizer in ["tridiag-sonew", "band-4-sonew", "adam", "shampoo"] {
        let case = small_case(&[
            "--optimizer",
            optimizer,
            "--epochs",
            "2",
            "--checkpoint-every",
            "1",
            "--device",
            "vulkan:cpu",
        ]);
        case.run("run");
        let run = case.path("run");
        let path = run.to_str().unwrap();
        let copy = case.path("copy");
        fs::create_dir_all(copy.join("checkpoints")).unwrap();
        for file in ["run.json", "log.jsonl"] {
            fs::copy(run.join(file), copy.join(file)).unwrap();
        }
        for file in checkpoints(&run) {
            let name = file.file_name().unwrap();
            fs::copy(&file, copy.join("checkpoints").join(name)).unwrap();
        }
        let more = ["--epochs", "6", "--device"];
        succeeds(&[&["train", "--resume", path][..], &more, &["wgpu:cpu"]].concat());
        let copied = copy.to_str().unwrap();
        succeeds(&[&["train", "--resume", copied][..], &more, &["vulkan:cpu"]].concat());
        let (wgsl, spirv) = (newest(&run), newest(&copy));
        for ((name, wgsl), (_, spirv)) in wgsl.iter().zip(&spirv) {
            let Some(tensor) = name.strip_prefix("weights/") else {
                continue;
            };
            for (a, b) in wgsl.iter().zip(spirv) {
                let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
                assert!(
                    (a - b).abs() <= 1e-5 * a.abs().max(1e-1),
                    "{optimizer} {tensor}: {a} {b}"
                );
            }
        }
    }
}

/// A limit on the size of files is a disk that is full in the middle of a checkpoint, while the lines of the log still fit.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_those_before_and_the_run_goes_on() {
    let mut options = vec!["--checkpoint-every", "1epoch"];
    options.extend(LARGE);
    let case = Case::new(&options);
    case.run("whole");
    let run = case.path("run");
    let mut child = case.spawn("run");
    while checkpoints(&run).is_empty() {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = checkpoints(&run);
    let words = case.words("run");
    // Blocks of 512 or 1024 bytes: less than a checkpoint takes.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 400; exec {} \"$@\"",
        env!("CARGO_BIN_EXE_sonew")
    );
    let limited = Command::new("sh")
        .args(["-c", &limited, "sh"])
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr);
    assert!(limited.status.success(), "{said}");
    assert!(said.contains("no checkpoint after"), "{said}");
    assert!(said.contains("can be resumed from the one after"), "{said}");
    assert_eq!(checkpoints(&run)[0], before[0]);
    assert!(!unfinished(&run));
    assert_eq!(log(&run), log(&case.path("whole")));
    // And from there it goes on.
    case.run("run");
    assert_same(&case.path("whole"), &run, "after room was made");
}

/// Checkpoints that an earlier version wrote in the middle of an accumulation, beside the log of the whole run. They are never written
/// anew: what one version has written, every later one goes on from.
#[test]
fn a_checkpoint_of_an_earlier_version_goes_on() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    for name in ["sonew-f32", "shampoo-f32", "adam-f16-mixed", "band-4-bf16"] {
        let folder = tempfile::tempdir().unwrap();
        let from = kept.join(name);
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("checkpoints")).unwrap();
        let copies = [
            (kept.join("images"), folder.path().join("images")),
            (from.join("run.json"), run.join("run.json")),
            (from.join("log.jsonl"), run.join("log.jsonl")),
            (
                from.join("step-00000013.safetensors"),
                run.join("checkpoints/step-00000013.safetensors"),
            ),
        ];
        for (from, to) in copies {
            fs::copy(from, to).unwrap();
        }
        let resumed = Command::new(env!("CARGO_BIN_EXE_sonew"))
            .current_dir(folder.path())
            .args(["train", "--resume", "run"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&resumed.stderr);
        assert!(resumed.status.success(), "{name}: {said}");
        assert_eq!(
            read_run(&run).unwrap().config["resumed"][0]["step"],
            13,
            "{name}"
        );
        let losses = |folder: &Path| {
            let lines = read_log(folder).unwrap().into_iter();
            lines
                .map(|line| match line {
                    LogLine::Step(it) => it.loss,
                    LogLine::Epoch(it) => it.loss,
                    LogLine::Other(other) => panic!("{other}"),
                })
                .collect::<Vec<f64>>()
        };
        let (found, expected) = (losses(&run), losses(&from));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            // Another machine may compute other last digits.
            assert!(
                (found - expected).abs() <= 1e-4 * expected,
                "{name}: {found} {expected}"
            );
        }
    }
}
