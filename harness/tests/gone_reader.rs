//! Readers that go away, as `head` does: no command ends with a panic, and what is recorded is recorded.

#![cfg(unix)]

use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};

use sonew_harness::train::record::{RunStatus, read_run};

/// Which streams have lost their reader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    Output,
    Errors,
    Both,
}

const CASES: [Gone; 3] = [Gone::Output, Gone::Errors, Gone::Both];

/// The exit status of a command, and what it said on standard error if that is still read.
fn end(args: &[&str], gone: Gone) -> (Option<i32>, String) {
    let unread = || {
        let (_, writer) = pipe().unwrap();
        writer
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonew"));
    command.args(args).stdin(Stdio::null());
    if gone != Gone::Errors {
        command.stdout(unread());
    }
    if gone != Gone::Output {
        command.stderr(unread());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[track_caller]
fn ends_with(args: &[&str], allowed: &[i32]) {
    for gone in CASES {
        let (code, said) = end(args, gone);
        assert!(
            code.is_some_and(|code| allowed.contains(&code)),
            "{args:?} with {gone:?} gone ended with {code:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{args:?}, {gone:?}: {said}");
    }
}

#[test]
fn a_text_that_nobody_reads_is_no_error() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["train", "--help"],
        &["devices"],
        &["devices", "--json"],
        &["optimizers"],
        &["kernel", "--list"],
        &["source", "sgd"],
        &["roots", "--size", "8"],
        &[
            "roots",
            "--size",
            "8",
            "--on-device",
            "--device",
            "wgpu:cpu",
        ],
        &[
            "stability",
            "--device",
            "wgpu:cpu",
            "--noise",
            "1",
            "--precisions",
            "f32",
        ],
    ] {
        ends_with(args, &[0]);
    }
}

#[test]
fn an_error_that_nobody_reads_is_still_an_error() {
    for args in [
        &["train", "--optimizer", "adamw"][..],
        &["kernel", "qr", "--in", "a", "--out", "b"],
        &["source", "qr"],
        &["report", "--device", "cuda:77"],
    ] {
        ends_with(args, &[1]);
    }
    ends_with(&["no-such-command"], &[2]);
}

#[test]
fn a_check_that_nobody_reads_stops_and_one_whose_result_is_read_goes_on() {
    let verify = [
        "verify",
        "--device",
        "wgpu:cpu",
        "--kernel",
        "sgd",
        "--precision",
        "f32",
    ];
    let bench = ["bench", "--device", "wgpu:cpu", "--kernel", "sgd"];
    for args in [&verify[..], &bench] {
        for (gone, expected) in [(Gone::Output, 141), (Gone::Both, 141), (Gone::Errors, 0)] {
            let (code, said) = end(args, gone);
            assert_eq!(code, Some(expected), "{args:?}, {gone:?}: {said}");
        }
    }
}

#[test]
fn a_run_goes_on_and_is_recorded_whoever_reads() {
    let parent = tempfile::tempdir().unwrap();
    for gone in CASES {
        for command in [
            &["train"][..],
            &["compare", "--optimizers", "adam,sgd", "--verbose"],
        ] {
            let out = parent.path().join(format!("{gone:?} {}", command[0]));
            let mut args = command.to_vec();
            args.extend([
                "--device",
                "wgpu:cpu",
                "--train-images",
                "200",
                "--batch",
                "100",
            ]);
            args.extend(["--sizes", "784,16,8,16,784", "--epochs", "2"]);
            args.extend(["--out", out.to_str().unwrap()]);
            let (code, said) = end(&args, gone);
            assert_eq!(code, Some(0), "{gone:?} {command:?}: {said}");
            finished(&out);
            if command[0] == "compare" {
                finished(&out.join("sgd"));
                assert!(out.join("table.md").is_file());
            }
        }
    }
}

fn finished(out: &Path) {
    assert_eq!(read_run(out).unwrap().status, RunStatus::Finished);
    assert!(out.join("loss.png").is_file());
}

#[test]
fn a_file_is_written_whoever_reads() {
    use sonew_harness::arrays::{self, Array};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let s = Array::f32(vec![2, 2], vec![16.0, 0.0, 0.0, 81.0]);
    arrays::write(path("in.st"), &[("s".to_owned(), s)].into()).unwrap();
    for gone in CASES {
        let output = path(&format!("{gone:?}.st"));
        let args = [
            "kernel",
            "inverse-root",
            "--in",
            &path("in.st"),
            "--out",
            &output,
        ];
        assert_eq!(end(&args, gone).0, Some(0), "{gone:?}");
        assert!(Path::new(&output).is_file());
    }
}
