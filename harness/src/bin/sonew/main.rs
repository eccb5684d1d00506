//! `sonew`: devices, optimizers, train, compare, roots, stability, verify, bench, report, source, kernel.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use cubecl::Runtime;
use sonew_harness::bench::{self, Bench};
use sonew_harness::cli::{Cli, Command, RunArgs};
use sonew_harness::compare::compare;
use sonew_harness::context::context;
use sonew_harness::data::embedded;
use sonew_harness::init::AUTOENCODER_SIZES;
use sonew_harness::interrupt::{EXIT_STATUS, Interrupt};
use sonew_harness::kernel_io::{KERNELS, Prepared};
use sonew_harness::plan::Plan;
use sonew_harness::record::{RunFolder, timestamp};
use sonew_harness::report;
use sonew_harness::roots;
use sonew_harness::schedule::Schedule;
use sonew_harness::source::{Target, source};
use sonew_harness::stability::Comparison;
use sonew_harness::table::Table;
use sonew_harness::train::train;
use sonew_harness::verify::{self, Request};
use sonew_optimizers::{OptimizerConfig, PrecisionKind};
use sonew_runtime::{DeviceVisitor, Opened, Selector};

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Devices { json } => devices(json),
        Command::Optimizers { name } => optimizers(name.as_deref()),
        Command::Train { optimizer, run } => start(&run, &[optimizer], false),
        Command::Compare { optimizers, run } => start(&run, &optimizers, true),
        Command::Roots {
            size,
            order,
            seed,
            recorded,
            on_device: also_on_device,
            device,
        } => {
            let job = RootsJob {
                size: size as usize,
                order,
                seed,
                recorded,
                also_on_device,
            };
            if also_on_device || recorded.is_some() {
                on_device(device, job)
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
            on_device(device, StabilityJob(comparison))
        }
        Command::Verify {
            kernel,
            precision,
            full,
            json,
            device,
        } => {
            let request = Request {
                kernel,
                precisions: precision,
                full,
            };
            on_device(device, VerifyJob { request, json })
        }
        Command::Bench {
            kernel,
            precision,
            band,
            size,
            full,
            json,
            device,
        } => {
            let job = BenchJob {
                kernel,
                precisions: precision,
                bands: band.into_iter().map(usize::from).collect(),
                sizes: size.into_iter().map(|n| n as usize).collect(),
                full,
                json,
            };
            on_device(device, job)
        }
        Command::Report {
            out,
            device,
            kernel,
            quick,
        } => {
            let request = report::Request {
                devices: device,
                kernel,
                quick,
            };
            report_on(&out, &request)
        }
        Command::Source {
            kernel,
            target,
            precision,
        } => text(&kernel, target, precision),
        Command::Kernel { list: true, .. } => list_kernels(),
        Command::Kernel {
            name: Some(name),
            input: Some(input),
            output: Some(output),
            device,
            set,
            ..
        } => kernel(device, &name, &input, output, &set),
        Command::Kernel { .. } => Err("name a kernel, --in and --out, or --list".into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sonew: {error}");
        ExitCode::FAILURE
    })
}

