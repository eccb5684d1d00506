//! Compiled kernels outlive the process that compiled them, and nothing that is wrong with them is felt. SPIR-V, as the software driver
//! takes it, stands for PTX, which is kept in the same way.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SONEW: &str = env!("CARGO_BIN_EXE_sonew");

/// Checks a kernel with the kernels that are kept in a folder for caches.
fn command(program: &Path, caches: &Path, kernel: &str) -> Command {
    let mut command = Command::new(program);
    command.args([
        "verify",
        "--device",
        "vulkan:cpu",
        "--kernel",
        kernel,
        "--precision",
        "f32",
        "--json",
    ]);
    command.env("XDG_CACHE_HOME", caches);
    command
}

/// What a check printed, and what it said besides.
#[track_caller]
fn said(output: Output) -> (String, String) {
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    (String::from_utf8(output.stdout).unwrap(), error)
}

#[track_caller]
fn verified(caches: &Path, kernel: &str) -> (String, String) {
    said(command(Path::new(SONEW), caches, kernel).output().unwrap())
}

/// How many kernels a check says it compiled and kept.
fn compiled(error: &str) -> usize {
    let line = error.lines().find_map(|it| it.strip_prefix("compiled "));
    line.map_or(0, |it| it.split(' ').next().unwrap().parse().unwrap())
}

fn files(caches: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(caches.join("sonew/kernels")).unwrap();
    let paths = folder.map(|it| it.unwrap().path());
    let mut kept: Vec<_> = paths
        .filter(|it| it.extension().is_some_and(|it| it == "kernels"))
        .collect();
    kept.sort();
    kept
}

#[test]
fn the_next_process_compiles_nothing_and_finds_the_same() {
    let caches = tempfile::tempdir().unwrap();
    let (first, error) = verified(caches.path(), "sgd");
    assert!(compiled(&error) > 0, "{error}");
    let (second, error) = verified(caches.path(), "sgd");
    assert_eq!(compiled(&error), 0, "{error}");
    assert_eq!(first, second);
    // Another kernel is compiled, and kept beside the others.
    let (_, error) = verified(caches.path(), "momentum");
    assert!(compiled(&error) > 0, "{error}");
    let (_, error) = verified(caches.path(), "momentum");
    assert_eq!(compiled(&error), 0, "{error}");
    assert_eq!(files(caches.path()).len(), 1);
}

#[test]
fn another_build_of_the_program_finds_nothing_of_this_one() {
    let caches = tempfile::tempdir().unwrap();
    verified(caches.path(), "sgd");
    let program = caches.path().join("sonew-of-another-build");
    let mut bytes = fs::read(SONEW).unwrap();
    // Nothing reads what comes after the last section.
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::metadata(SONEW).unwrap().permissions()).unwrap();
    let output = command(&program, caches.path(), "sgd").output().unwrap();
    assert!(compiled(&said(output).1) > 0);
    assert_eq!(files(caches.path()).len(), 2);
}

#[test]
fn a_damaged_file_is_made_again() {
    let caches = tempfile::tempdir().unwrap();
    let (first, error) = verified(caches.path(), "sgd");
    let all = compiled(&error);
    let file = &files(caches.path())[0];
    let sound = fs::read(file).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    for content in [&damaged[..], &sound[..middle], b"", b"no kernels at all"] {
        fs::write(file, content).unwrap();
        let (again, error) = verified(caches.path(), "sgd");
        assert_eq!(compiled(&error), all, "{error}");
        assert_eq!(again, first);
    }
    let (_, error) = verified(caches.path(), "sgd");
    assert_eq!(compiled(&error), 0, "{error}");
}

#[test]
fn processes_that_compile_at_once_leave_one_sound_file() {
    let caches = tempfile::tempdir().unwrap();
    let kernels = ["sgd", "sgd", "momentum", "adagrad"];
    let running = kernels.map(|kernel| {
        let mut command = command(Path::new(SONEW), caches.path(), kernel);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    });
    for process in running {
        said(process.wait_with_output().unwrap());
    }
    for kernel in kernels {
        let (_, error) = verified(caches.path(), kernel);
        assert_eq!(compiled(&error), 0, "{kernel}: {error}");
    }
    assert_eq!(files(caches.path()).len(), 1);
}

#[test]
fn a_folder_that_takes_no_file_costs_a_line_and_nothing_else() {
    let caches = tempfile::tempdir().unwrap();
    let (first, _) = verified(caches.path(), "sgd");
    // Nobody can write there, not even the administrator.
    let sealed = tempfile::tempdir().unwrap();
    symlink("/proc/sys", sealed.path().join("sonew")).unwrap();
    let (second, error) = verified(sealed.path(), "sgd");
    assert!(error.contains("compiled kernels are not kept"), "{error}");
    assert_eq!(first, second);
    // A folder in the place of the file.
    let file = files(caches.path()).remove(0);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (third, error) = verified(caches.path(), "sgd");
    assert!(error.contains("compiled kernels are not kept"), "{error}");
    assert_eq!(first, third);
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let caches = tempfile::tempdir().unwrap();
    let mut command = command(Path::new(SONEW), caches.path(), "sgd");
    let (_, error) = said(command.arg("--no-cache").output().unwrap());
    assert!(!error.contains("kept"), "{error}");
    assert!(!caches.path().join("sonew").exists());
}
