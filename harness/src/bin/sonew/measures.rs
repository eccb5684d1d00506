//! What is measured and checked on a device.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sonew_harness::lab::bench::{self, Bench, Effort};
use sonew_harness::lab::report;
use sonew_harness::lab::roots;
use sonew_harness::lab::stability::Comparison;
use sonew_harness::lab::tune::tiles::{self, PRODUCT};
use sonew_harness::lab::tune::{self, TunedFile};
use sonew_harness::lab::verify::{self, Request};
use sonew_harness::process::streams::{note, print, progress};
use sonew_harness::table::Table;
use sonew_harness::workloads::autoencoder::images::embedded;
use sonew_harness::workloads::autoencoder::weights::AUTOENCODER_SIZES;
use sonew_optimizers::{Context, PrecisionKind, Units};
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::Job;

/// Roots, and how accurate they are.
pub struct RootsJob {
    pub size: usize,
    pub order: u32,
    pub seed: u64,
    pub recorded: Option<usize>,
    pub also_on_device: bool,
}

impl RootsJob {
    /// On the host alone.
    pub fn on_host(self) -> Outcome {
        let cases = roots::cases(self.size, self.seed)?;
        self.print(&cases, None)
    }

    fn print(&self, cases: &[roots::Case], also: Option<roots::Way<'_>>) -> Outcome {
        let table = roots::table(cases, self.order, also)?;
        print(table.to_text().trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Job for RootsJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
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
            note(&format!("on device: {}", info.name));
            // Compiles the kernels, which a row would otherwise count.
            if let Some(smallest) = cases.iter().min_by_key(|case| case.n) {
                find(smallest, self.order)?;
            }
        }
        let also: roots::Way<'_> = ("newton-refreshed, on device", &find);
        self.print(&cases, self.also_on_device.then_some(also))
    }
}

/// The roots that a device finds along a run of Shampoo.
pub struct RootsAlongJob {
    pub steps: usize,
    pub seed: u64,
}

