//! One run: steps over shuffled batches, the loss on the full training set after each epoch, a record of both.

pub mod checkpoint;
pub mod compare;
mod ending;
mod error;
mod evaluation;
pub mod init;
mod not_a_number;
pub mod order;
pub mod plan;
pub mod plot;
pub mod position;
pub mod progress;
pub mod record;
mod run;
mod saved;
pub mod schedule;
mod start;
pub mod summary;
mod trouble;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::process::interrupt::Interrupt;
use crate::process::streams::note;
use plan::Plan;
use plot::{Curve, LossPlot, Scale};
use progress::Progress;
use record::RunFolder;
use summary::RunSummary;

pub use ending::Ending;
pub use error::TrainError;
pub use evaluation::{Evaluated, Evaluation};
use run::Desk;
pub use run::Run;
pub use start::Start;

/// Everything of `run.json` that is not asked for but found.
#[derive(Serialize)]
struct Config<'a> {
    command: &'a [String],
    /// When it was resumed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resumed: &'a [Resumption],
    version: &'static str,
    cubecl: &'static str,
    device: &'a sonew_runtime::DeviceInfo,
    parameters: usize,
    /// How many examples, by what they are called.
    #[serde(flatten)]
    examples: BTreeMap<&'static str, usize>,
    steps_per_epoch: usize,
    /// How the optimizer treats each tensor, if it tells them apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<String>,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// A run that went on from a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumption {
    /// Steps taken before.
    pub step: usize,
    /// The version of the program.
    pub version: String,
    /// The device.
    pub device: String,
}

/// Trains as planned, writing the record to `folder`. However the run ends, what it found until then comes back, and the folder
/// says how it ended.
pub fn train(
    device: &sonew_runtime::DeviceInfo,
    mut run: Run<'_>,
    folder: &mut RunFolder,
    interrupt: &Interrupt,
    quiet: bool,
) -> (RunSummary, Ending) {
    interrupt.before_exit(folder.last_words());
    let plan = run.plan;
    let mut summary = run.summary.clone();
    summary.state_bytes_per_parameter = run.optimizer.state_bytes_per_parameter();
    let mut ending = match begin(device, &run, folder) {
        Err(error) => Ending::by(error),
        Ok(()) => {
            let total = plan.total_steps(run.order.steps_per_epoch());
            let done = run.position.steps;
            let many = run.workload.examples().many;
            let mut progress = Progress::start(total, done, many, quiet);
            let mut desk = Desk {
                folder,
                summary: &mut summary,
                interrupt,
                progress: &mut progress,
            };
            let outcome = run.epochs(&mut desk);
            progress.finish();
            outcome.map_or_else(Ending::by, Ending::without_error)
        }
    };
    summary.note = ending.note();
    ending.and(folder.finish(ending.status.clone(), &summary));
    ending.and(run.save(&ending));
    if !summary.losses.is_empty() {
        let plot = LossPlot {
            caption: run.workload.title().into(),
            loss_unit: run.workload.loss_unit().into(),
            curves: vec![Curve::of_losses(plan.folder.clone(), &summary.losses)],
            scale: Scale::Log,
        };
        ending.and(plot.write_to_folder(folder.path()));
    }
    // The summary was safe before weights and plot were tried.
    if summary.note != ending.note() {
        summary.note = ending.note();
        ending.and(folder.finish(ending.status.clone(), &summary));
    }
    (summary, ending)
}

/// Says and records what the run is.
fn begin(
    device: &sonew_runtime::DeviceInfo,
    run: &Run<'_>,
    folder: &mut RunFolder,
) -> Result<(), TrainError> {
    let tensors = run.tensors();
    let examples = run.workload.examples();
    if run.plan.verbose {
        for line in &tensors {
            note(&format!("{}: {line}", run.plan.label));
        }
    }
    Ok(folder.write_config(&Config {
        command: &run.command,
        resumed: &run.resumed,
        version: env!("CARGO_PKG_VERSION"),
        cubecl: "0.10.0",
        device,
        parameters: run.workload.layout().parameters(),
        examples: BTreeMap::from([(examples.many, examples.count)]),
        steps_per_epoch: run.order.steps_per_epoch(),
        tensors,
        plan: run.plan,
    })?)
}
