//! Jobs on a device: which one, and which blueprints its kernels have.

use std::path::Path;
use std::rc::Rc;

use cubecl::Runtime;
use sonew_harness::cli::DeviceArgs;
use sonew_harness::context::context;
use sonew_harness::tune::TunedFile;
use sonew_optimizers::Context;
use sonew_runtime::{DeviceInfo, DeviceVisitor, Opened};

use crate::Outcome;

/// What is done on a device.
pub trait Job {
    /// Does it.
    fn run<R: Runtime>(self, info: &DeviceInfo, context: Rc<Context<R>>) -> Outcome;
}

/// Opens the device that was asked for, with tuned blueprints if they were, and does the job there.
pub fn on_device(args: &DeviceArgs, job: impl Job) -> Outcome {
    // Read before anything is opened: a file that is none is refused at once.
    let tuned = args.tuned.as_deref();
    let file = tuned.map(TunedFile::read).transpose()?;
    sonew_runtime::open(args.device)?.accept(OnDevice {
        tuned: tuned.zip(file),
        job,
    })
}

struct OnDevice<'a, J> {
    tuned: Option<(&'a Path, TunedFile)>,
    job: J,
}

impl<J: Job> DeviceVisitor for OnDevice<'_, J> {
    type Output = Outcome;

    fn visit<R: Runtime>(self, device: Opened<R>) -> Outcome {
        let mut context = context(&device);
        if let Some((path, file)) = self.tuned {
            context = context.with_tuned(file.of(path, &device.info)?.clone());
        }
        self.job.run(&device.info, Rc::new(context))
    }
}
