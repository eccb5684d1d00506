//! The command line: what can be asked for, and how a run is planned from it.

mod numerics;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sonew_optimizers::{Numerics, OptimizerConfig, PrecisionKind};
use sonew_runtime::Selector;

use crate::data::{IdxError, Images, embedded};
use crate::init::AUTOENCODER_SIZES;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::source::Target;
use numerics::NumericsArgs;

/// SONew and its baselines on the MNIST autoencoder, on any GPU or none.
#[derive(Debug, Parser)]
#[command(name = "sonew", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
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
        /// sgd, momentum, nesterov, adagrad, rmsprop, adam, shampoo, diag-sonew, tridiag-sonew or band-N-sonew.
        #[arg(long, default_value = "tridiag-sonew")]
        optimizer: String,
        /// The run.
        #[command(flatten)]
        run: RunArgs,
    },
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
        #[arg(long, value_name = "N")]
        recorded: Option<usize>,
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
        #[arg(long, value_delimiter = ',', default_values_t = [1.0, 0.1, 0.01, 0.001])]
        noise: Vec<f64>,
        /// The precisions; the mixed ones compute as f32 does.
        #[arg(long, value_delimiter = ',', default_values_t = [PrecisionKind::F32, PrecisionKind::Bf16, PrecisionKind::F16])]
        precisions: Vec<PrecisionKind>,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Check every kernel in every precision on a device: against its oracle, and twice for the same bits. Exit status 1 if
    /// anything is off.
    Verify {
        /// Only this kernel.
        #[arg(long)]
        kernel: Option<String>,
        /// Only these precisions.
        #[arg(long, visible_alias = "precisions", value_delimiter = ',', default_values_t = PrecisionKind::ALL)]
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
        /// Only this kernel, or optimizer-step, training-step, first-use, or scaling (how a step of SONew grows; not among what is
        /// measured otherwise but for --full).
        #[arg(long)]
        kernel: Option<String>,
        /// In these precisions.
        #[arg(
            long,
            visible_alias = "precisions",
            value_delimiter = ',',
            default_value = "f32"
        )]
        precision: Vec<PrecisionKind>,
        /// Widths of SONew's band.
        #[arg(long, visible_alias = "bands", value_delimiter = ',', default_value = "0,1,4", value_parser = clap::value_parser!(u8).range(0..=32))]
        band: Vec<u8>,
        /// Also on so many values in one tensor, beside the autoencoder's.
        #[arg(long, visible_alias = "values", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
        size: Vec<u32>,
        /// Every precision, bands up to 10, 16 Mi values and what more fits, longer batches.
        #[arg(long, conflicts_with_all = ["precision", "band", "size"])]
        full: bool,
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
        /// The kernel: sgd, momentum, nesterov, adagrad, rmsprop, adam, statistics, banded-ldl, precondition or sonew-step.
        kernel: String,
        /// In this precision.
        #[arg(long, default_value_t = PrecisionKind::F32)]
        precision: PrecisionKind,
        /// Width of SONew's band.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=32))]
        band: u8,
        /// On so many values in one tensor, instead of on the autoencoder's.
        #[arg(long, visible_alias = "values", value_parser = clap::value_parser!(u32).range(1..))]
        size: Option<u32>,
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
    /// Verify and measure every device of this machine, and write one report in JSON and in Markdown.
    Report {
        /// The folder to write to.
        #[arg(long, default_value = "report")]
        out: PathBuf,
        /// Only these devices: cuda:N, wgpu:N, wgpu:cpu. The software driver is left out unless it is named or there is nothing else.
        #[arg(long, value_delimiter = ',')]
        device: Vec<Selector>,
        /// Only this kernel.
        #[arg(long)]
        kernel: Option<String>,
        /// Less of both: `verify` and `bench` without --full.
        #[arg(long)]
        quick: bool,
    },
    /// Print the text that a kernel compiles to, in each of its variants; needs no device.
    Source {
        /// The kernel, as `verify` names it.
        kernel: String,
        /// cuda (C++ for sm_80), wgsl, or spirv (disassembled; in a program built with --features vulkan).
        #[arg(long, default_value = "cuda")]
        target: Target,
        /// The precision.
        #[arg(long, default_value = "f32")]
        precision: PrecisionKind,
    },
    /// Run one kernel on arrays from a file.
    Kernel {
        /// The kernel.
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List the kernels with their inputs, outputs and options.
        #[arg(long)]
        list: bool,
        /// Input arrays, safetensors.
        #[arg(long = "in", value_name = "FILE", required_unless_present = "list")]
        input: Option<PathBuf>,
        /// Output arrays, safetensors.
        #[arg(long = "out", value_name = "FILE", required_unless_present = "list")]
        output: Option<PathBuf>,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
        /// An option of the kernel.
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<(String, String)>,
    },
}

/// A device, and how its kernels are laid out.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// The device: auto (CUDA, else a GPU through wgpu, else a software driver), cuda:N, wgpu:N or wgpu:cpu.
    #[arg(long, default_value = "auto")]
    pub device: Selector,
    /// Use the blueprints that `sonew tune` stored for this device, instead of the defaults.
    #[arg(long, value_name = "FILE")]
    pub tuned: Option<PathBuf>,
}

