//! What is printed without computing anything.

use std::process::ExitCode;

use sonew_harness::lab::devices;
use sonew_harness::lab::kernel_files::{kernel, kernels};
use sonew_harness::lab::source::{Target, source};
use sonew_harness::process::streams::print;
use sonew_optimizers::{OptimizerConfig, PrecisionKind};

use crate::Outcome;

/// The devices of the machine.
pub fn devices(json: bool) -> Outcome {
    let survey = sonew_runtime::survey();
    if json {
        print(&serde_json::to_string_pretty(&survey)?)?;
    } else {
        print(devices::text(&survey).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The optimizers and their settings.
pub fn optimizers(only: Option<&str>) -> Outcome {
    let names = match only {
        Some(name) => vec![name],
        None => OptimizerConfig::NAMES.to_vec(),
    };
    let mut text = String::new();
    for name in names {
        let config = OptimizerConfig::named(name)?;
        text += &format!("{name}   (--lr {:e} unless given)\n", config.default_lr());
        for setting in config.settings() {
            text += &format!(
                "  {:<20} {:<10} {}\n",
                setting.key, setting.value, setting.meaning
            );
        }
        text += "\n";
    }
    if only.is_none() {
        text += "band-N-sonew takes any N from 0 to 32, on a software driver to 16.\n";
    }
    print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The kernels that run on arrays from a file, or one of them.
pub fn list_kernels(only: Option<&str>) -> Outcome {
    let listed = match only {
        Some(name) => vec![kernel(name)?],
        None => kernels(),
    };
    let mut text: String = listed.iter().map(|kernel| format!("{kernel}\n")).collect();
    text += "Arrays are f32 in a safetensors file, other widths are converted. Entry i of the k-th row of edges couples values i and \
             i+1+k; an edge that would couple to a value beyond the tensor counts as 0. --oracle computes in f64 and writes f32.";
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What a kernel compiles to.
pub fn text(kernel: &str, target: Target, precision: PrecisionKind) -> Outcome {
    print(source(kernel, target, precision)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
