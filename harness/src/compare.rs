//! Several runs on the same start and the same batches, in one table and one plot.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use cubecl::Runtime;
use sonew_optimizers::Context;

use crate::data::Images;
use crate::interrupt::Interrupt;
use crate::plan::Plan;
use crate::plot::{Curve, LossPlot, Scale};
use crate::record::RunFolder;
use crate::streams::note;
use crate::summary::{RunSummary, comparison, epochs_to_show};
use crate::table::Table;
use crate::train::{TrainError, train};

/// Runs the plans one after the other into folders of their own below `folder`, and writes `table.md`, `table.csv`,
/// `loss.svg` and `loss.png` beside them. A run that fails is noted in the table; the others go on.
///
/// # Errors
/// If the folder cannot be written, or every run fails.
pub fn compare<R: Runtime>(
    device: &sonew_runtime::DeviceInfo,
    context: &Rc<Context<R>>,
    images: &Images,
    plans: &[Plan],
    folder: &mut RunFolder,
    overwrite: bool,
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<Table, TrainError> {
    let root: PathBuf = folder.path().to_owned();
    folder.write_config(&plans)?;
    let mut runs: Vec<RunSummary> = Vec::new();
    let mut failure = None;
    for plan in plans {
        if interrupt.requested() {
            break;
        }
        let mut own = RunFolder::create(root.join(&plan.label), overwrite)?;
        match train(
            device,
            context.clone(),
            images,
            plan,
            &mut own,
            interrupt,
            quiet,
        ) {
            Ok(summary) => runs.push(summary),
            Err(error @ (TrainError::Diverged { .. } | TrainError::NonFinite { .. })) => {
                note(&format!("{}: {error}", plan.label));
                runs.push(diverged(plan, own.path(), &error));
            }
            Err(error) => {
                note(&format!("{}: {error}", plan.label));
                failure = Some(error);
            }
        }
    }
    if let (true, Some(error)) = (runs.is_empty(), failure) {
        folder.finish(crate::record::RunStatus::Failed(error.to_string()), &())?;
        return Err(error);
    }
    let epochs = runs.iter().map(|run| run.losses.len()).max().unwrap_or(0);
    let table = comparison(&runs, &epochs_to_show(epochs));
    write(&root.join("table.md"), &table.to_markdown())?;
    write(&root.join("table.csv"), &table.to_csv())?;
    let curves: Vec<Curve> = runs
        .iter()
        .filter(|run| !run.losses.is_empty())
        .map(|run| Curve::of_losses(run.optimizer.clone(), &run.losses))
        .collect();
    if !curves.is_empty() {
        LossPlot {
            caption: "MNIST autoencoder".into(),
            curves,
            scale: Scale::Log,
        }
        .write_to_folder(&root)?;
    }
    let status = if interrupt.requested() {
        crate::record::RunStatus::Interrupted
    } else {
        crate::record::RunStatus::Finished
    };
    folder.finish(status, &runs)?;
    Ok(table)
}

/// The row of a run that diverged: what its folder recorded before.
fn diverged(plan: &Plan, folder: &Path, error: &TrainError) -> RunSummary {
    let losses = crate::record::read_log(folder)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|line| match line {
            crate::record::LogLine::Epoch(epoch) => Some(epoch.loss),
            _ => None,
        })
        .collect();
    RunSummary {
        optimizer: plan.label.clone(),
        losses,
        seconds_per_epoch: f64::NAN,
        optimizer_ms_per_step: f64::NAN,
        parameter_bytes: plan.numerics.precision.parameter_bytes() as f64,
        state_bytes_per_parameter: f64::NAN,
        optimizer_parts: Vec::new(),
        note: format!("diverged: {error}"),
    }
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    std::fs::write(path, text).map_err(|source| {
        TrainError::Record(crate::record::RecordError::Io {
            operation: "writing",
            path: path.to_owned(),
            source,
        })
    })
}
