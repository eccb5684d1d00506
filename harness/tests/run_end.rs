//! However a run ends, its record says so.

#![cfg(unix)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sonew_harness::train::record::{RunFile, RunStatus, read_log, read_run};
use sonew_harness::train::summary::RunSummary;

const SMALL: &[&str] = &[
    "--device",
    "wgpu:cpu",
    "--train-images",
    "200",
    "--batch",
    "100",
    "--sizes",
    "784,16,8,16,784",
    "--schedule",
    "constant",
    "--quiet",
];

fn small(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonew"));
    command.args(args).args(SMALL).arg("--out").arg(out);
    // These tests may themselves run where it is ignored.
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    command
}

fn run(out: &Path, args: &[&str]) -> Output {
    small(out, args).output().unwrap()
}

/// A run that goes on until it is stopped, once it has ended an epoch.
fn endless(out: &Path, command: &mut Command) -> Child {
    let child = command
        .args(["--epochs", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_an_epoch(out);
    child
}

fn wait_for_an_epoch(out: &Path) {
    // A minute and more, for a machine that does other things as well.
    for _ in 0..2000 {
        if read_log(out).is_ok_and(|log| !log.is_empty()) {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("no epoch was logged in {}", out.display());
}

fn send(child: &Child, signal: i32) {
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn summary(run: &RunFile) -> RunSummary {
    serde_json::from_value(run.summary.clone()).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_plot_that_cannot_be_drawn_loses_no_summary() {
    let parent = tempfile::tempdir().unwrap();
    for picture in ["loss.svg", "loss.png"] {
        let out = parent.path().join(picture.replace('.', " "));
        fs::create_dir_all(out.join(picture)).unwrap();
        let output = run(&out, &["train", "--optimizer", "adam", "--epochs", "2"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(error(&output).contains(picture), "{}", error(&output));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("adam: loss"), "{printed}");
        let run = read_run(&out).unwrap();
        assert!(
            matches!(&run.status, RunStatus::Failed(reason) if reason.contains(picture)),
            "{:?}",
            run.status
        );
        assert_eq!(summary(&run).losses.len(), 2);
        assert_eq!(read_log(&out).unwrap().len(), 2);
    }
    // The other picture is drawn, and nothing half done is left.
    assert!(parent.path().join("loss svg/loss.png").is_file());
    let left = fs::read_dir(parent.path().join("loss png")).unwrap();
    assert_eq!(left.count(), 4);
}

#[test]
fn a_comparison_that_cannot_write_its_files_prints_its_table() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("compare");
    for name in ["table.md", "loss.svg", "adam/loss.svg"] {
        fs::create_dir_all(out.join(name)).unwrap();
    }
    let args = ["compare", "--optimizers", "adam,sgd", "--epochs", "2"];
    let output = run(&out, &args);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    for label in ["adam", "sgd"] {
        let row = printed.lines().find(|line| line.starts_with(label));
        assert!(row.is_some_and(|row| !row.contains('–')), "{printed}");
    }
    // The first thing that went wrong, of which run it is, and where.
    let last = error(&output).lines().last().unwrap().to_owned();
    assert!(last.contains("adam: drawing"), "{last}");
    let all = read_run(&out).unwrap();
    assert!(matches!(&all.status, RunStatus::Failed(reason) if reason.contains("adam: drawing")));
    assert_eq!(all.summary.as_array().unwrap().len(), 2);
    assert_eq!(
        read_run(out.join("sgd")).unwrap().status,
        RunStatus::Finished
    );
    assert!(out.join("table.csv").is_file() && out.join("loss.png").is_file());
}

#[test]
fn a_loss_that_is_no_number_at_the_end_is_a_divergence_however_short_the_run() {
    let parent = tempfile::tempdir().unwrap();
    for (name, policy, epochs) in [
        ("short", "skip", "2"),
        ("single", "proceed", "1"),
        ("long", "skip", "200"),
        ("stopped", "stop", "2"),
    ] {
        let out = parent.path().join(name);
        // A folder in the way of the plot does not hide why the run ended.
        fs::create_dir_all(out.join("loss.svg")).unwrap();
        let args = [
            "train",
            "--optimizer",
            "sgd",
            "--lr",
            "1e38",
            "--non-finite",
            policy,
        ];
        let output = run(&out, &[&args[..], &["--epochs", epochs]].concat());
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = error(&output);
        assert!(said.contains("--lr") && !said.contains("drawing"), "{said}");
        assert!(!said.contains("epsilon"), "sgd has none: {said}");
        let text = fs::read_to_string(out.join("run.json")).unwrap();
        assert!(text.contains("\"status\": \"diverged: "), "{name}: {text}");
        let run = read_run(&out).unwrap();
        assert!(matches!(&run.status, RunStatus::Diverged(reason) if said.contains(reason)));
        assert!(summary(&run).losses.iter().all(|loss| loss.is_nan()));
    }
}

#[test]
fn a_divergence_advises_what_the_optimizer_uses() {
    let parent = tempfile::tempdir().unwrap();
    for (name, settings, advised) in [
        ("adam", &[][..], "--set epsilon"),
        (
            "tridiag-sonew",
            &["--set", "relative-epsilon=1e-9"],
            "--set relative-epsilon",
        ),
        (
            "sgd",
            &["--set", "weight-decay=1e-3"],
            "--set weight-decay, whose product",
        ),
    ] {
        let out = parent.path().join(name);
        let args = ["train", "--optimizer", name, "--lr", "1e38"];
        let output = run(&out, &[&args[..], settings].concat());
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = error(&output);
        assert!(said.contains(advised), "{name}: {said}");
    }
}

#[test]
fn a_comparison_goes_on_after_a_divergence_and_fails_only_if_all_diverge() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("some");
    let policy = ["--non-finite", "skip", "--epochs", "2"];
    let some = ["compare", "--optimizers", "sgd:lr=1e38,adam"];
    let output = run(&out, &[&some[..], &policy].concat());
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!(read_run(&out).unwrap().status, RunStatus::Finished);
    let table = fs::read_to_string(out.join("table.md")).unwrap();
    assert!(
        table.contains("diverged: the loss after epoch 1"),
        "{table}"
    );
    let out = parent.path().join("all");
    let all = ["compare", "--optimizers", "sgd:lr=1e38,sgd:lr=2e38"];
    let output = run(&out, &[&all[..], &policy].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(matches!(
        read_run(&out).unwrap().status,
        RunStatus::Diverged(_)
    ));
    assert!(out.join("table.md").exists());
}

/// Ends an endless run with `signals`, and requires that it says so.
fn interrupted(out: &Path, args: &[&str], signals: &[i32]) -> (ExitStatus, RunFile) {
    let mut command = small(out, args);
    let watched = match args[0] {
        "compare" => out.join("adam"),
        _ => out.to_path_buf(),
    };
    let mut child = endless(&watched, &mut command);
    for &signal in signals {
        send(&child, signal);
    }
    let status = child.wait().unwrap();
    (status, read_run(out).unwrap())
}

#[test]
fn every_signal_that_asks_to_stop_ends_a_run_with_its_summary_and_plot() {
    let parent = tempfile::tempdir().unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let out = parent.path().join(signal.to_string());
        let (status, run) = interrupted(&out, &["train", "--optimizer", "adam"], &[signal]);
        assert_eq!(status.code(), Some(130), "signal {signal}");
        assert_eq!(run.status, RunStatus::Interrupted, "signal {signal}");
        let summary = summary(&run);
        assert!(!summary.losses.is_empty() && summary.note == "interrupted");
        assert!(out.join("loss.svg").is_file() && out.join("loss.png").is_file());
    }
}

#[test]
fn a_comparison_that_is_asked_to_stop_keeps_its_table() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("compare");
    let args = ["compare", "--optimizers", "adam,sgd"];
    let (status, all) = interrupted(&out, &args, &[libc::SIGTERM]);
    assert_eq!(status.code(), Some(130));
    assert_eq!(all.status, RunStatus::Interrupted);
    assert_eq!(
        read_run(out.join("adam")).unwrap().status,
        RunStatus::Interrupted
    );
    assert!(!out.join("sgd").exists(), "it had not begun");
    let table = fs::read_to_string(out.join("table.md")).unwrap();
    assert!(table.contains("interrupted"), "{table}");
}

#[test]
fn a_second_signal_ends_the_program_at_once_and_the_record_still_says_why() {
    let parent = tempfile::tempdir().unwrap();
    for args in [&["train"][..], &["compare", "--optimizers", "adam"]] {
        let out: PathBuf = parent.path().join(args[0]);
        let twice = [libc::SIGINT, libc::SIGTERM];
        let (status, run) = interrupted(&out, args, &twice);
        assert_eq!(status.code(), Some(130));
        assert_eq!(run.status, RunStatus::Interrupted, "{args:?}");
    }
}

#[test]
fn a_run_that_was_told_to_outlive_its_terminal_does() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("run");
    let plain = small(&out, &["train", "--optimizer", "adam"]);
    let mut command = Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args());
    let mut child = endless(&out, &mut command);
    send(&child, libc::SIGHUP);
    let before = read_log(&out).unwrap().len();
    for _ in 0..2000 {
        if read_log(&out).unwrap().len() > before + 2 {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    assert!(read_log(&out).unwrap().len() > before + 2, "it stopped");
    send(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_run_that_goes_on_is_not_replaced_and_one_that_was_killed_can_be() {
    let parent = tempfile::tempdir().unwrap();
    for command in ["train", "compare"] {
        let out = parent.path().join(command);
        let mut args = vec![command];
        if command == "compare" {
            args.extend(["--optimizers", "adam"]);
        }
        let watched = match command {
            "compare" => out.join("adam"),
            _ => out.clone(),
        };
        let mut child = endless(&watched, &mut small(&out, &args));
        let again = [&args[..], &["--epochs", "1", "--overwrite"]].concat();
        let refused = run(&out, &again);
        assert_eq!(refused.status.code(), Some(1));
        let said = error(&refused);
        assert!(said.contains("another program is writing"), "{said}");
        // The run of a comparison is its own as well.
        let refused = run(&watched, &["train", "--epochs", "1", "--overwrite"]);
        assert!(error(&refused).contains("another program is writing"));
        assert_eq!(read_run(&watched).unwrap().status, RunStatus::Running);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read_run(&out).unwrap().status, RunStatus::Running);
        let replaced = run(&out, &again);
        assert_eq!(replaced.status.code(), Some(0), "{}", error(&replaced));
        assert_eq!(read_run(&out).unwrap().status, RunStatus::Finished);
        assert_eq!(read_log(&watched).unwrap().len(), 1);
    }
}
