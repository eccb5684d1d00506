//! A run in a folder of its own, and what it leaves there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sonew_harness::train::record::{LogLine, RunStatus, read_log, read_run};
use sonew_kernels::noise;
use sonew_optimizers::{Archive, StateArray};

use crate::program::succeeds;

/// A network that takes a while, and much of that to write.
pub const LARGE: &[&str] = &[
    "--sizes",
    "784,64,16,64,784",
    "--train-images",
    "400",
    "--batch",
    "20",
    "--epochs",
    "6",
    "--schedule",
    "constant",
    "--log-steps",
    "--quiet",
];

/// Runs with the same options.
pub struct Case {
    pub folder: tempfile::TempDir,
    pub options: Vec<String>,
}

impl Case {
    pub fn new(options: &[&str]) -> Self {
        let folder = match std::env::var("SONEW_SMALL_DISK") {
            Ok(disk) => tempfile::tempdir_in(disk),
            Err(_) => tempfile::tempdir(),
        };
        Self {
            folder: folder.unwrap(),
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words of a run in a folder of that name, which starts if there is none yet.
    pub fn words(&self, name: &str) -> Vec<String> {
        let path = self.path(name);
        let folder = path.to_str().unwrap().to_owned();
        if read_run(&path).is_ok_and(|run| !run.config.is_null()) {
            return ["train", "--resume", &folder].map(String::from).to_vec();
        }
        let _ = fs::remove_dir_all(&path);
        let mut words = vec!["train".to_owned(), "--out".into(), folder];
        words.extend(self.options.iter().cloned());
        words
    }

    pub fn run(&self, name: &str) -> String {
        let words = self.words(name);
        succeeds(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn spawn(&self, name: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sonew"));
        command.args(self.words(name));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Files of checkpoints, the newest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(run.join("checkpoints"))
        .map(|it| it.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    all.retain(|path| path.extension().is_some_and(|it| it == "safetensors"));
    all.sort();
    all.reverse();
    all
}

pub fn unfinished(run: &Path) -> bool {
    fs::read_dir(run.join("checkpoints")).is_ok_and(|it| {
        it.flatten().any(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|it| it == "unfinished")
        })
    })
}

/// Weights and states of the newest checkpoint, with their bits.
pub fn newest(run: &Path) -> Vec<(String, Vec<u32>)> {
    let bytes = fs::read(&checkpoints(run)[0]).unwrap();
    let bits = |array: &StateArray| array.values().iter().map(|it| it.to_bits()).collect();
    let arrays = Archive::of_bytes(&bytes).unwrap().arrays;
    arrays
        .iter()
        .map(|(name, it)| (name.clone(), bits(it)))
        .collect()
}

/// The log without times.
pub fn log(run: &Path) -> Vec<String> {
    let lines = read_log(run).unwrap().into_iter();
    lines
        .map(|line| match line {
            LogLine::Step(it) => format!("step {} loss {:x}", it.step, it.loss.to_bits()),
            LogLine::Epoch(it) => format!(
                "epoch {} steps {} loss {:x} lr {} cut {:?} skipped {} scale {} refused {:?}",
                it.epoch,
                it.steps,
                it.loss.to_bits(),
                it.lr,
                it.pivots_cut,
                it.skipped_steps,
                it.loss_scale,
                it.roots_refused
            ),
            LogLine::Other(other) => panic!("{other}"),
        })
        .collect()
}

pub fn assert_same(whole: &Path, resumed: &Path, label: &str) {
    assert_eq!(
        read_run(resumed).unwrap().status,
        RunStatus::Finished,
        "{label}"
    );
    assert_eq!(log(resumed), log(whole), "{label}");
    assert!(newest(resumed) == newest(whole), "{label}: other bits");
    let losses = |run| read_run(run).unwrap().summary["losses"].clone();
    assert_eq!(losses(resumed), losses(whole), "{label}");
}

/// Options of a run of a fraction of a second, on images of 4 × 4.
fn small(folder: &Path) -> Vec<String> {
    let data = folder.join("images");
    let count = 40u32;
    let mut bytes = vec![0, 0, 8, 3];
    for length in [count, 4, 4] {
        bytes.extend(length.to_be_bytes());
    }
    let pixel = |i: usize| (127.0 * (noise::noise(i) + 1.0)) as u8;
    bytes.extend((0..16 * count as usize).map(pixel));
    fs::write(&data, bytes).unwrap();
    let mut options = [
        "--sizes",
        "16,8,16",
        "--batch",
        "10",
        "--schedule",
        "constant",
    ]
    .map(String::from)
    .to_vec();
    options.extend(["--quiet", "--log-steps", "--lr", "1e-3", "--data"].map(String::from));
    options.push(data.to_str().unwrap().into());
    options
}

pub fn small_case(options: &[&str]) -> Case {
    let mut case = Case::new(options);
    case.options.extend(small(case.folder.path()));
    case
}