/// A run.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Images in the IDX format, raw, .gz or .zst, instead of the embedded MNIST training set.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Use only the first N images.
    #[arg(long, value_name = "N")]
    pub train_images: Option<usize>,
    /// Epochs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Stop after N steps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Images of a batch.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// Units of each layer, comma-separated; the middle one is the code.
    #[arg(long, value_delimiter = ',', default_values_t = AUTOENCODER_SIZES)]
    pub sizes: Vec<usize>,
    /// Seed of the first weights and of the batch order.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How numbers are held.
    #[command(flatten)]
    pub numerics: NumericsArgs,
    /// Base learning rate; each optimizer has a default (`sonew optimizers`).
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// paper (an epoch at 0, warm-up, linear decay over the run), paper=E (over E epochs), constant, or warmup=N (N steps).
    #[arg(long, default_value = "paper")]
    pub schedule: Schedule,
    /// A setting of the optimizer (`sonew optimizers`).
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// First weights from a safetensors file: w0, w1, … of shape `[out, in]`, b0, b1, … of shape `[out]`.
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Batch order from a safetensors file: order, u32 of shape `[steps, batch]`.
    #[arg(long, value_name = "FILE")]
    pub order: Option<PathBuf>,
    /// Log the loss of every step's batch, before the update.
    #[arg(long)]
    pub log_steps: bool,
    /// The run's folder; default runs/NAME-TIME.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace the run that --out already holds.
    #[arg(long)]
    pub overwrite: bool,
    /// No progress.
    #[arg(long)]
    pub quiet: bool,
    /// Say how the optimizer treats each tensor.
    #[arg(long)]
    pub verbose: bool,
}

/// Why the command line does not describe a run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An optimizer or one of its settings.
    #[error(transparent)]
    Optimizer(#[from] sonew_optimizers::Error),
    /// A learning rate that is none.
    #[error("lr = {found} is out of range, expected a finite number ≥ 0")]
    Lr {
        /// What was found.
        found: String,
    },
    /// `--set` with a key that none of the optimizers has.
    #[error("--set {key}: none of the optimizers has this setting; `sonew optimizers` lists them")]
    Unused {
        /// The key.
        key: String,
    },
    /// An optimizer's own setting is not KEY=VALUE.
    #[error("`{found}` is not KEY=VALUE; write for example adam:lr=1e-3:beta2=0.99")]
    Inline {
        /// What was found.
        found: String,
    },
    /// The images.
    #[error(transparent)]
    Images(#[from] IdxError),
}

impl RunArgs {
    /// The images asked for.
    ///
    /// # Errors
    /// Files that are no images, and more images asked for than there are.
    pub fn images(&self) -> Result<Images, PlanError> {
        let images = match &self.data {
            Some(path) => Images::open(path)?,
            None => embedded::train_images()?,
        };
        Ok(match self.train_images {
            Some(count) => images.first(count)?,
            None => images,
        })
    }

    /// The runs of `optimizers`, each `NAME[:KEY=VALUE]…`. `--set` reaches every optimizer that has the key.
    ///
    /// # Errors
    /// Names, keys and values that do not exist or fit.
    pub fn plans(&self, optimizers: &[String]) -> Result<Vec<Plan>, PlanError> {
        let mut unused: Vec<&str> = self.set.iter().map(|(key, _)| key.as_str()).collect();
        let mut plans: Vec<Plan> = Vec::new();
        for text in optimizers {
            let mut parts = text.split(':');
            let name = parts.next().unwrap_or_default().trim();
            let mut optimizer = OptimizerConfig::named(name)?;
            let mut lr = self.lr;
            for (key, value) in &self.set {
                match optimizer.set(key, value) {
                    Ok(()) => unused.retain(|other| other != key),
                    // Another optimizer of the comparison may have it.
                    Err(sonew_optimizers::Error::UnknownSetting { .. }) if optimizers.len() > 1 => {
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            for part in parts {
                match part.split_once('=') {
                    Some(("lr", value)) => {
                        lr = Some(value.parse().map_err(|_| PlanError::Lr {
                            found: value.into(),
                        })?);
                    }
                    Some((key, value)) => optimizer.set(key, value)?,
                    None => return Err(PlanError::Inline { found: part.into() }),
                }
            }
            let lr = lr.unwrap_or_else(|| optimizer.default_lr());
            if !(lr >= 0.0 && lr.is_finite()) {
                return Err(PlanError::Lr {
                    found: lr.to_string(),
                });
            }
            for numerics in self.numerics.each(self.seed) {
                let mut label = text.replace(':', " ");
                if self.numerics.precision != [PrecisionKind::F32] {
                    label += &format!(" {}", numerics.precision);
                }
                numerics.validate()?;
                let label = unique(&plans, label);
                plans.push(self.plan(optimizer, numerics, label, lr));
            }
        }
        match unused.first() {
            Some(key) => Err(PlanError::Unused {
                key: (*key).to_owned(),
            }),
            None => Ok(plans),
        }
    }

    fn plan(&self, optimizer: OptimizerConfig, numerics: Numerics, label: String, lr: f64) -> Plan {
        Plan {
            optimizer,
            numerics,
            label,
            lr,
            schedule: self.schedule,
            epochs: self.epochs as usize,
            steps: self.steps.map(|steps| steps as usize),
            batch: self.batch,
            sizes: self.sizes.clone(),
            seed: self.seed,
            init: self.init.clone(),
            order: self.order.clone(),
            log_steps: self.log_steps,
            verbose: self.verbose,
        }
    }
}

/// `label`, numbered if a plan already has it: labels name folders.
fn unique(plans: &[Plan], label: String) -> String {
    let taken = |name: &str| plans.iter().any(|plan| plan.label == name);
    if !taken(&label) {
        return label;
    }
    (2..)
        .map(|k| format!("{label} {k}"))
        .find(|name| !taken(name))
        .unwrap_or(label)
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}
