//! What a report is made of, the most important first.

use std::path::Path;

use serde_json::Value;
use sonew_kernels::catalogue::Kernel;

/// Values beside the autoencoder's: more than a cache holds, and more than 2³¹ bytes in all arrays of a step.
const SIZES: [u64; 2] = [1 << 24, 1 << 27];
/// Bytes of device memory for the largest: twenty-six buffers of 512 MiB where the band is 10 wide.
const ROOMY: u64 = 24 << 30;

/// Kernels that have parts of their own.
const FIRST: [&str; 6] = [
    "sonew-step",
    "adam",
    "convert",
    "statistics",
    "banded-ldl",
    "precondition",
];

/// A command of the program, without its device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command(pub Vec<String>);

impl Command {
    fn new(words: &str) -> Self {
        Self(words.split_whitespace().map(Into::into).collect())
    }

    fn with(mut self, option: &str, values: &[String]) -> Self {
        if !values.is_empty() {
            self.0.extend([option.to_owned(), values.join(",")]);
        }
        self
    }

    /// What it does: `verify`, `bench` or `tune`.
    pub fn does(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

/// The parts of a report on a device, in turn: whether it is right; how fast the steps of SONew and Adam are, in its caches and
/// beyond them; whole steps; other precisions; other kernels; and everything.
pub(super) fn all(device: &Value, folder: &Path) -> Vec<Command> {
    let sizes: Vec<String> = SIZES
        .into_iter()
        .filter(|&values| {
            // States hold some columns more than the tensors have values.
            let fits = device["max_buffer_bytes"].as_u64().unwrap_or(0) >= 5 * values;
            let memory = device["memory_bytes"].as_u64();
            fits && (values == SIZES[0] || memory.is_some_and(|bytes| bytes >= ROOMY))
        })
        .map(|values| values.to_string())
        .collect();
    let tuned = folder.join("tuned.json").display().to_string();
    let bench = |words: &str| Command::new(&format!("bench --kernel {words}"));
    // Minutes on a software driver, and of no interest there.
    let train = (device["processor"] == "gpu").then(|| {
        let id = device["id"].as_str().unwrap_or_default().replace(':', "-");
        let out = folder.join(format!("run-{id}")).display().to_string();
        Command::new("train --optimizer tridiag-sonew --epochs 100 --quiet --overwrite")
            .with("--out", &[out])
    });
    let others: Vec<&str> = Kernel::names()
        .into_iter()
        .filter(|name| !FIRST.contains(name))
        .collect();
    let mut parts = vec![
        Command::new("verify --precision f32"),
        bench("sonew-step,adam --precision f32,bf16 --band 0,1,4,10").with("--size", &sizes),
        bench("optimizer-step,training-step --precision f32,bf16"),
        Command::new("verify --precision bf16,bf16-mixed"),
        Command::new("tune all --minutes 1.5").with("--out", &[tuned]),
        bench("product,inverse-root,first-use"),
        bench("convert,statistics,banded-ldl,precondition --precision f32,bf16 --band 1,4")
            .with("--size", &sizes[..sizes.len().min(1)]),
        Command::new("verify --precision f16,f16-mixed"),
        bench(&others.join(",")),
        Command::new("verify --full"),
        Command::new("bench --full"),
    ];
    parts.splice(3..3, train);
    parts
}

/// `verify` and `bench` of some kernels, or of all, without more; a command that knows none of them is left out.
pub(super) fn some(kernels: &[String], quick: bool, known: [&[&str]; 2]) -> Vec<Command> {
    let commands = ["verify", "bench"].into_iter().zip(known);
    commands
        .filter_map(|(command, known)| {
            let is_known = |name: &&String| known.contains(&name.as_str());
            let these: Vec<String> = kernels.iter().filter(is_known).cloned().collect();
            if these.is_empty() && !kernels.is_empty() {
                return None;
            }
            let full = if quick { "" } else { "--full" };
            Some(Command::new(&format!("{command} {full}")).with("--kernel", &these))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::Cli;
    use crate::lab::bench;
    use crate::lab::verify;

    #[test]
    fn every_part_is_a_command_that_the_program_takes_on_kernels_that_it_has() {
        let device = json!({
            "processor": "gpu", "max_buffer_bytes": 4u64 << 30, "memory_bytes": 80u64 << 30
        });
        let parts = all(&device, Path::new("a folder"));
        let known = [verify::kernels(), bench::names()].concat();
        for Command(words) in &parts {
            let mut line = vec!["sonew".to_owned()];
            line.extend(words.iter().cloned());
            Cli::try_parse_from(&line).unwrap();
            let named = words.iter().position(|word| word == "--kernel");
            for kernel in named.into_iter().flat_map(|at| words[at + 1].split(',')) {
                assert!(known.contains(&kernel), "{kernel}");
            }
        }
        assert_eq!(parts[3].does(), "train");
        assert!(parts[1].0.ends_with(&["16777216,134217728".to_owned()]));
        let small = json!({"max_buffer_bytes": 64u64 << 20, "memory_bytes": null});
        assert!(
            !all(&small, Path::new(""))[1]
                .0
                .contains(&"--size".to_owned())
        );
    }

    #[test]
    fn each_command_gets_the_kernels_that_it_knows() {
        let known: [&[&str]; 2] = [&["sgd", "norms"], &["sgd", "scaling"]];
        let words = |kernels: &[&str]| -> Vec<String> {
            let kernels: Vec<String> = kernels.iter().map(|&it| it.to_owned()).collect();
            let parts = some(&kernels, true, known).into_iter();
            parts.map(|it| it.0.join(" ")).collect()
        };
        assert_eq!(words(&["norms"]), ["verify --kernel norms"]);
        assert_eq!(
            words(&["sgd", "scaling"]),
            ["verify --kernel sgd", "bench --kernel sgd,scaling"]
        );
        assert_eq!(words(&[]), ["verify", "bench"]);
    }
}
