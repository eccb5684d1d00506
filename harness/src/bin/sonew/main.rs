//! `sonew`: devices, optimizers, train, evaluate, compare, roots, stability, verify, bench, tune, report, inspect, source, kernel.

mod cost;
mod evaluate;
mod measures;
mod on_device;
mod one_kernel;
mod runs;
mod texts;
mod training;

use std::error::Error;
use std::process::ExitCode;

use measures::{BenchJob, RootsAlongJob, RootsJob, StabilityJob, TuneJob, VerifyJob};
use on_device::on_device;
use sonew_harness::cli::{Cli, Command};
use sonew_harness::lab::report;
use sonew_harness::lab::stability::Comparison;
use sonew_harness::lab::verify::Request;
use sonew_harness::process::freed_memory;
use sonew_harness::process::runtime_folder;
use sonew_harness::process::streams::note;

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    runtime_folder::name();
    freed_memory::keep();
    let outcome = match Cli::of_this_process().command {
        Command::Devices { json } => texts::devices(json),
        Command::Optimizers { name } => texts::optimizers(name.as_deref()),
        Command::Train {
            optimizer,
            save,
            run,
            checkpoints,
        } => training::start(run, optimizer, save, &checkpoints),
        Command::Evaluate(args) => evaluate::evaluate(&args),
        Command::Compare { optimizers, run } => runs::compare_all(&run, &optimizers),
        Command::Roots {
            size,
            order,
            seed,
            recorded,
            along,
            on_device: also_on_device,
            device,
        } => {
            let job = RootsJob {
                size: size as usize,
                order,
                seed,
                recorded: recorded.map(|steps| steps as usize),
                also_on_device,
            };
            if let Some(steps) = along {
                let steps = steps as usize;
                on_device(&device, RootsAlongJob { steps, seed })
            } else if also_on_device || recorded.is_some() {
                on_device(&device, job)
            } else if device.is_chosen() {
                let options = "--device, --tuned and --no-cache are for --on-device, --recorded or --along, which were not given";
                Err(options.into())
            } else {
                job.on_host()
            }
        }
        Command::Stability {
            band,
            noise,
            precisions,
            device,
        } => {
            let comparison = Comparison {
                band: band as usize,
                noises: noise,
                precisions,
            };
            on_device(&device, StabilityJob(comparison))
        }
        Command::Verify {
            kernel,
            precision,
            full,
            json,
            device,
        } => {
            let request = Request {
                kernels: kernel,
                precisions: precision,
                full,
            };
            on_device(&device, VerifyJob { request, json })
        }
        Command::Bench {
            kernel,
            precision,
            band,
            size,
            full,
            minutes,
            json,
            device,
        } => {
            let job = BenchJob {
                kernels: kernel,
                precisions: precision,
                bands: band.into_iter().map(usize::from).collect(),
                sizes: size.into_iter().map(|n| n as usize).collect(),
                full,
                time: minutes,
                json,
            };
            on_device(&device, job)
        }
        Command::Tune {
            kernel,
            precision,
            band,
            size,
            minutes,
            out,
            json,
            device,
        } => {
            let job = TuneJob {
                kernel,
                precision,
                band: band.map(usize::from),
                values: size.map(|n| n as usize),
                time: minutes,
                out,
                json,
            };
            on_device(&device, job)
        }
        Command::Report {
            out,
            device,
            kernel,
            quick,
            minutes,
        } => {
            let request = report::Request {
                devices: device,
                kernels: kernel,
                quick,
                time: minutes,
            };
            measures::report_on(&out, &request)
        }
        Command::Source {
            kernel,
            target,
            precision,
        } => texts::text(&kernel, target, precision),
        Command::Inspect(args) => cost::inspect(&args),
        Command::Kernel(args) => one_kernel::kernel(args),
    };
    outcome.unwrap_or_else(|error| {
        note(&format!("sonew: {error}"));
        ExitCode::FAILURE
    })
}
