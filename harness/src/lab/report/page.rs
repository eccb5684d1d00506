//! A report in JSON and in Markdown.

use std::path::Path;

use serde_json::{Value, json};

use super::ReportError;
use super::parts::Command;
use super::process::{End, Part};
use crate::lab::bench::Bench;
use crate::lab::tune::Found;
use crate::lab::verify::{self, Line};
use crate::replace_file::replace_file;
use crate::table::Table;
use crate::train::summary::RunSummary;

/// What is known so far.
pub(super) struct Report {
    pub program: &'static str,
    pub time: String,
    pub devices: Vec<OfDevice>,
}

/// What is known of a device.
pub(super) struct OfDevice {
    /// As `sonew devices` describes it.
    pub device: Value,
    /// What was run.
    pub parts: Vec<(Command, Part)>,
    /// What was not, or not to its end.
    pub no_time_for: Vec<String>,
}

impl Report {
    /// Whether all that was run ended well.
    pub fn is_right(&self) -> bool {
        let parts = self.devices.iter().flat_map(|it| &it.parts);
        parts.into_iter().all(|(_, part)| part.end == End::Well)
    }

    /// Replaces `report.json` and `report.md` in a folder.
    ///
    /// # Errors
    /// [`ReportError::File`].
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        let json = json!({
            "program": self.program,
            "time": self.time,
            "devices": self.devices.iter().map(OfDevice::json).collect::<Vec<_>>(),
        });
        let mut page = format!(
            "# Report\n\n{}, {}. The same numbers, and more of them, are in `report.json`.\n",
            self.program, self.time
        );
        for device in &self.devices {
            page += &device.section();
        }
        for (name, text) in [("report.json", format!("{json:#}\n")), ("report.md", page)] {
            let path = folder.join(name);
            replace_file(&path, text.as_bytes())
                .map_err(|source| ReportError::File { path, source })?;
        }
        Ok(())
    }
}

impl OfDevice {
    fn json(&self) -> Value {
        let parts = self.parts.iter().map(|(_, part)| json!(part));
        json!({
            "device": self.device,
            "parts": parts.collect::<Vec<_>>(),
            "no_time_for": self.no_time_for,
        })
    }

    fn section(&self) -> String {
        let word = |key: &str| self.device[key].as_str().unwrap_or("unknown").to_owned();
        let mut text = format!(
            "\n## {}\n\n`{}` through {}, driver {}\n",
            word("name"),
            word("id"),
            word("backend"),
            word("driver"),
        );
        for (command, part) in &self.parts {
            let title = match command.does() {
                "verify" => "Verified",
                "tune" => "Tuned",
                "train" => "Trained",
                _ => "Measured",
            };
            text += &format!(
                "\n### {title}\n\n`sonew {}`, {:.0} s\n\n",
                command.0.join(" "),
                part.seconds
            );
            if let Some(lines) = part.read::<Vec<Line>>("kernels") {
                let right = lines.iter().filter(|line| !line.verdict.breaks()).count();
                text += &format!("{right} of {} right or unsupported.\n\n", lines.len());
                text += &verify::table(&lines).to_markdown();
            }
            if let Some(bench) = part.read::<Bench>("bench") {
                text += &bench.text(Table::to_markdown);
            }
            for found in part.read::<Vec<Found>>("tuned").unwrap_or_default() {
                let Found { kernel, band, .. } = &found;
                text += &format!("{kernel} band {band}\n\n{}\n", found.table().to_markdown());
            }
            if let Some(run) = part.read::<RunSummary>("summary") {
                text += &format!(
                    "{:.1} s from the start of the program to its end, of which {} epochs of {:.3} s and as many evaluations of {:.1} ms; loss {:.3}.\n",
                    part.seconds,
                    run.losses.len(),
                    run.seconds_per_epoch,
                    1e3 * run.seconds_per_evaluation,
                    run.final_loss().unwrap_or(f64::NAN)
                );
            }
            if let Some(wrong) = &part.failure {
                text += &format!("\nIt ended with {wrong}\n");
            }
        }
        if !self.no_time_for.is_empty() {
            text += "\n### Left out, as there was no time\n\n";
            for command in &self.no_time_for {
                text += &format!("- `sonew {command}`\n");
            }
        }
        text
    }
}
