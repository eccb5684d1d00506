//! One report on every device of a machine: `sonew verify` and `sonew bench` on each, in processes of their own, so that what
//! ends one of them loses nothing of the others.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use sonew_runtime::Selector;

use crate::bench::{self, Bench};
use crate::record::timestamp;
use crate::replace_file::replace_file;
use crate::streams::note;
use crate::table::Table;
use crate::verify::{self, Line};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong with it.
        source: std::io::Error,
    },
    /// The program could not run itself, or printed what it does not understand.
    #[error("sonew {command}: {reason}")]
    Program {
        /// What it was to do.
        command: String,
        /// Why not.
        reason: String,
    },
    /// Neither `verify` nor `bench` knows the kernel.
    #[error("no kernel is called `{found}`; there are {known}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// There is no such device.
    #[error("this machine has no {wanted}; it has {found}; `sonew devices` says why")]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
}

/// What a report is on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// These devices; if there are none here, all GPUs of the machine, or the software driver if it has no GPU.
    pub devices: Vec<Selector>,
    /// Only this kernel.
    pub kernel: Option<String>,
    /// Without `--full`.
    pub quick: bool,
}

/// Verifies and measures devices with `program`, which is `sonew`, and writes `report.json` and `report.md` to the folder
/// `out`. Says whether all went well.
///
/// # Errors
/// [`ReportError`]; what fails on a device is in the report.
pub fn report(program: &Path, out: &Path, request: &Request) -> Result<bool, ReportError> {
    let known = [verify::kernels(), bench::names()];
    if let Some(kernel) = &request.kernel
        && !known.iter().flatten().any(|name| name == kernel)
    {
        let mut known = known.concat();
        known.sort_unstable();
        known.dedup();
        return Err(ReportError::Unknown {
            found: kernel.clone(),
            known: known.join(", "),
        });
    }
    let survey = Part::run(program, &["devices", "--json"])?;
    let survey = survey.found.ok_or_else(|| ReportError::Program {
        command: "devices --json".into(),
        reason: survey.wrong.unwrap_or_default(),
    })?;
    let chosen = chosen(&survey, &request.devices)?;
    // A folder that cannot be had is refused before anything is measured.
    fs::create_dir_all(out).map_err(|source| ReportError::File {
        path: out.into(),
        source,
    })?;
    let mut right = true;
    let time = timestamp();
    let program_version = concat!("sonew ", env!("CARGO_PKG_VERSION"));
    let mut devices = Vec::new();
    let mut text = format!(
        "# Report\n\n{program_version}, {time}. The same numbers, and more of them, are in `report.json`.\n"
    );
    for device in chosen {
        let id = device["id"].as_str().unwrap_or_default();
        let part = |command: &str, names: &[&str]| -> Result<Part, ReportError> {
            if request
                .kernel
                .as_deref()
                .is_some_and(|it| !names.contains(&it))
            {
                return Ok(Part::none());
            }
            let mut arguments = vec![command, "--device", id, "--json"];
            arguments.extend((!request.quick).then_some("--full"));
            if let Some(kernel) = &request.kernel {
                arguments.extend(["--kernel", kernel]);
            }
            note(&format!("sonew {}", arguments.join(" ")));
            let part = Part::run(program, &arguments)?;
            if let Some(wrong) = &part.wrong {
                note(&format!("sonew {} ended with {wrong}", arguments.join(" ")));
            }
            Ok(part)
        };
        let (verified, measured) = (part("verify", &known[0])?, part("bench", &known[1])?);
        right &= verified.wrong.is_none() && measured.wrong.is_none();
        text += &section(device, &verified, &measured);
        devices.push(json!({
            "device": device,
            "verify": verified.value(),
            "bench": measured.value(),
        }));
    }
    let report = json!({
        "program": program_version,
        "time": time,
        "devices": devices,
    });
    write(out, "report.json", &format!("{report:#}\n"))?;
    write(out, "report.md", &text)?;
    Ok(right)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), ReportError> {
    let path = folder.join(name);
    replace_file(&path, text.as_bytes()).map_err(|source| ReportError::File { path, source })
}

