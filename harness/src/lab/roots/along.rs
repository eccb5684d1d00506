//! The roots that a device finds along a run of Shampoo: how often it raises the ridge, and whether it refuses any.

use std::rc::Rc;

use sonew_kernels::kronecker::{Blocking, DeviceRoots, RootProblem, statistics};
use sonew_kernels::launch::Strategy;
use sonew_optimizers::{Context, OptimizerConfig, Shampoo};

use super::steps::Steps;
use crate::table::{Column, Table};
use crate::train::TrainError;
use crate::workloads::autoencoder::images::Images;

/// What a device found of all factors in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RootStep {
    /// The step of the run.
    pub step: usize,
    /// Factors.
    pub factors: usize,
    /// Whose ridge was raised.
    pub raised: usize,
    /// Whose root was refused.
    pub refused: usize,
    /// The most iterations of the attempts that were kept.
    pub iterations: u32,
    /// The largest check.
    pub check: f64,
}

/// Trains with Shampoo as it is without settings, at its learning rate, in f32, and gives the statistics of each step in which it
/// renews its roots to the device too; wherever Shampoo itself finds them. `tell` hears of each.
///
/// # Errors
/// As a run of training.
pub fn along(
    context: &Rc<Context>,
    images: &Images,
    sizes: &[usize],
    steps: usize,
    seed: u64,
    tell: &mut dyn FnMut(&RootStep),
) -> Result<(), TrainError> {
    let config = Shampoo::default();
    let mut run = Steps::new(
        context,
        (images, sizes),
        seed,
        OptimizerConfig::from(config),
    )?;

    let blocking = Blocking::new(run.layout(), config.limits(), None, config.vectors)?;
    let mut factors = vec![0f32; blocking.factor_values()];
    let mut problems = Vec::new();
    for factor in blocking.factors() {
        let diagonal = factors[factor.range.clone()].iter_mut();
        let diagonal = diagonal.step_by(factor.n + 1);
        diagonal.for_each(|x| *x = config.epsilon as f32);
        problems.push(RootProblem {
            start: factor.range.start,
            n: factor.n,
            p: factor.order,
        });
    }
    let device = DeviceRoots::new(context, &problems, Strategy::Inferred)?;
    let roots = context.upload(&factors);

    let mut refused = 0;
    for step in 0..steps {
        run.take(step, |grads| {
            statistics(&blocking, grads, &mut factors, config.beta2)?;
            if !(step as u64).is_multiple_of(config.root_interval) {
                return Ok(());
            }
            let uploaded = context.upload(&factors);
            let (all, threshold) = (0..problems.len(), config.residual_threshold);
            device.compute(
                context,
                &uploaded,
                &roots,
                all,
                config.root_ridge(),
                threshold,
            )?;
            let found = device.evidence(context)?;
            let sum: u32 = found.iter().map(|it| it.refused).sum();
            let last = found.iter().filter_map(|it| it.last);
            tell(&RootStep {
                step,
                factors: problems.len(),
                raised: last.clone().filter(|it| it.raises > 0).count(),
                refused: (sum - refused) as usize,
                iterations: last.clone().map(|it| it.iterations).max().unwrap_or(0),
                check: last.map(|it| it.check).fold(0.0, f64::max),
            });
            refused = sum;
            Ok(())
        })?;
    }
    Ok(())
}

/// A row for each step, and what they have together.
pub fn along_table(steps: &[RootStep]) -> Table {
    let mut table = Table::new(vec![
        Column::left("step"),
        Column::right("roots"),
        Column::right("ridge raised"),
        Column::right("refused"),
        Column::right("iterations"),
        Column::right("check"),
    ]);
    let row = |name: String, it: &RootStep| {
        vec![
            name,
            it.factors.to_string(),
            it.raised.to_string(),
            it.refused.to_string(),
            it.iterations.to_string(),
            format!("{:.1e}", it.check),
        ]
    };
    for it in steps {
        table.push(row(it.step.to_string(), it));
    }
    let all = steps.iter().copied().reduce(|all, it| RootStep {
        step: it.step,
        factors: all.factors + it.factors,
        raised: all.raised + it.raised,
        refused: all.refused + it.refused,
        iterations: all.iterations.max(it.iterations),
        check: all.check.max(it.check),
    });
    if let Some(all) = all {
        table.push(row("all".into(), &all));
    }
    table
}
