//! The survey as plain text.

use std::fmt::Write;

use crate::{DeviceInfo, Format, Processor, Survey};

const HEADER: [&str; 9] = [
    "id", "name", "backend", "driver", "memory", "plane", "f32", "f16", "bf16",
];
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Survey {
    /// An aligned table of the devices, notes on formats that are not native, and what is missing.
    pub fn table(&self) -> String {
        let mut notes = Notes::default();
        let mut rows = vec![HEADER.map(str::to_owned)];
        rows.extend(self.devices.iter().map(|device| row(device, &mut notes)));

        let mut text = if self.devices.is_empty() {
            "no devices\n".to_owned()
        } else {
            aligned(&rows)
        };
        notes.write(&mut text);
        self.write_missing(&mut text);
        text
    }

    fn write_missing(&self, text: &mut String) {
        if self.missing.is_empty() {
            return;
        }
        text.push_str("\nnot found\n");
        for missing in &self.missing {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}: {}", missing.kind, missing.reason);
            for item in &missing.looked_for {
                let _ = writeln!(text, "    looked for {item}");
            }
            let _ = writeln!(text, "    to have it: {}", missing.advice);
        }
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
                    crate::Support::Words { .. } => {
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

/// Columns as wide as their widest cell, two spaces apart, no spaces at line ends.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