/// The devices of the survey that the report is on.
fn chosen<'a>(survey: &'a Value, only: &[Selector]) -> Result<Vec<&'a Value>, ReportError> {
    let all: Vec<&Value> = survey["devices"].as_array().into_iter().flatten().collect();
    let no_device = |wanted: String| {
        let ids = all.iter().filter_map(|device| device["id"].as_str());
        let found = match ids.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "none".into(),
            some => some,
        };
        ReportError::NoDevice { wanted, found }
    };
    if only.is_empty() {
        let gpu = |device: &&Value| device["processor"] == "gpu";
        let gpus: Vec<&Value> = all.iter().copied().filter(gpu).collect();
        let devices = if gpus.is_empty() { all.clone() } else { gpus };
        return if devices.is_empty() {
            Err(no_device("device".into()))
        } else {
            Ok(devices)
        };
    }
    let find = |selector: &Selector| {
        let wanted = selector.to_string();
        let found = all
            .iter()
            .copied()
            .find(|device| device["id"] == wanted.as_str());
        found.ok_or_else(|| no_device(wanted))
    };
    only.iter().map(find).collect()
}

/// A device in Markdown.
fn section(device: &Value, verified: &Part, measured: &Part) -> String {
    let word = |key: &str| device[key].as_str().unwrap_or("unknown").to_owned();
    let mut text = format!(
        "\n## {}\n\n`{}` through {}, driver {}\n\n### Verified\n\n",
        word("name"),
        word("id"),
        word("backend"),
        word("driver"),
    );
    let lines: Option<Vec<Line>> = verified.read("kernels");
    if let Some(lines) = &lines {
        let right = lines.iter().filter(|line| !line.verdict.breaks()).count();
        text += &format!("{right} of {} right or unsupported.\n\n", lines.len());
        text += &verify::table(lines).to_markdown();
    }
    text += &verified.complaint();
    text += "\n### Measured\n\n";
    let bench: Option<Bench> = measured.read("bench");
    if let Some(bench) = bench {
        text += &bench.text(Table::to_markdown);
    }
    text + &measured.complaint()
}

/// What a command of the program printed.
struct Part {
    found: Option<Value>,
    wrong: Option<String>,
}

impl Part {
    /// Of a command that does not know what was asked for.
    fn none() -> Self {
        Self {
            found: None,
            wrong: None,
        }
    }

    /// Runs a command that prints JSON; what it says on standard error is passed on.
    fn run(program: &Path, arguments: &[&str]) -> Result<Self, ReportError> {
        let failed = |error: std::io::Error| ReportError::Program {
            command: arguments.join(" "),
            reason: error.to_string(),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reader = thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.map(|mut it| it.read_to_string(&mut text));
            read.transpose().map(|_| text)
        });
        let mut last = String::new();
        for line in stderr.into_iter().flat_map(|it| BufReader::new(it).lines()) {
            last = line.map_err(failed)?;
            note(&last);
        }
        let status = child.wait().map_err(failed)?;
        let printed = reader.join().map_err(|_| ReportError::Program {
            command: arguments.join(" "),
            reason: "its output could not be read".into(),
        })?;
        let found = serde_json::from_str(&printed.map_err(failed)?).ok();
        let well = status.success() && found.is_some();
        Ok(Self {
            found,
            wrong: (!well).then(|| format!("{status}: {last}")),
        })
    }

    /// A part of what was printed.
    fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.found.as_ref()?.get(key)?;
        serde_json::from_value(value.clone()).ok()
    }

    fn value(&self) -> Value {
        json!({ "output": self.found, "failure": self.wrong })
    }

    fn complaint(&self) -> String {
        let wrong = self.wrong.as_ref();
        wrong.map_or(String::new(), |wrong| format!("\nIt ended with {wrong}\n"))
    }
}
