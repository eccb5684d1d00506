//! The command line: what can be asked for.

mod evaluate;
mod inspect;
mod kernel;
mod listed;
mod naming;
mod numerics;
mod resume;
mod run;
mod steps;
mod workload;

pub use evaluate::EvaluateArgs;
pub use inspect::{Forced, InspectArgs};
pub use kernel::KernelArgs;
pub use resume::{CheckpointArgs, resumed};
pub use run::{PlanError, RunArgs};
pub use workload::WorkloadArgs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use sonew_optimizers::PrecisionKind;
use sonew_runtime::Selector;

use crate::lab::source::Target;

/// SONew and its baselines on the MNIST autoencoder or a model of text, on any GPU or none.
#[derive(Debug, Parser)]
#[command(name = "sonew", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the arguments of this process, and ends it with usage or help where they are none.
    ///
    /// `--batch -1` is a value that the option refuses, not an option that is called -1.
    pub fn of_this_process() -> Self {
        let negative_numbers = |arg: clap::Arg| match arg.get_action() {
            ArgAction::Set | ArgAction::Append => arg.allow_negative_numbers(true),
            _ => arg,
        };
        let command = Self::command().mut_subcommands(|it| it.mut_args(negative_numbers));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the devices, what number formats they have, and what was looked for in vain.
    Devices {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the optimizers and their settings with defaults and meaning.
    Optimizers {
        /// Only this one.
        name: Option<String>,
    },
    /// Train with one optimizer.
    Train {
        /// The optimizer.
        #[arg(long, default_value = "tridiag-sonew", help = listed::optimizers())]
        optimizer: String,
        /// Write the last weights (their averages with --average) to this safetensors file, which --init and `sonew evaluate` read, and
        /// replace what it holds. A run that is interrupted writes those after its last step; one that diverges or fails writes none.
        #[arg(long, value_name = "FILE", display_order = 50)]
        save: Option<PathBuf>,
        /// The run.
        #[command(flatten)]
        run: RunArgs,
        /// Its checkpoints.
        #[command(flatten)]
        checkpoints: CheckpointArgs,
    },
    /// Print the loss of weights from a file over all examples: that which training prints for them.
    Evaluate(EvaluateArgs),
    /// Train with several optimizers on the same start and batches: one table, one plot.
    Compare {
        /// Comma-separated; each may carry its own settings: adam:lr=1e-3:beta2=0.99,tridiag-sonew
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "adam,tridiag-sonew,band-4-sonew"
        )]
        optimizers: Vec<String>,
        /// The runs.
        #[command(flatten)]
        run: RunArgs,
    },
    /// Measure how accurate each way to an inverse root is, and how long it takes.
    Roots {
        /// Rows and columns of the matrices.
        #[arg(long, default_value_t = 1000, conflicts_with = "recorded", value_parser = clap::value_parser!(u32).range(2..=4096))]
        size: u32,
        /// p of the inverse p-th root.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
        order: u32,
        /// Seed of the random bases.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Instead the statistics of the autoencoder after N steps of Adam on MNIST.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        recorded: Option<u32>,
        /// Instead the roots that the device finds along N steps of Shampoo on MNIST: how many ridges it raises, and roots it refuses.
        #[arg(long, value_name = "N", conflicts_with_all = ["recorded", "size", "order", "on_device"], value_parser = clap::value_parser!(u32).range(1..))]
        along: Option<u32>,
        /// Also compute each root on the device.
        #[arg(long)]
        on_device: bool,
        /// The device, to compute roots or to train on.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Compare the policies for small pivots of SONew's factor in each precision, on gradients of growing correlation.
    Stability {
        /// Band width.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
        band: u32,
        /// Noise between the values of a gradient whose common part is about 1.
        #[arg(long, value_delimiter = ',', action = ArgAction::Set, value_parser = noise, default_values_t = [1.0, 0.1, 0.01, 0.001])]
        noise: Vec<f64>,
        /// The precisions; the mixed ones compute as f32 does.
        #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_values_t = [PrecisionKind::F32, PrecisionKind::Bf16, PrecisionKind::F16])]
        precisions: Vec<PrecisionKind>,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Check every kernel in every precision on a device: against its oracle, and twice for the same bits. Exit status 1 if
    /// anything is off.
    Verify {
        /// Only these kernels.
        #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
        kernel: Vec<String>,
        /// Only these precisions.
        #[arg(long, visible_alias = "precisions", value_delimiter = ',', action = ArgAction::Set, default_values_t = PrecisionKind::ALL)]
        precision: Vec<PrecisionKind>,
        /// Also at the edges of blocks, and on more than 2²⁴ values.
        #[arg(long)]
        full: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Measure a device: what it can do at most, its kernels beside that, steps of the optimizers beside Adam's. What computes
    /// something else than its oracle is not timed, and ends with exit status 1.
    Bench {
        /// Only these kernels, or product (the autoencoder's), inverse-root, optimizer-step, training-step, first-use,
        /// first-step (of training, in this process; alone), or scaling (how a step of SONew grows; otherwise only with --full).
        #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
        kernel: Vec<String>,
        /// In these precisions.
        #[arg(
            long,
            visible_alias = "precisions",
            value_delimiter = ',',
            action = ArgAction::Set,
            default_value = "f32"
        )]
        precision: Vec<PrecisionKind>,
        /// Widths of SONew's band.
        #[arg(long, visible_alias = "bands", value_delimiter = ',', action = ArgAction::Set, default_value = "0,1,4", value_parser = clap::value_parser!(u8).range(0..=32))]
        band: Vec<u8>,
        /// Also on so many values in one tensor, beside the autoencoder's.
        #[arg(long, visible_alias = "values", value_delimiter = ',', action = ArgAction::Set, value_parser = clap::value_parser!(u32).range(1..))]
        size: Vec<u32>,
        /// Every precision, bands up to 10, 16 Mi values and what more fits, longer batches.
        #[arg(long, conflicts_with_all = ["precision", "band", "size"])]
        full: bool,
        /// Begin with nothing more after so long.
        #[arg(long, value_name = "M", value_parser = minutes)]
        minutes: Option<Duration>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Find the fastest blueprint of a kernel on a device: holds each candidate to the oracle, times it, prints a table, and stores
    /// the fastest. Nothing reads the file but --tuned.
    Tune {
        /// The kernel.
        #[arg(help = listed::tunable())]
        kernel: String,
        /// In this precision.
        #[arg(long, default_value_t = PrecisionKind::F32)]
        precision: PrecisionKind,
        /// Width of SONew's band; default 1, and of `all` 1, 4, 0 and 10.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=32))]
        band: Option<u8>,
        /// On so many values in one tensor, instead of on the autoencoder's.
        #[arg(long, visible_alias = "values", value_parser = clap::value_parser!(u32).range(1..))]
        size: Option<u32>,
        /// At most so long in all; default a third of a minute for each kernel on a GPU, and 2 on a software driver.
        #[arg(long, value_name = "M", value_parser = minutes)]
        minutes: Option<Duration>,
        /// The file to store the fastest in, beside what it has of other kernels and devices.
        #[arg(long, value_name = "FILE", default_value = "tuned.json")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Verify and measure every device of this machine in bounded time, the most important first, and write one report in JSON and in
    /// Markdown, which is whole after each part.
    Report {
        /// The folder to write to.
        #[arg(long, default_value = "report")]
        out: PathBuf,
        /// Only these devices: auto, cuda:N, wgpu:N, vulkan:N, wgpu:cpu, vulkan:cpu. The software driver is left out unless it is named or there is nothing else.
        #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
        device: Vec<Selector>,
        /// Only these kernels.
        #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
        kernel: Vec<String>,
        /// Only `verify` and `bench` as they are without options.
        #[arg(long)]
        quick: bool,
        /// At most so long for each device; what is under way then is ended.
        #[arg(long, value_name = "M", value_parser = minutes, default_value = "6")]
        minutes: Duration,
    },
    /// Tell what a kernel costs on a GPU, without one: its CUDA C++ runs on the host's processor (which needs a C++ compiler), every
    /// access to memory is counted in sectors, and NVIDIA's compiler (scripts/nvrtc.sh) tells its registers.
    Inspect(InspectArgs),
    /// Print the text that a kernel compiles to, in each of its variants; needs no device.
    Source {
        /// The kernel, as `verify` names it.
        kernel: String,
        /// cuda (C++ for sm_80), wgsl, or spirv (disassembled).
        #[arg(long, default_value = "cuda")]
        target: Target,
        /// The precision.
        #[arg(long, default_value = "f32")]
        precision: PrecisionKind,
    },
    /// Run one kernel, or its oracle, on arrays from a file.
    Kernel(KernelArgs),
}

/// A device, and how its kernels are laid out.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// The device: auto (CUDA, else a GPU through wgpu, else a software driver), cuda:N, wgpu:N or vulkan:N (WGSL or SPIR-V), wgpu:cpu or vulkan:cpu; `sonew devices` lists them.
    #[arg(long, default_value = "auto")]
    pub device: Selector,
    /// Use the blueprints that `sonew tune` stored for this device, instead of the defaults (those that come with the program for it, or
    /// reckoned ones).
    #[arg(long, value_name = "FILE")]
    pub tuned: Option<PathBuf>,
    /// Compile every kernel again, and keep none. Otherwise PTX and SPIR-V are kept in sonew/kernels under $XDG_CACHE_HOME or ~/.cache,
    /// for this build of the program on this device.
    #[arg(long)]
    pub no_cache: bool,
}

impl DeviceArgs {
    /// Whether a device or its blueprints were asked for.
    pub fn is_chosen(&self) -> bool {
        self.device != Selector::Auto || self.tuned.is_some() || self.no_cache
    }
}

/// A size of noise.
fn noise(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(noise) if noise >= 0.0 && (noise as f32).is_finite() => Ok(noise),
        _ => Err("expected a number ≥ 0 that is finite in f32".into()),
    }
}

/// A time.
fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(|minutes: f64| 60.0 * minutes);
    let time = seconds.filter(|&it| it > 0.0 && it <= 1e6);
    let time = time.map(Duration::from_secs_f64);
    time.ok_or_else(|| "expected a number of minutes > 0, such as 6 or 0.5".into())
}
