//! One run: begun, or gone on with.

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sonew_harness::arrays;
use sonew_harness::cli::{CheckpointArgs, Command, RunArgs, resumed};
use sonew_harness::process::interrupt::Interrupt;
use sonew_harness::process::streams::note;
use sonew_harness::process::words_of_this_process;
use sonew_harness::train::checkpoint::{CheckpointError, Every, Shelf, require_same};
use sonew_harness::train::plan::Plan;
use sonew_harness::train::record::{Contents, RecordError, RunStatus, check_folder, read_run};
use sonew_harness::train::{Run, Start, train};
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};
use crate::runs::{conclude, folder, introduce};

/// Trains with one optimizer, or goes on with a run.
pub fn start(
    run: RunArgs,
    optimizer: String,
    save: Option<PathBuf>,
    checkpoints: &CheckpointArgs,
) -> Outcome {
    match &checkpoints.resume {
        Some(folder) => go_on(folder),
        None => begin(run, optimizer, save, checkpoints.checkpoint_every),
    }
}

fn begin(run: RunArgs, optimizer: String, save: Option<PathBuf>, every: Option<Every>) -> Outcome {
    let (plan, start) = planned(&run, optimizer, save, every)?;
    let job = Training {
        begun: None,
        run,
        plan,
        start,
    };
    if let Some(out) = &job.run.out {
        check_folder(out, Contents::Run, job.run.overwrite)?;
    }
    let out = job.run.out.as_deref();
    check_saved(job.plan.save.as_deref(), out)?;
    on_device(&job.run.device.clone(), job)
}

/// Everything that can be refused without a device, before one is opened.
fn planned(
    run: &RunArgs,
    optimizer: String,
    save: Option<PathBuf>,
    every: Option<Every>,
) -> Result<(Plan, Start), Box<dyn Error>> {
    let mut plans = run.plans(&[optimizer])?;
    if plans.len() > 1 {
        return Err("train takes one --precision; compare takes several".into());
    }
    let plan = plans
        .pop()
        .ok_or("name an optimizer; `sonew optimizers` lists them")?;
    let plan = Plan {
        save,
        checkpoint_every: every,
        ..plan
    };
    let start = Start::of(&plan, run.workload.open()?)?;
    Ok((plan, start))
}

fn go_on(folder: &Path) -> Outcome {
    let run_file = match read_run(folder) {
        Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(not_resumable(folder, "it holds no run").into());
        }
        read => read?,
    };
    let (command, words) = resumed(folder, &run_file, &words_of_this_process())?;
    let Command::Train {
        optimizer,
        save,
        run,
        checkpoints,
    } = command
    else {
        return Err(not_resumable(folder, "it was not begun by `sonew train`").into());
    };
    let every = checkpoints.checkpoint_every;
    let planned = planned(&run, optimizer, save, every);
    let (plan, start) = planned.map_err(|error| elsewhere(folder, error))?;
    check_saved(plan.save.as_deref(), Some(folder))?;
    require_same(folder, &run_file.config, &plan, start.examples())?;
    let begun = Begun {
        folder: folder.into(),
        command: words,
    };
    let job = Training {
        begun: Some(begun),
        run,
        plan,
        start,
    };
    on_device(&job.run.device.clone(), job)
}

/// Says of a file that is not there that the command which names it may have been given in another folder.
fn elsewhere(folder: &Path, error: Box<dyn Error>) -> Box<dyn Error> {
    let first: &(dyn Error + 'static) = &*error;
    let mut chain = std::iter::successors(Some(first), |it| Error::source(*it));
    let is_missing = |it: &(dyn Error + 'static)| {
        let io = it.downcast_ref::<std::io::Error>();
        io.is_some_and(|it| it.kind() == ErrorKind::NotFound)
    };
    if !chain.any(is_missing) {
        return error;
    }
    let hint = "relative paths of its command are those of the working folder; resume it where it was begun, or give the file anew";
    not_resumable(folder, &format!("{error}; {hint}")).into()
}

/// Refuses a file of last weights that cannot be written, or is one of the run's record. The run's folder, `out`, may not be
/// there yet.
fn check_saved(save: Option<&Path>, out: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let Some(path) = save else {
        return Ok(());
    };
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

fn not_resumable(folder: &Path, reason: &str) -> CheckpointError {
    CheckpointError::NotResumable {
        path: folder.into(),
        reason: reason.into(),
    }
}

struct Training {
    /// What is gone on with.
    begun: Option<Begun>,
    run: RunArgs,
    plan: Plan,
    start: Start,
}

/// A run that was begun before.
struct Begun {
    folder: PathBuf,
    /// Its command, with what is asked on top.
    command: Vec<String>,
}

impl Job for Training {
    fn is_quiet(&self) -> bool {
        self.run.quiet
    }

    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let interrupt = Interrupt::install()?;
        self.start.fits(&self.plan, info)?;
        let mut run = Run::new(context, &self.start, &self.plan)?;
        // The folder is made last: a start that is refused leaves none.
        let mut folder = match self.begun {
            Some(begun) => {
                run.command = begun.command;
                run.resume(&begun.folder, info)?
            }
            None => folder(&self.run, Contents::Run, &self.plan.folder)?,
        };
        let shelf = Shelf::of_run(folder.path());
        run.checkpoints = self.plan.checkpoint_every.map(|every| (every, shelf));
        introduce(&self.run, info);
        let [taken, all] = run.steps();
        if taken > 0 && !self.run.quiet {
            note(&format!("going on after {taken} of {all} steps"));
        }
        let (summary, ending) = train(info, run, &mut folder, &interrupt, self.run.quiet);
        let result = summary.final_loss().map(|loss| {
            format!(
                "{}: loss {loss:.3}, {:.2} bytes per parameter and {:.2} of optimizer state",
                summary.optimizer, summary.parameter_bytes, summary.state_bytes_per_parameter
            )
        });
        let is_resumable = self.plan.checkpoint_every.is_some();
        if ending.status == RunStatus::Interrupted && is_resumable && !self.run.quiet {
            let path = folder.path().display();
            note(&format!("go on with it by `sonew train --resume {path}`"));
        }
        let (saved, json) = (self.plan.save.as_deref(), self.run.json);
        conclude(result.as_deref(), saved, folder.path(), ending, json)
    }
}
