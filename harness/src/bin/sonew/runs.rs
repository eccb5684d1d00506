//! Runs of the benchmark.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use sonew_harness::arrays;
use sonew_harness::cli::RunArgs;
use sonew_harness::process::interrupt::{EXIT_STATUS, Interrupt};
use sonew_harness::process::streams::{note, print};
use sonew_harness::train::compare::compare;
use sonew_harness::train::plan::Plan;
use sonew_harness::train::record::{
    Contents, RecordError, RunFile, RunFolder, RunStatus, check_folder, read_run, timestamp,
};
use sonew_harness::train::schedule::Schedule;
use sonew_harness::train::{Ending, Run, Start, TrainError, train};
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};

/// Trains with one optimizer, whose last weights may be saved, or compares several.
pub fn start(
    run: &RunArgs,
    optimizers: &[String],
    save: Option<PathBuf>,
    compare: bool,
) -> Outcome {
    // Everything that can be refused without a device is refused before one is opened.
    let mut plans = run.plans(optimizers)?;
    let Some(first) = plans.first_mut() else {
        return Err("name an optimizer; `sonew optimizers` lists them".into());
    };
    first.save = save;
    if !compare && plans.len() > 1 {
        return Err("train takes one --precision; compare takes several".into());
    }
    let start = Start::of(&plans[0], run.workload.open()?)?;
    let job = RunJob {
        run: run.clone(),
        plans,
        start,
        compare,
    };
    job.check_folders()?;
    job.check_saved()?;
    on_device(&run.device, job)
}

struct RunJob {
    run: RunArgs,
    /// At least one.
    plans: Vec<Plan>,
    start: Start,
    compare: bool,
}

impl Job for RunJob {
    fn is_quiet(&self) -> bool {
        self.run.quiet
    }

    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let interrupt = Interrupt::install()?;
        let quiet = self.run.quiet;
        for plan in &self.plans {
            self.start.fits(plan, info)?;
        }
        // The folder is made last: a start that is refused leaves none.
        if self.compare {
            for plan in &self.plans {
                self.start.suits(plan, &context).map_err(of_plan(plan))?;
            }
            let mut folder = self.folder()?;
            self.introduce(info);
            let (table, ending) = compare(
                info,
                &context,
                &self.start,
                &self.plans,
                &mut folder,
                self.run.overwrite,
                &interrupt,
                quiet,
            );
            let result = format!("\n{}", table.to_text().trim_end());
            conclude(Some(&result), None, folder.path(), ending, self.run.json)
        } else {
            let plan = &self.plans[0];
            let run = Run::new(context, &self.start, plan)?;
            let mut folder = self.folder()?;
            self.introduce(info);
            let (summary, ending) = train(info, run, &mut folder, &interrupt, quiet);
            let result = summary.final_loss().map(|loss| {
                format!(
                    "{}: loss {loss:.3}, {:.2} bytes per parameter and {:.2} of optimizer state",
                    summary.optimizer, summary.parameter_bytes, summary.state_bytes_per_parameter
                )
            });
            let saved = plan.save.as_deref();
            conclude(
                result.as_deref(),
                saved,
                folder.path(),
                ending,
                self.run.json,
            )
        }
    }
}

impl RunJob {
    fn contents(&self) -> Contents {
        if self.compare {
            Contents::Comparison
        } else {
            Contents::Run
        }
    }

    /// Refuses folders that cannot be taken: that of the command, and in a comparison those of its runs.
    fn check_folders(&self) -> Result<(), RecordError> {
        let Some(out) = &self.run.out else {
            return Ok(());
        };
        check_folder(out, self.contents(), self.run.overwrite)?;
        if self.compare {
            for plan in &self.plans {
                check_folder(out.join(&plan.folder), Contents::Run, self.run.overwrite)?;
            }
        }
        Ok(())
    }

    /// Refuses a file of last weights that cannot be written, or is one of the run's record. The run's folder may not be there yet.
    fn check_saved(&self) -> Result<(), Box<dyn Error>> {
        let Some(path) = &self.plans[0].save else {
            return Ok(());
        };
        let out = self.run.out.as_deref();
        if out.is_none() || path.parent() != out {
            return Ok(arrays::can_write(path)?);
        }
        if path.file_name().is_some_and(|it| Contents::Run.owns(it)) {
            let found = path.display();
            return Err(
                format!("--save: {found} belongs to the run's record; take another name").into(),
            );
        }
        if out.is_some_and(Path::exists) {
            arrays::can_write(path)?;
        }
        Ok(())
    }

    fn folder(&self) -> Result<RunFolder, RecordError> {
        // Much may have happened while the device was opened.
        self.check_folders()?;
        match &self.run.out {
            Some(path) => RunFolder::create_for(path, self.contents(), self.run.overwrite),
            None => {
                let stem = match self.contents() {
                    Contents::Run => &self.plans[0].folder,
                    Contents::Comparison => "compare",
                };
                RunFolder::create_named("runs", &format!("{stem}-{}", timestamp()))
            }
        }
    }

    fn introduce(&self, info: &DeviceInfo) {
        if self.run.quiet {
            return;
        }
        note(&format!(
            "{} through {} ({})",
            info.name, info.backend, info.id
        ));
        if self.run.schedule == Schedule::PAPER && self.run.epochs <= 5 {
            note(
                "note: the paper's schedule starts with an epoch at learning rate 0 and warms up until the fifth; --schedule paper=100 takes the first epochs of its 100, --schedule constant none of it",
            );
        }
    }
}

fn of_plan(plan: &Plan) -> impl FnOnce(TrainError) -> TrainError {
    move |source| TrainError::OfRun {
        label: plan.label.clone(),
        source: Box::new(source),
    }
}

/// Prints what came out, and where it is recorded and saved. What went wrong in the run counts before what goes wrong here.
fn conclude(
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
