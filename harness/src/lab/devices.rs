//! What `sonew devices` prints of a survey.

use std::fmt::Write;

use sonew_runtime::{DeviceInfo, Format, Processor, Support, Survey};

use crate::table::{Column, Table};

const HEADER: [&str; 9] = [
    "id", "name", "backend", "driver", "memory", "plane", "f32", "f16", "bf16",
];
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// An aligned table of the devices, notes on formats that are not native, and what is missing.
pub fn text(survey: &Survey) -> String {
    let mut notes = Notes::default();
    let mut table = Table::new(HEADER.map(Column::left));
    for device in &survey.devices {
        table.push(row(device, &mut notes));
    }
    let mut text = if survey.devices.is_empty() {
        "no devices\n".to_owned()
    } else {
        table.to_columns()
    };
    notes.write(&mut text);
    write_missing(survey, &mut text);
    text
}

fn write_missing(survey: &Survey, text: &mut String) {
    if survey.missing.is_empty() {
        return;
    }
    text.push_str("\nnot found\n");
    for missing in &survey.missing {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {}", missing.kind, missing.reason);
        for item in &missing.looked_for {
            let _ = writeln!(text, "    looked for {item}");
        }
        let _ = writeln!(text, "    to have it: {}", missing.advice);
    }
}

/// Reasons, each once, numbered from 1.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, note: String) -> usize {
        let found = self.0.iter().position(|known| *known == note);
        found.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        }) + 1
    }

    fn write(&self, text: &mut String) {
        if self.0.is_empty() {
            return;
        }
        text.push_str("\nnotes\n");
        for (i, note) in self.0.iter().enumerate() {
            let _ = writeln!(text, "  [{}] {note}", i + 1);
        }
    }
}

fn row(device: &DeviceInfo, notes: &mut Notes) -> [String; 9] {
    let [f32, f16, bf16] = Format::ALL.map(|format| {
        let support = device.support(format);
        match support.reason() {
            None => support.word().to_owned(),
            Some(reason) => {
                let note = match &support {
                    Support::Words { .. } => {
                        format!("{format} as two values in a 32-bit word: {reason}")
                    }
                    _ => format!("no {format}: {reason}"),
                };
                format!("{} [{}]", support.word(), notes.number(note))
            }
        }
    });
    let (min, max) = device.plane;
    [
        device.id.to_string(),
        device.name.clone(),
        device.backend.to_string(),
        device.driver.clone(),
        memory(device),
        if min == max {
            min.to_string()
        } else {
            format!("{min}-{max}")
        },
        f32,
        f16,
        bf16,
    ]
}

fn memory(device: &DeviceInfo) -> String {
    match (device.memory_bytes, device.processor) {
        (Some(bytes), _) => size(bytes),
        // A software driver uses the machine's memory; what limits a kernel is the largest buffer.
        (None, Processor::Cpu) => format!("buffers to {}", size(device.max_buffer_bytes)),
        (None, Processor::Gpu) => "unknown".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    if bytes >= 10 * GIB {
        format!("{} GiB", bytes / GIB)
    } else if bytes >= GIB {
        format!("{:.1} GiB", bytes as f64 / GIB as f64)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}
