//! Runs that are killed, and gone on with: the weights have the bits of a run that was not, and no line of the log is lost
//! or doubled.

mod program;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use program::{fails, succeeds};
use sonew_harness::train::record::{LogLine, RunStatus, read_log, read_run};
use sonew_kernels::noise;
use sonew_optimizers::{Archive, StateArray};

/// A network that takes a while, and much of that to write.
const LARGE: &[&str] = &[
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

struct Case {
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl Case {
    fn new(options: &[&str]) -> Self {
        let folder = match std::env::var("SONEW_SMALL_DISK") {
            Ok(disk) => tempfile::tempdir_in(disk),
            Err(_) => tempfile::tempdir(),
        };
        Self {
            folder: folder.unwrap(),
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words of a run in a folder of that name, which starts if there is none yet.
    fn words(&self, name: &str) -> Vec<String> {
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

    fn run(&self, name: &str) -> String {
        let words = self.words(name);
        succeeds(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spawn(&self, name: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sonew"));
        command.args(self.words(name));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Files of checkpoints, the newest first.
fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(run.join("checkpoints"))
        .map(|it| it.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    all.retain(|path| path.extension().is_some_and(|it| it == "safetensors"));
    all.sort();
    all.reverse();
    all
}

fn unfinished(run: &Path) -> bool {
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
fn newest(run: &Path) -> Vec<(String, Vec<u32>)> {
    let bytes = fs::read(&checkpoints(run)[0]).unwrap();
    let bits = |array: &StateArray| array.values().iter().map(|it| it.to_bits()).collect();
    let arrays = Archive::of_bytes(&bytes).unwrap().arrays;
    arrays
        .iter()
        .map(|(name, it)| (name.clone(), bits(it)))
        .collect()
}

/// The log without times.
fn log(run: &Path) -> Vec<String> {
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

fn assert_same(whole: &Path, resumed: &Path, label: &str) {
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

fn small_case(options: &[&str]) -> Case {
    let mut case = Case::new(options);
    case.options.extend(small(case.folder.path()));
    case
}

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
    assert!(
        said.contains("can be resumed from the one before"),
        "{said}"
    );
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