impl Job for RootsAlongJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        note(&format!("on device: {}", info.name));
        let images = embedded::train_images()?;
        let mut found = Vec::new();
        let mut tell = |step: &roots::RootStep| {
            let roots::RootStep {
                step: at, refused, ..
            } = *step;
            progress(&format!("step {at}: {refused} roots refused"));
            found.push(*step);
        };
        let sizes = &AUTOENCODER_SIZES;
        roots::along(&context, &images, sizes, self.steps, self.seed, &mut tell)?;
        print(roots::along_table(&found).to_text().trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The policies for small pivots.
pub struct StabilityJob(pub Comparison);

impl Job for StabilityJob {
    fn run(self, _: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let table = self.0.table(&context)?;
        print(table.to_text().trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The contract of all backends.
pub struct VerifyJob {
    pub request: Request,
    pub json: bool,
}

impl Job for VerifyJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let known = verify::kernels();
        let unknown = |asked: &&String| !known.contains(&asked.as_str());
        if let Some(asked) = self.request.kernels.iter().find(unknown) {
            let known = known.join(", ");
            return Err(format!("no kernel is called `{asked}`; there are {known}").into());
        }
        note(&format!(
            "{} through {} ({})",
            info.name, info.backend, info.id
        ));
        let lines = verify::verify(&context, &self.request, progress);
        if self.json {
            let report = serde_json::json!({ "device": info, "kernels": lines });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(verify::table(&lines).to_text().trim_end())?;
        }
        let off = lines.iter().filter(|line| line.verdict.breaks()).count();
        note(&format!(
            "{} of {} right or unsupported",
            lines.len() - off,
            lines.len()
        ));
        Ok(if off == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// How fast the device is.
pub struct BenchJob {
    pub kernels: Vec<String>,
    pub precisions: Vec<PrecisionKind>,
    pub bands: Vec<usize>,
    pub sizes: Vec<usize>,
    pub full: bool,
    pub time: Option<Duration>,
    pub json: bool,
}

impl Job for BenchJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        note(&format!(
            "{} through {} ({})",
            info.name, info.backend, info.id
        ));
        let mut request = if self.full {
            bench::Request::full(&context, info)
        } else {
            bench::Request::quick(self.precisions, self.bands, self.sizes)
        };
        request.kernels = self.kernels;
        request.until = self.time.map(|time| Instant::now() + time);
        request.check(info)?;
        if request.kernels.iter().any(|it| it == bench::FIRST_STEP) {
            return first_step(&context, info, &request, self.json);
        }
        let mut bench = Bench::measure(&context, &request, &mut progress)?;
        if request.asks(bench::FIRST_USE) {
            let program = std::env::current_exe()?;
            for &precision in &request.precisions {
                let steps = bench::first_steps(&program, info.id, precision, &mut progress)?;
                bench.first_steps.push(steps);
            }
        }
        if self.json {
            let report = serde_json::json!({ "device": info, "bench": bench });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(bench.text(Table::to_text).trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the first step of training costs in this process.
fn first_step(
    context: &Rc<Context>,
    info: &DeviceInfo,
    request: &bench::Request,
    json: bool,
) -> Outcome {
    let ([_], &[precision]) = (&request.kernels[..], &request.precisions[..]) else {
        return Err(
            "only one step is the first of a process: ask for first-step alone, in one --precision"
                .into(),
        );
    };
    let seconds = bench::first_step(context, precision)?;
    if json {
        let report = serde_json::json!({ "device": info, "first_step": seconds });
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&format!("{:.1} ms", 1e3 * seconds))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What [`TuneJob::kernel`] is for all kernels.
const ALL: &str = "all";

/// Which blueprint of a kernel is fastest, or of each.
pub struct TuneJob {
    pub kernel: String,
    pub precision: PrecisionKind,
    pub band: Option<usize>,
    pub values: Option<usize>,
    pub time: Option<Duration>,
    pub out: PathBuf,
    pub json: bool,
}

impl TuneJob {
    /// Measures tiles of matrix products.
    fn tiles(&self, info: &DeviceInfo, context: &Context, file: &mut TunedFile) -> Outcome {
        let found = tiles::tiles(context, Effort::QUICK, &mut note)?;
        file.put_tiles(info, found.iter().map(|it| it.tile).collect());
        file.write(&self.out)?;
        if self.json {
            let report = serde_json::json!({ "device": info, "tiles": found });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(tiles::table(&found).to_text().trim_end())?;
        }
        note(&format!(
            "stored in {}; --tuned {0} uses it",
            self.out.display()
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// What is tuned, in turn, by name and band.
    fn subjects(&self) -> Vec<(String, usize)> {
        if self.kernel != ALL {
            return vec![(self.kernel.clone(), self.band.unwrap_or(1))];
        }
        let all = tune::all(self.band).into_iter();
        all.map(|(kernel, band)| (kernel.name.to_owned(), band))
            .collect()
    }
}

impl Job for TuneJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        // A file that is none is refused before anything is measured.
        let mut file = TunedFile::read_or_new(&self.out)?;
        if self.kernel == PRODUCT {
            return self.tiles(info, &context, &mut file);
        }
        note(&format!(
            "{} through {} ({})",
            info.name, info.backend, info.id
        ));
        let started = Instant::now();
        let usual = tune::usual_time(context.profile());
        let mut all = Vec::new();
        let mut left_out = Vec::new();
        let subjects = self.subjects();
        let count = subjects.len() as u32;
        for (at, (kernel, band)) in (0..).zip(subjects) {
            let left = self.time.map(|time| time.saturating_sub(started.elapsed()));
            let request = tune::Request {
                kernel,
                precision: self.precision,
                band,
                values: self.values,
                // The earlier ones may take twice their share; one kernel has all of it.
                time: match left {
                    Some(left) if self.kernel == ALL => usual.min(left * 2 / (count - at + 1)),
                    Some(left) => left,
                    None => usual,
                },
            };
            let name = format!("{} band {band}", request.kernel);
            if request.time.is_zero() {
                left_out.push(name);
                continue;
            }
            if self.kernel == ALL {
                note(&format!("{name}, {}", self.precision));
            }
            // Its product is a file: it goes on whoever listens.
            match tune::tune(&context, info, &request, &mut note) {
                Ok(found) => {
                    file.put(info, found.best());
                    file.write(&self.out)?;
                    all.push(found);
                }
                Err(error) if self.kernel == ALL => note(&format!("{name}: {error}")),
                Err(error) => return Err(error.into()),
            }
        }
        let time_is_left = self.time.is_none_or(|time| started.elapsed() < time);
        if self.kernel == ALL && context.profile().units == Units::Many && time_is_left {
            match tiles::tiles(&context, Effort::QUICK, &mut note) {
                Ok(found) => {
                    file.put_tiles(info, found.iter().map(|it| it.tile).collect());
                    file.write(&self.out)?;
                }
                Err(error) => note(&format!("{PRODUCT}: {error}")),
            }
        }
        if self.json {
            let tuned = match &all[..] {
                [one] if self.kernel != ALL => serde_json::json!(one),
                all => serde_json::json!(all),
            };
            let report = serde_json::json!({ "device": info, "tuned": tuned });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            let texts = all.iter().map(|found| {
                let table = found.table().to_text();
                match self.kernel.as_str() {
                    ALL => format!("{} band {}\n\n{table}", found.kernel, found.band),
                    _ => table,
                }
            });
            print(texts.collect::<Vec<_>>().join("\n").trim_end())?;
        }
        if !left_out.is_empty() {
            note(&format!("no time left for {}", left_out.join(", ")));
        }
        if all.is_empty() {
            return Err("nothing could be tuned".into());
        }
        note(&format!(
            "stored in {}; --tuned {0} uses it",
            self.out.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Every device of the machine.
pub fn report_on(out: &Path, request: &report::Request) -> Outcome {
    let right = report::report(&std::env::current_exe()?, out, request)?;
    note(&format!(
        "wrote {} and report.json",
        out.join("report.md").display()
    ));
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
