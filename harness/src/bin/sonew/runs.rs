//! Comparisons of runs, and how any run begins and ends.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use sonew_harness::cli::RunArgs;
use sonew_harness::process::interrupt::{EXIT_STATUS, Interrupt};
use sonew_harness::process::streams::{note, print};
use sonew_harness::train::compare::compare;
use sonew_harness::train::plan::Plan;
use sonew_harness::train::record::{
    Contents, RecordError, RunFile, RunFolder, RunStatus, check_folder, read_run, timestamp,
};
use sonew_harness::train::schedule::Schedule;
use sonew_harness::train::{Ending, Start, TrainError};
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};

/// Compares optimizers.
pub fn compare_all(run: &RunArgs, optimizers: &[String]) -> Outcome {
    // Everything that can be refused without a device is refused before one is opened.
    let plans = run.plans(optimizers)?;
    let Some(first) = plans.first() else {
        return Err("name an optimizer; `sonew optimizers` lists them".into());
    };
    let start = Start::of(first, run.workload.open()?)?;
    let job = Comparison {
        run: run.clone(),
        plans,
        start,
    };
    job.check_folders()?;
    on_device(&run.device, job)
}

struct Comparison {
    run: RunArgs,
    /// At least one.
    plans: Vec<Plan>,
    start: Start,
}

impl Job for Comparison {
    fn is_quiet(&self) -> bool {
        self.run.quiet
    }

    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let interrupt = Interrupt::install()?;
        for plan in &self.plans {
            self.start.fits(plan, info)?;
        }
        for plan in &self.plans {
            self.start.suits(plan, &context).map_err(of_plan(plan))?;
        }
        // Much may have happened while the device was opened.
        self.check_folders()?;
        // The folder is made last: a start that is refused leaves none.
        let mut folder = folder(&self.run, Contents::Comparison, "compare")?;
        introduce(&self.run, info);
        let (table, ending) = compare(
            info,
            &context,
            &self.start,
            &self.plans,
            &mut folder,
            self.run.overwrite,
            &interrupt,
            self.run.quiet,
        );
        let result = format!("\n{}", table.to_text().trim_end());
        conclude(Some(&result), None, folder.path(), ending, self.run.json)
    }
}

impl Comparison {
    /// Refuses folders that cannot be taken: that of the command, and those of its runs.
    fn check_folders(&self) -> Result<(), RecordError> {
        let Some(out) = &self.run.out else {
            return Ok(());
        };
        check_folder(out, Contents::Comparison, self.run.overwrite)?;
        for plan in &self.plans {
            check_folder(out.join(&plan.folder), Contents::Run, self.run.overwrite)?;
        }
        Ok(())
    }
}

/// Makes the folder that was asked for, or one in `runs` after `stem`.
pub fn folder(run: &RunArgs, contents: Contents, stem: &str) -> Result<RunFolder, RecordError> {
    match &run.out {
        Some(path) => RunFolder::create_for(path, contents, run.overwrite),
        None => RunFolder::create_named("runs", &format!("{stem}-{}", timestamp())),
    }
}

/// Says what trains, and how the schedule may surprise.
pub fn introduce(run: &RunArgs, info: &DeviceInfo) {
    if run.quiet {
        return;
    }
    note(&format!(
        "{} through {} ({})",
        info.name, info.backend, info.id
    ));
    if run.schedule == Schedule::PAPER && run.epochs <= 5 {
        note(
            "note: the paper's schedule starts with an epoch at learning rate 0 and warms up until the fifth; --schedule paper=100 takes the first epochs of its 100, --schedule constant none of it",
        );
    }
}

fn of_plan(plan: &Plan) -> impl FnOnce(TrainError) -> TrainError {
    move |source| TrainError::OfRun {
        label: plan.label.clone(),
        source: Box::new(source),
    }
}

/// Prints what came out, and where it is recorded and saved. What went wrong in the run counts before what goes wrong here.
pub fn conclude(
    result: Option<&str>,
    saved: Option<&Path>,
    folder: &Path,
    ending: Ending,
    json: bool,
) -> Outcome {
    let printed = if json {
        record(folder)
    } else {
        let saved = saved.filter(|_| ending.error.is_none());
        report(result, saved, folder, &ending.status).map_err(Into::into)
    };
    match (ending.status, ending.error) {
        (RunStatus::Interrupted, error) => {
            if let Some(error) = error {
                note(&format!("sonew: {error}"));
            }
            Ok(ExitCode::from(EXIT_STATUS))
        }
        (_, Some(error)) => Err(error.into()),
        (_, None) => printed.map(|()| ExitCode::SUCCESS),
    }
}

/// Prints what `run.json` holds, and where it is.
fn record(folder: &Path) -> Result<(), Box<dyn Error>> {
    let RunFile {
        status,
        config,
        summary,
    } = read_run(folder)?;
    let record = serde_json::json!({
        "folder": folder,
        "status": status,
        "config": config,
        "summary": summary,
    });
    Ok(print(&serde_json::to_string_pretty(&record)?)?)
}

fn report(
    result: Option<&str>,
    saved: Option<&Path>,
    folder: &Path,
    status: &RunStatus,
) -> std::io::Result<()> {
    if let Some(result) = result {
        print(result)?;
    }
    if *status == RunStatus::Interrupted {
        print("interrupted")?;
    }
    let plot = folder.join("loss.png");
    if plot.is_file() {
        print(&format!("\nplot   {}", plot.display()))?;
    }
    if let Some(saved) = saved {
        print(&format!("weights {}", saved.display()))?;
    }
    print(&format!("record {}", folder.display()))
}
