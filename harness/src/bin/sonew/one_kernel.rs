//! One kernel on arrays from a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use cubecl::Runtime;
use sonew_harness::cli::DeviceArgs;
use sonew_harness::kernel_io::Prepared;
use sonew_harness::streams::note;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};

/// Runs it.
pub fn kernel(
    device: &DeviceArgs,
    name: &str,
    input: &Path,
    output: PathBuf,
    set: &[(String, String)],
) -> Outcome {
    let prepared = Prepared::new(name, input, &output, set)?;
    if prepared.needs_no_device() {
        prepared.run_on_host()?;
        note(&format!("{name} in host memory: wrote {}", output.display()));
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

impl Job for KernelJob {
    fn run<R: Runtime>(self, info: &DeviceInfo, context: Rc<Context<R>>) -> Outcome {
        self.prepared.run(&context)?;
        note(&format!(
            "{} on {}: wrote {}",
            self.name,
            info.name,
            self.output.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}
