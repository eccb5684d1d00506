//! What is measured and checked on a device.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use sonew_harness::bench::{self, Bench};
use sonew_harness::data::embedded;
use sonew_harness::init::AUTOENCODER_SIZES;
use sonew_harness::report;
use sonew_harness::roots;
use sonew_harness::stability::Comparison;
use sonew_harness::streams::{note, print, progress};
use sonew_harness::table::Table;
use sonew_harness::tune::{self, TunedFile};
use sonew_harness::verify::{self, Request};
use sonew_optimizers::{Context, PrecisionKind};
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
        if let Some(asked) = &self.request.kernel
            && !known.contains(&asked.as_str())
        {
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
    pub kernel: Option<String>,
    pub precisions: Vec<PrecisionKind>,
    pub bands: Vec<usize>,
    pub sizes: Vec<usize>,
    pub full: bool,
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
        request.kernel = self.kernel;
        request.check(info)?;
        let bench = Bench::measure(&context, &request, &mut progress)?;
        if self.json {
            let report = serde_json::json!({ "device": info, "bench": bench });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(bench.text(Table::to_text).trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Which blueprint of a kernel is fastest.
pub struct TuneJob {
    pub request: tune::Request,
    pub out: PathBuf,
    pub json: bool,
}

impl Job for TuneJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        // A file that is none is refused before anything is measured.
        let mut file = TunedFile::read_or_new(&self.out)?;
        note(&format!(
            "{} through {} ({})",
            info.name, info.backend, info.id
        ));
        // Its product is a file: it goes on whoever listens.
        let found = tune::tune(&context, info, &self.request, &mut note)?;
        file.put(info, found.best());
        file.write(&self.out)?;
        if self.json {
            let report = serde_json::json!({ "device": info, "tuned": found });
            print(&serde_json::to_string_pretty(&report)?)?;
        } else {
            print(found.table().to_text().trim_end())?;
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
