//! One kernel on arrays from a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use sonew_harness::cli::KernelArgs;
use sonew_harness::lab::kernel_files::{self, Found, KernelFileError, Prepared};
use sonew_harness::process::streams::note;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::on_device::{Job, on_device};
use crate::{Outcome, texts};

/// Runs it, or lists what there is.
pub fn kernel(args: KernelArgs) -> Outcome {
    let (name, input, output) = match (args.name, args.input, args.output) {
        (name, _, _) if args.list => return texts::list_kernels(name.as_deref()),
        (Some(name), Some(input), Some(output)) => (name, input, output),
        _ => return Err("expected a kernel, --in FILE and --out FILE, or --list".into()),
    };
    let spec = kernel_files::kernel(&name)?;
    if args.allow_refused && !spec.may_refuse {
        return Err(Box::new(KernelFileError::NoEffect {
            kernel: spec.name,
            flag: "--allow-refused",
            reason: "for it always finds a result",
        }));
    }
    let prepared = Prepared::new(&name, &input, &args.set, args.oracle)?;
    let job = KernelJob {
        name,
        prepared,
        output,
        allow_refused: args.allow_refused,
    };
    let place = if args.oracle {
        "in f64, its oracle"
    } else {
        "in host memory"
    };
    match job.prepared.on_host()? {
        Some(found) => job.write(&found, place),
        None => on_device(&args.device, job),
    }
}

struct KernelJob {
    name: String,
    prepared: Prepared,
    output: PathBuf,
    allow_refused: bool,
}

impl KernelJob {
    fn write(&self, found: &Found, place: &str) -> Outcome {
        let Self { name, output, .. } = self;
        found.write(output, self.allow_refused)?;
        if let Some(reason) = &found.refused {
            note(&format!("{name}: accepted is 0, for {reason}"));
        }
        note(&format!("{name} {place}: wrote {}", output.display()));
        Ok(ExitCode::SUCCESS)
    }
}

impl Job for KernelJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let found = self.prepared.run(&context)?;
        self.write(&found, &format!("on {}", info.name))
    }
}
