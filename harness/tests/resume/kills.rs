//! Runs that are killed again and again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sonew_kernels::noise;

use crate::case::{Case, LARGE, assert_same, unfinished};

/// The optimizers and precisions that are killed, in turn.
const KILLED: &[(&str, &str, &[&str])] = &[
    ("tridiag-sonew", "f32", &[]),
    (
        "shampoo",
        "f32",
        &["--set", "root-interval=7", "--set", "start-step=3"],
    ),
    ("adam", "f16-mixed", &["--weights", "master"]),
    ("tridiag-sonew", "bf16", &["--set", "epsilon=1e-4"]),
    ("adam", "bf16", &[]),
    (
        "shampoo",
        "f16-mixed",
        &["--set", "root-interval=7", "--set", "spread-roots=true"],
    ),
    ("tridiag-sonew", "f16-mixed", &["--set", "graft=adam"]),
    ("adam", "f32", &["--set", "weight-decay=0.01"]),
    ("shampoo", "bf16", &["--set", "root-interval=7"]),
];

/// What all of them have: tensors with settings and an optimizer of their own, and clipping.
const AROUND: &[&str] = &[
    "--group",
    "b*:weight-decay=0.1,lr=0.5",
    "--group",
    "w0:optimizer=momentum,lr=0.1",
    "--clip-norm",
    "20",
];

/// Kills to make in all: a few, or as many as SONEW_KILLS says.
fn kills_wanted() -> usize {
    match std::env::var("SONEW_KILLS") {
        Ok(count) => count.parse().expect("SONEW_KILLS is a number"),
        Err(_) => 6,
    }
}

/// Fills the disk to its last byte, and returns what holds it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 1 << 12]).is_ok() {}
    path
}

/// Kills runs at any time, those that write a checkpoint after each step included, and goes on with them. On a small disk
/// (SONEW_SMALL_DISK, see scripts/kills.sh) every other one meets a full disk before.
#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let wanted = kills_wanted();
    let is_small = std::env::var("SONEW_SMALL_DISK").is_ok();
    let (mut kills, mut inside_a_write, mut on_full_disk, mut stopped) = (0, 0, 0, 0);
    for (round, (optimizer, precision, others)) in KILLED.iter().cycle().enumerate() {
        if kills >= wanted {
            break;
        }
        let label = format!("{optimizer} {precision}, round {round}");
        let every = ["1steps", "5steps", "1epoch"][(round + round / KILLED.len()) % 3];
        let mut options = vec!["--optimizer", optimizer, "--precision", precision];
        options.extend(["--checkpoint-every", every]);
        options.extend(LARGE.iter().chain(AROUND).chain(*others));
        let case = Case::new(&options);
        let started = Instant::now();
        case.run("whole");
        let takes = started.elapsed();
        let (mut here, mut killed) = (0, 0);
        loop {
            let mut child = case.spawn("killed");
            // Unlike each other, the same in every run of the test.
            let part = (noise::noise(1000 * round + here) + 1.0) / 2.0;
            sleep(takes.mul_f64(0.1 + 0.8 * part));
            let filler = (is_small && here % 2 == 1).then(|| fill(case.folder.path()));
            if filler.is_some() {
                sleep(takes.mul_f64(0.05));
            }
            // Every third, if it can be met, in the middle of a write.
            let patience = takes.mul_f64(if here % 3 == 2 { 0.2 } else { 0.0 });
            let waiting = Instant::now();
            while waiting.elapsed() < patience && !unfinished(&case.path("killed")) {
                sleep(Duration::from_micros(200));
            }
            let ended = child.try_wait().unwrap();
            let over = ended.is_some_and(|it| it.success());
            if ended.is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                here += 1;
                killed += 1;
                inside_a_write += usize::from(unfinished(&case.path("killed")));
                on_full_disk += usize::from(filler.is_some());
            } else if !over {
                assert!(filler.is_some(), "{label}: only a full disk stops a run");
                stopped += 1;
                here += 1;
            }
            if let Some(filler) = filler {
                fs::remove_file(filler).unwrap();
            }
            // One round does not take the kills of all others.
            if over || here >= wanted.div_ceil(3).min(6) {
                break;
            }
        }
        case.run("killed");
        assert_same(&case.path("whole"), &case.path("killed"), &label);
        kills += killed;
        println!("{label}: {killed} kills, checkpoints every {every}");
    }
    println!(
        "{kills} kills: {inside_a_write} inside a write of a checkpoint, {on_full_disk} on a full disk, and {stopped} runs that a full disk ended before"
    );
}
