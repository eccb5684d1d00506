//! Runs of the benchmark.

use std::process::ExitCode;
use std::rc::Rc;

use cubecl::Runtime;
use sonew_harness::cli::RunArgs;
use sonew_harness::compare::compare;
use sonew_harness::interrupt::{EXIT_STATUS, Interrupt};
use sonew_harness::plan::Plan;
use sonew_harness::record::{RunFolder, timestamp};
use sonew_harness::schedule::Schedule;
use sonew_harness::streams::{note, print};
use sonew_harness::train::train;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};

/// Trains with one optimizer, or compares several.
pub fn start(run: &RunArgs, optimizers: &[String], compare: bool) -> Outcome {
    // Everything that can be refused without a device is refused before one is opened.
    let plans = run.plans(optimizers)?;
    if !compare && plans.len() > 1 {
        return Err("train takes one --precision; compare takes several".into());
    }
    let images = run.images()?;
    let job = RunJob {
        run: run.clone(),
        plans,
        images,
        compare,
    };
    on_device(&run.device, job)
}

struct RunJob {
    run: RunArgs,
    plans: Vec<Plan>,
    images: sonew_harness::data::Images,
    compare: bool,
}

impl Job for RunJob {
    fn run<R: Runtime>(self, info: &DeviceInfo, context: Rc<Context<R>>) -> Outcome {
        let interrupt = Interrupt::install()?;
        let run = &self.run;
        let stem = match (self.compare, self.plans.first()) {
            (false, Some(plan)) => plan.label.clone(),
            _ => "compare".into(),
        };
        let mut folder = match &run.out {
            Some(path) => RunFolder::create(path, run.overwrite)?,
            None => RunFolder::create_named("runs", &format!("{stem}-{}", timestamp()))?,
        };
        if !run.quiet {
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
        if self.compare {
            let table = compare(
                info,
                &context,
                &self.images,
                &self.plans,
                &mut folder,
                run.overwrite,
                &interrupt,
                run.quiet,
            )?;
            print(&format!("\n{}", table.to_text().trim_end()))?;
        } else {
            let summary = train(
                info,
                context,
                &self.images,
                &self.plans[0],
                &mut folder,
                &interrupt,
                run.quiet,
            )?;
            if let Some(loss) = summary.final_loss() {
                print(&format!(
                    "{}: loss {loss:.3}, {:.2} bytes per parameter and {:.2} of optimizer state",
                    summary.optimizer, summary.parameter_bytes, summary.state_bytes_per_parameter
                ))?;
            }
        }
        let path = folder.path();
        let plot = path.join("loss.png");
        if interrupt.requested() {
            print("interrupted")?;
        }
        if plot.exists() {
            print(&format!("\nplot   {}", plot.display()))?;
        }
        print(&format!("record {}", path.display()))?;
        Ok(if interrupt.requested() {
            ExitCode::from(EXIT_STATUS as u8)
        } else {
            ExitCode::SUCCESS
        })
    }
}
