//! Jobs on a device: which one, and which blueprints its kernels have.

use std::rc::Rc;

use sonew_harness::cli::DeviceArgs;
use sonew_harness::lab::tune::TunedFile;
use sonew_harness::process::kept_kernels;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;

/// What is done on a device.
pub trait Job {
    /// Whether it is to say nothing but its product.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Does it.
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome;
}

/// Opens the device that was asked for, with the blueprints of the file that was, or those that come with the program for it, and
/// does the job there.
pub fn on_device(args: &DeviceArgs, job: impl Job) -> Outcome {
    // Read before anything is opened: a file that is none is refused at once.
    let tuned = args.tuned.as_deref();
    let file = tuned.map(TunedFile::read).transpose()?;
    if !args.no_cache {
        kept_kernels::keep();
    }
    let device = sonew_runtime::open(args.device)?;
    let mut context = Context::new(device.client.clone(), device.info.profile);
    if let Some((path, file)) = tuned.zip(file) {
        context = context.with_tuned(file.of(path, &device.info)?.clone());
    } else if let Some(known) = TunedFile::shipped()?.known(&device.info) {
        context = context.with_tuned(known.clone());
    }
    let quiet = job.is_quiet();
    let outcome = job.run(&device.info, Rc::new(context));
    // What was compiled is compiled, however the job ended.
    kept_kernels::save(quiet);
    outcome
}
