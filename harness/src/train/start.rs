//! What a run starts from, checked before anything is created, allocated or trained.

use std::rc::Rc;

use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use super::TrainError;
use super::init;
use super::order::BatchOrder;
use super::plan::Plan;
use crate::workloads::{Examples, Memory, Workload};

/// What the runs of a command start from: they differ in the optimizer and the precision only.
pub struct Start {
    pub(super) workload: Box<dyn Workload>,
    pub(super) order: BatchOrder,
    /// The first values of the tensors from a file, if they are not drawn.
    pub(super) given: Option<Vec<Vec<f32>>>,
}

impl Start {
    /// Checks what can be checked without a device: the batch, the schedule, and the files of first weights and batches.
    ///
    /// # Errors
    /// [`TrainError`] with what does not fit.
    pub fn of(plan: &Plan, mut workload: Box<dyn Workload>) -> Result<Self, TrainError> {
        // The arrangement depends on the groups alone, which the runs of a comparison share.
        let layout = plan.recipe.arrange(workload.layout())?;
        workload.arrange(layout);
        let examples = workload.examples();
        // A file of batches is looked at only once the batch itself is known to be possible.
        let drawn = BatchOrder::shuffled(examples, plan.batch, plan.seed)?;
        let steps = plan.total_steps(drawn.steps_per_epoch());
        let accumulate = plan.recipe.gradients.accumulate;
        if accumulate > steps as u64 {
            return Err(TrainError::Shape {
                argument: "--accumulate",
                found: accumulate.to_string(),
                expected: format!("at most the {steps} batches of the run, or no step is taken"),
            });
        }
        let order = match &plan.order {
            Some(path) => BatchOrder::load(path, examples, plan.batch, steps)?,
            None => drawn,
        };
        plan.schedule.covers(plan.epochs, order.steps_per_epoch())?;
        let given = match &plan.init {
            Some(path) => Some(init::load(path, workload.tensors())?),
            None => None,
        };
        Ok(Self {
            workload,
            order,
            given,
        })
    }

    /// How many examples there are, and what they are called.
    pub fn examples(&self) -> Examples {
        self.workload.examples()
    }

    /// Checks that a run as planned fits a device and the memory of the host.
    ///
    /// # Errors
    /// [`TrainError::Memory`].
    pub fn fits(&self, plan: &Plan, device: &DeviceInfo) -> Result<(), TrainError> {
        fits(&*self.workload, plan.batch, device)
    }

    /// Has a device refuse now what it would refuse of the plan's optimizer or products later.
    ///
    /// # Errors
    /// As [`Recipe::build`](sonew_optimizers::Recipe::build), and where the device lacks the matrix units that are
    /// asked for.
    pub fn suits(&self, plan: &Plan, context: &Rc<Context>) -> Result<(), TrainError> {
        plan.products.parts(context, None)?;
        let layout = self.workload.layout();
        let built = plan.recipe.build(plan.numerics, context.clone(), layout);
        Ok(built.map(drop)?)
    }
}

/// Checks that batches of so many examples fit a device and the memory of the host.
pub(super) fn fits(
    workload: &dyn Workload,
    batch: usize,
    device: &DeviceInfo,
) -> Result<(), TrainError> {
    let arena = 4 * workload.layout().arena_len() as u128;
    let Memory {
        buffer,
        host,
        options,
    } = workload.memory(device.profile, batch);
    let memory = |argument, found, place, expected| TrainError::Memory {
        argument,
        found,
        place,
        expected,
        options,
    };
    let (largest, argument) = if buffer > arena {
        (buffer, "the values of a batch")
    } else {
        (arena, "the parameter arena")
    };
    if largest > device.max_buffer_bytes.into() {
        let expected = device.max_buffer_bytes.to_string();
        return Err(memory(argument, largest, "one device buffer", expected));
    }
    // Weights as drawn and laid out come on top of what the workload needs.
    let found = 2 * arena + host;
    let bytes = usize::try_from(found).unwrap_or(usize::MAX);
    // The system says at once whether it has as much, and the program does not abort if it has not.
    let mut room = Vec::<u8>::new();
    let reserved = room.try_reserve_exact(bytes);
    // Or the compiler may leave out an allocation that nothing uses.
    std::hint::black_box(&room);
    reserved.map_err(|_| {
        let expected = "what the system gives".into();
        memory("the network", found, "host memory", expected)
    })
}
