//! One report on every device of a machine: commands of `sonew` on each, the most important first, in processes of their own, so
//! that what ends one of them loses nothing of the others, and in bounded time.

mod page;
mod parts;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use page::{OfDevice, Report};
use process::{End, Part};
use serde_json::Value;
use sonew_runtime::Selector;

use crate::lab::bench;
use crate::lab::verify;
use crate::process::streams::note;
use crate::train::record::timestamp;

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
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// These devices; if there are none here, all GPUs of the machine, or the software driver if it has no GPU.
    pub devices: Vec<Selector>,
    /// Only these kernels; all if there are none.
    pub kernels: Vec<String>,
    /// Only `verify` and `bench` as they are without options.
    pub quick: bool,
    /// How long at most for each device.
    pub time: Duration,
}

/// Verifies and measures devices with `program`, which is `sonew`, and writes `report.json` and `report.md` to the folder
/// `out`, anew after each part. Says whether all went well; what there was no time for is no failure.
///
/// # Errors
/// [`ReportError`]; what fails on a device is in the report.
pub fn report(program: &Path, out: &Path, request: &Request) -> Result<bool, ReportError> {
    let known = [verify::kernels(), bench::names()];
    let unknown = |kernel: &&String| !known.iter().flatten().any(|name| name == kernel);
    if let Some(kernel) = request.kernels.iter().find(unknown) {
        let mut known = known.concat();
        known.sort_unstable();
        known.dedup();
        return Err(ReportError::Unknown {
            found: kernel.clone(),
            known: known.join(", "),
        });
    }
    let survey = Part::run(program, &["devices", "--json"], request.time)?;
    let survey = survey.output.ok_or_else(|| ReportError::Program {
        command: survey.command,
        reason: survey.failure.unwrap_or_default(),
    })?;
    let chosen = chosen(&survey, &request.devices)?;
    // A folder that cannot be had is refused before anything is measured.
    fs::create_dir_all(out).map_err(|source| ReportError::File {
        path: out.into(),
        source,
    })?;
    let mut written = Report {
        program: concat!("sonew ", env!("CARGO_PKG_VERSION")),
        time: timestamp(),
        devices: Vec::new(),
    };
    for device in chosen {
        let id = device["id"].as_str().unwrap_or_default();
        let commands = if request.quick || !request.kernels.is_empty() {
            let known = [known[0].as_slice(), known[1].as_slice()];
            parts::some(&request.kernels, request.quick, known)
        } else {
            parts::all(device, out)
        };
        let at = written.devices.len();
        written.devices.push(OfDevice {
            device: device.clone(),
            parts: Vec::new(),
            no_time_for: Vec::new(),
        });
        let started = Instant::now();
        for command in commands {
            let left = request.time.saturating_sub(started.elapsed());
            if left.is_zero() {
                written.devices[at].no_time_for.push(command.0.join(" "));
                continue;
            }
            let mut arguments: Vec<&str> = command.0.iter().map(String::as_str).collect();
            arguments.extend(["--device", id, "--json"]);
            // It ends by itself with what it has, and leaves as much time to what follows.
            let minutes = format!("{:.4}", (0.5 * left.as_secs_f64() / 60.0).max(1e-3));
            if command.does() == "bench" {
                arguments.extend(["--minutes", &minutes]);
            }
            note(&format!("sonew {}", arguments.join(" ")));
            let part = Part::run(program, &arguments, left)?;
            if let Some(wrong) = &part.failure {
                note(&format!("sonew {} ended with {wrong}", arguments.join(" ")));
            }
            match part.end {
                End::Late => written.devices[at].no_time_for.push(command.0.join(" ")),
                End::Well | End::Badly => written.devices[at].parts.push((command, part)),
            }
            written.write(out)?;
        }
        written.write(out)?;
    }
    Ok(written.is_right())
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
        // The survey lists first what `auto` prefers.
        let is_it = |device: &Value| *selector == Selector::Auto || device["id"] == wanted.as_str();
        let found = all.iter().copied().find(|device| is_it(device));
        found.ok_or_else(|| no_device(wanted))
    };
    only.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn auto_is_the_first_device_of_the_survey_and_without_a_name_every_gpu_is_taken() {
        let survey = json!({"devices": [
            {"id": "cuda:0", "processor": "gpu"},
            {"id": "vulkan:0", "processor": "gpu"},
            {"id": "wgpu:cpu", "processor": "cpu"},
        ]});
        let ids = |only: &[Selector]| -> Vec<Value> {
            let devices = chosen(&survey, only).unwrap();
            devices.iter().map(|device| device["id"].clone()).collect()
        };
        assert_eq!(ids(&[Selector::Auto]), ["cuda:0"]);
        assert_eq!(ids(&[]), ["cuda:0", "vulkan:0"]);
        assert_eq!(ids(&["wgpu:cpu".parse().unwrap()]), ["wgpu:cpu"]);
    }
}
