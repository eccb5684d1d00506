//! Several runs on the same start and the same batches, in one table and one plot.

use std::path::Path;
use std::rc::Rc;

use sonew_optimizers::Context;

use super::plan::Plan;
use super::plot::{Curve, LossPlot, Scale};
use super::record::{RecordError, RunFolder, RunStatus, io_error};
use super::summary::{RunSummary, comparison, epochs_to_show};
use super::{Ending, Run, Start, train};
use crate::process::interrupt::Interrupt;
use crate::process::streams::note;
use crate::replace_file::replace_file;
use crate::table::Table;

/// Runs the plans one after the other into folders of their own below `folder`, and writes `table.md`, `table.csv`,
/// `loss.svg` and `loss.png` beside them. A run that diverges or fails is noted in the table; the others go on.
///
/// Comes to the table in any case. That some runs diverge is a result; if one fails, or all diverge, so does the comparison.
pub fn compare(
    device: &sonew_runtime::DeviceInfo,
    context: &Rc<Context>,
    start: &Start,
    plans: &[Plan],
    folder: &mut RunFolder,
    overwrite: bool,
    interrupt: &Interrupt,
    quiet: bool,
) -> (Table, Ending) {
    interrupt.before_exit(folder.last_words());
    let described = folder.write_config(&plans);
    let (mut runs, mut endings): (Vec<RunSummary>, Vec<Ending>) = (Vec::new(), Vec::new());
    for plan in plans {
        if interrupt.requested() {
            break;
        }
        let path = folder.path().join(&plan.folder);
        let begun = Run::new(context.clone(), start, plan)
            .and_then(|run| Ok((run, RunFolder::create(path, overwrite)?)));
        let (summary, ending) = match begun {
            Ok((run, mut own)) => train(device, run, &mut own, interrupt, quiet),
            Err(error) => {
                let ending = Ending::by(error);
                let note = ending.note();
                let nothing = RunSummary::of_nothing(plan);
                (RunSummary { note, ..nothing }, ending)
            }
        };
        if let Some(error) = &ending.error {
            note(&format!("{}: {error}", plan.label));
        }
        runs.push(summary);
        endings.push(ending.of_run(&plan.label));
        // If this cannot be done, no more can be done at the end, where it is reported.
        let _ = folder.keep(&runs);
    }
    let mut ending = of_all(plans.len(), endings);
    ending.and(described);
    ending.and(folder.finish(ending.status.clone(), &runs));
    let finished = ending.status.clone();
    let epochs = runs.iter().map(|run| run.losses.len()).max().unwrap_or(0);
    let table = comparison(&runs, &epochs_to_show(epochs));
    let root = folder.path().to_path_buf();
    ending.and(write(&root.join("table.md"), &table.to_markdown()));
    ending.and(write(&root.join("table.csv"), &table.to_csv()));
    let curves: Vec<Curve> = plans
        .iter()
        .zip(&runs)
        .filter(|(_, run)| !run.losses.is_empty())
        .map(|(plan, run)| Curve::of_losses(plan.folder.clone(), &run.losses))
        .collect();
    if !curves.is_empty() {
        let plot = LossPlot {
            caption: start.workload.title().into(),
            loss_unit: start.workload.loss_unit().into(),
            curves,
            scale: Scale::Log,
        };
        ending.and(plot.write_to_folder(&root));
    }
    // The summary was safe before tables and plot were tried.
    if ending.status != finished {
        ending.and(folder.finish(ending.status.clone(), &runs));
    }
    (table, ending)
}

/// How a comparison of so many planned runs ended.
fn of_all(planned: usize, endings: Vec<Ending>) -> Ending {
    let interrupted = endings.len() < planned
        || endings
            .iter()
            .any(|ending| ending.status == RunStatus::Interrupted);
    let all_diverged = endings
        .iter()
        .all(|ending| matches!(ending.status, RunStatus::Diverged(_)));
    let counts = |ending: &Ending| matches!(ending.status, RunStatus::Failed(_)) || all_diverged;
    let mut all = Ending::without_error(interrupted);
    for ending in endings.into_iter().filter(counts) {
        all.and(ending.error.map_or(Ok(()), Err));
    }
    all
}

fn write(path: &Path, text: &str) -> Result<(), RecordError> {
    replace_file(path, text.as_bytes()).map_err(io_error("writing", path))
}
