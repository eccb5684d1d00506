//! What can be asked of an evaluation.

use std::path::PathBuf;

use clap::Args;
use sonew_kernels::product::Multiplication;
use sonew_optimizers::PrecisionKind;

use super::{DeviceArgs, WorkloadArgs};

/// An evaluation.
#[derive(Debug, Clone, Args)]
pub struct EvaluateArgs {
    /// The weights: a file of `train --save`, or of the kind that `train --init` reads.
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What they are the weights of.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Images of a batch.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// How weights and activations are held: f32, bf16, bf16-mixed, f16 or f16-mixed.
    #[arg(long, default_value_t = PrecisionKind::F32)]
    pub precision: PrecisionKind,
    /// The network's matrix products on a GPU: auto, plain, split or tf32, as `train` has them.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub products: Multiplication,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
