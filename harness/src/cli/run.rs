//! What can be asked of a run, and how runs are planned from it.

use std::path::PathBuf;

use clap::Args;
use sonew_kernels::product::Multiplication;
use sonew_optimizers::{Numerics, OptimizerConfig, PrecisionKind, Recipe};

use super::DeviceArgs;
use super::kernel::key_value;
use super::naming;
use super::numerics::NumericsArgs;
use super::steps::StepArgs;
use super::workload::WorkloadArgs;
use crate::train::plan::Plan;
use crate::train::schedule::Schedule;

/// A run.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What is trained.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Epochs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Stop after N steps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Examples of a batch.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// Seed of the first weights and of the batch order.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How numbers are held.
    #[command(flatten)]
    pub numerics: NumericsArgs,
    /// The network's matrix products on a GPU: auto (16-bit values by matrix units, which loses no digit; f32 by plain ones), plain, or f32
    /// by matrix units, as split (in three parts, within the tolerance of f32) or tf32 (with 11 of its 24 digits).
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub products: Multiplication,
    /// Base learning rate; each optimizer has a default (`sonew optimizers`).
    #[arg(long)]
    pub lr: Option<f64>,
    /// paper (an epoch at 0, warm-up, linear decay over the run), paper=E (over E epochs), constant, warmup=N (N steps), or a decay to 0
    /// step by step over the run, cosine or linear, with =E over E epochs, with ,warmup=N after N steps of warm-up.
    #[arg(long, default_value = "paper")]
    pub schedule: Schedule,
    /// A setting of the optimizer (`sonew optimizers`).
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// What stands around a step.
    #[command(flatten)]
    pub around: StepArgs,
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
    /// Print JSON: the run's record, and its folder.
    #[arg(long)]
    pub json: bool,
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
    #[error("--lr: found {found}, expected a number ≥ 0 that is finite in f32")]
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
    #[error("--optimizer: `{found}` is not KEY=VALUE; write for example adam:lr=1e-3:beta2=0.99")]
    Inline {
        /// What was found.
        found: String,
    },
}

impl RunArgs {
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
            if !(lr >= 0.0 && (lr as f32).is_finite()) {
                return Err(PlanError::Lr {
                    found: format!("{lr:?}"),
                });
            }
            let recipe = self.around.recipe(optimizer)?;
            for numerics in self.numerics.each(self.seed) {
                numerics.validate()?;
                let mut label = naming::label(text);
                let mut folder = naming::folder(&label);
                if self.numerics.precision != [PrecisionKind::F32] {
                    let suffix = format!(" {}", numerics.precision);
                    label += &suffix;
                    folder += &suffix;
                }
                let label = naming::unique(label, |name| plans.iter().any(|it| it.label == name));
                // Some file systems do not tell a from A.
                let folder = naming::unique(folder, |name| {
                    let taken = |it: &Plan| it.folder.eq_ignore_ascii_case(name);
                    plans.iter().any(taken)
                });
                plans.push(self.plan(recipe.clone(), numerics, [label, folder], lr));
            }
        }
        match unused.first() {
            Some(key) => Err(PlanError::Unused {
                key: (*key).to_owned(),
            }),
            None => Ok(plans),
        }
    }

    fn plan(
        &self,
        recipe: Recipe,
        numerics: Numerics,
        [label, folder]: [String; 2],
        lr: f64,
    ) -> Plan {
        Plan {
            recipe,
            numerics,
            products: self.products,
            label,
            folder,
            lr,
            schedule: self.schedule,
            epochs: self.epochs as usize,
            steps: self.steps.map(|steps| steps as usize),
            batch: self.batch,
            workload: self.workload.settings(),
            seed: self.seed,
            init: self.init.clone(),
            save: None,
            order: self.order.clone(),
            checkpoint_every: None,
            log_steps: self.log_steps,
            verbose: self.verbose,
        }
    }
}
