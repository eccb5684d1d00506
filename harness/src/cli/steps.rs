//! What can be asked of the gradients before a step and of the weights behind it.

use clap::Args;
use sonew_optimizers::{Gradients, Group, OptimizerConfig, Recipe};

/// What stands around the step of every optimizer.
#[derive(Debug, Clone, Args)]
pub struct StepArgs {
    /// Give tensors settings of their own, by name or by shape: PATTERN:KEY=VALUE,… with the keys lr (a factor), weight-decay, frozen,
    /// chains (rows or tensor) and optimizer, behind which its settings may follow. As 'b*:weight-decay=0,lr=0.5',
    /// '[*,30]:optimizer=adam,beta2=0.99', 'w0:frozen'. May be given several times; of several that name a tensor the last counts.
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<Group>,
    /// Scale a gradient down to norm C over all tensors where it is longer.
    #[arg(long, value_name = "C")]
    pub clip_norm: Option<f64>,
    /// Bring each value of a gradient into −V to V; before its norm.
    #[arg(long, value_name = "V")]
    pub clip_value: Option<f64>,
    /// Take a step with every K-th batch, by the mean of K gradients.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub accumulate: u64,
    /// Keep a moving average of the weights with decay D, and evaluate that after each epoch.
    #[arg(long, value_name = "D")]
    pub average: Option<f64>,
}

impl StepArgs {
    /// An optimizer with what was asked for, checked.
    ///
    /// # Errors
    /// What is out of range.
    pub fn recipe(&self, optimizer: OptimizerConfig) -> Result<Recipe, sonew_optimizers::Error> {
        let recipe = Recipe {
            gradients: Gradients {
                clip_norm: self.clip_norm,
                clip_value: self.clip_value,
                accumulate: self.accumulate,
            },
            groups: self.group.clone(),
            average: self.average,
            ..optimizer.into()
        };
        recipe.validate()?;
        Ok(recipe)
    }
}
