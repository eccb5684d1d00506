//! The options of `sonew kernel`.

use std::path::PathBuf;

use clap::Args;

use super::DeviceArgs;

/// A kernel, its input and its output.
#[derive(Debug, Clone, Args)]
pub struct KernelArgs {
    /// The kernel.
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// List the kernels, or this one, with inputs, outputs and options.
    #[arg(long, conflicts_with_all = ["input", "output", "oracle", "allow_refused", "set", "device", "tuned"])]
    pub list: bool,
    /// Input arrays, safetensors.
    #[arg(long = "in", value_name = "FILE", required_unless_present = "list")]
    pub input: Option<PathBuf>,
    /// Output arrays, safetensors.
    #[arg(long = "out", value_name = "FILE", required_unless_present = "list")]
    pub output: Option<PathBuf>,
    /// Instead what the kernel's oracle computes on the same input: in f64 on the host, rounded to f32. Opens no device.
    #[arg(long, conflicts_with_all = ["device", "tuned"])]
    pub oracle: bool,
    /// Write results, and end with exit status 0, also where the kernel found none that may be used, such as a root.
    #[arg(long)]
    pub allow_refused: bool,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// An option of the kernel.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}
