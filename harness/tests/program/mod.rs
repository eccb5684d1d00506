//! Runs the binary.

use std::process::{Command, Output};

pub fn sonew(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(args)
        .output()
        .expect("the binary was built with the tests")
}

#[track_caller]
pub fn succeeds(args: &[&str]) -> String {
    let output = sonew(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn fails(args: &[&str]) -> String {
    let output = sonew(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    error
}