fn devices(json: bool) -> Outcome {
    let survey = sonew_runtime::survey();
    if json {
        print(&serde_json::to_string_pretty(&survey)?)?;
    } else {
        print(survey.table().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn optimizers(only: Option<&str>) -> Outcome {
    let names = match only {
        Some(name) => vec![name],
        None => OptimizerConfig::NAMES.to_vec(),
    };
    let mut text = String::new();
    for name in names {
        let config = OptimizerConfig::named(name)?;
        text += &format!("{name}   (--lr {:e} unless given)\n", config.default_lr());
        for setting in config.settings() {
            text += &format!(
                "  {:<20} {:<10} {}\n",
                setting.key, setting.value, setting.meaning
            );
        }
        text += "\n";
    }
    if only.is_none() {
        text += "band-N-sonew takes any N from 0 to 32.\n";
    }
    print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn list_kernels() -> Outcome {
    let mut text = String::new();
    for kernel in KERNELS {
        text += &format!("{}\n  {}\n", kernel.name, kernel.summary);
        let shapes = |arrays: &[(&str, &str)]| {
            arrays
                .iter()
                .map(|(name, shape)| format!("{name} {shape}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        text += &format!("  in   {}\n", shapes(kernel.inputs));
        text += &format!("  out  {}\n", shapes(kernel.outputs));
        for (key, default, meaning) in kernel.options {
            text += &format!("  --set {key}={default}   {meaning}\n");
        }
        text += "\n";
    }
    text += "Arrays are f32 in a safetensors file. Entry i of the k-th row of edges couples values i and i+1+k.";
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output; a reader that stopped reading is no error.
fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn on_device(selector: Selector, job: impl DeviceVisitor<Output = Outcome>) -> Outcome {
    sonew_runtime::open(selector)?.accept(job)
}

struct RootsJob {
    size: usize,
    order: u32,
    seed: u64,
    recorded: Option<usize>,
    also_on_device: bool,
}

impl RootsJob {
    fn on_host(self) -> Outcome {
        let cases = roots::cases(self.size, self.seed)?;
        self.print(&cases, None)
    }

    fn print(&self, cases: &[roots::Case], also: Option<roots::Way<'_>>) -> Outcome {
        let table = roots::table(cases, self.order, also)?;
        print(table.to_text().trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl DeviceVisitor for RootsJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        let context = Rc::new(context(&device));
        let cases = match self.recorded {
            None => roots::cases(self.size, self.seed)?,
            Some(steps) => {
                let images = embedded::train_images()?;
                let sizes = &AUTOENCODER_SIZES;
                roots::recorded(context.clone(), &images, sizes, steps, self.seed)?
            }
        };
        let find = |case: &roots::Case, p: u32| {
            roots::on_device(&context, &case.matrix, case.n, p, case.ridge)
        };
        if self.also_on_device {
            eprintln!("on device: {}", device.info.name);
            // Compiles the kernels, which a row would otherwise count.
            if let Some(smallest) = cases.iter().min_by_key(|case| case.n) {
                find(smallest, self.order)?;
            }
        }
        let also: roots::Way<'_> = ("newton-refreshed, on device", &find);
        self.print(&cases, self.also_on_device.then_some(also))
    }
}

struct StabilityJob(Comparison);

impl DeviceVisitor for StabilityJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        let table = self.0.table(&context(&device))?;
        print(table.to_text().trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(kernel: &str, target: Target, precision: PrecisionKind) -> Outcome {
    print(source(kernel, target, precision)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

struct VerifyJob {
    request: Request,
    json: bool,
}

impl DeviceVisitor for VerifyJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        let known = verify::kernels::<R>();
        if let Some(asked) = &self.request.kernel
            && !known.contains(&asked.as_str())
        {
            let known = known.join(", ");
            return Err(format!("no kernel is called `{asked}`; there are {known}").into());
        }
        let info = &device.info;
        eprintln!("{} through {} ({})", info.name, info.backend, info.id);
        let tell = |what: &str| eprintln!("{what}");
        let lines = verify::verify(&Rc::new(context(&device)), &self.request, tell);
        if self.json {
            let report = serde_json::json!({ "device": info, "kernels": lines });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(verify::table(&lines).to_text().trim_end())?;
        }
        let off = lines.iter().filter(|line| line.verdict.breaks()).count();
        eprintln!(
            "{} of {} right or unsupported",
            lines.len() - off,
            lines.len()
        );
        Ok(if off == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

struct BenchJob {
    kernel: Option<String>,
    precisions: Vec<PrecisionKind>,
    bands: Vec<usize>,
    sizes: Vec<usize>,
    full: bool,
    json: bool,
}

impl DeviceVisitor for BenchJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        let info = &device.info;
        eprintln!("{} through {} ({})", info.name, info.backend, info.id);
        let context = Rc::new(context(&device));
        let mut request = if self.full {
            bench::Request::full(&context, info)
        } else {
            bench::Request::quick(self.precisions, self.bands, self.sizes)
        };
        request.kernel = self.kernel;
        request.check(info)?;
        let bench = Bench::measure(&context, &request, &mut |what| eprintln!("{what}"))?;
        if self.json {
            let report = serde_json::json!({ "device": info, "bench": bench });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(bench.text(Table::to_text).trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn report_on(out: &Path, request: &report::Request) -> Outcome {
    let right = report::report(&std::env::current_exe()?, out, request)?;
    eprintln!("wrote {} and report.json", out.join("report.md").display());
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn kernel(
    device: Selector,
    name: &str,
    input: &Path,
    output: PathBuf,
    set: &[(String, String)],
) -> Outcome {
    let prepared = Prepared::new(name, input, &output, set)?;
    if prepared.needs_no_device() {
        prepared.run_on_host()?;
        eprintln!("{name} in host memory: wrote {}", output.display());
        return Ok(ExitCode::SUCCESS);
    }
    let name = name.to_owned();
    on_device(
        device,
        KernelJob {
            name,
            prepared,
            output,
        },
    )
}

struct KernelJob {
    name: String,
    prepared: Prepared,
    output: PathBuf,
}

impl DeviceVisitor for KernelJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        self.prepared.run(&context(&device))?;
        eprintln!(
            "{} on {}: wrote {}",
            self.name,
            device.info.name,
            self.output.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn start(run: &RunArgs, optimizers: &[String], compare: bool) -> Outcome {
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
    on_device(run.device, job)
}

struct RunJob {
    run: RunArgs,
    plans: Vec<Plan>,
    images: sonew_harness::data::Images,
    compare: bool,
}

impl DeviceVisitor for RunJob {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
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
        let info = &device.info;
        if !run.quiet {
            eprintln!("{} through {} ({})", info.name, info.backend, info.id);
            if run.schedule == Schedule::PAPER && run.epochs <= 5 {
                eprintln!(
                    "note: the paper's schedule starts with an epoch at learning rate 0 and warms up until the fifth; --schedule paper=100 takes the first epochs of its 100, --schedule constant none of it"
                );
            }
        }
        let context = Rc::new(context(&device));
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
