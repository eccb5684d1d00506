//! Jobs on a device: which one, and which blueprints its kernels have.

use std::rc::Rc;

use sonew_harness::cli::DeviceArgs;
use sonew_harness::context::context;
use sonew_harness::tune::TunedFile;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;

/// What is done on a device.
pub trait Job {
    /// Does it.
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome;
}

/// Opens the device that was asked for, with the blueprints of the file that was, or those that come with the program for it, and
/// does the job there.
pub fn on_device(args: &DeviceArgs, job: impl Job) -> Outcome {
    // Read before anything is opened: a file that is none is refused at once.
    let tuned = args.tuned.as_deref();
    let file = tuned.map(TunedFile::read).transpose()?;
    let device = sonew_runtime::open(args.device)?;
    let mut context = context(&device);
    if let Some((path, file)) = tuned.zip(file) {
        context = context.with_tuned(file.of(path, &device.info)?.clone());
    } else if let Some(known) = TunedFile::shipped()?.known(&device.info) {
        context = context.with_tuned(known.clone());
    }
    job.run(&device.info, Rc::new(context))
}
