//! What a run starts from, checked before anything is created, allocated or trained.

use std::rc::Rc;

use sonew_kernels::arena::Segments;
use sonew_kernels::network::DenseLayers;
use sonew_optimizers::Context;
use sonew_runtime::{DeviceInfo, Processor};

use super::TrainError;
use crate::data::Images;
use crate::init::Weights;
use crate::network::{self, NetworkError};
use crate::order::BatchOrder;
use crate::plan::Plan;

/// What the runs of a command start from: they differ in the optimizer and the precision only.
pub struct Start {
    pub(super) images: Images,
    pub(super) order: BatchOrder,
    /// From a file, if they are not drawn.
    pub(super) given: Option<Weights>,
    segments: Segments,
}

impl Start {
    /// Checks what can be checked without a device: the sizes, the batch, the schedule, and the files of first weights and
    /// batches.
    ///
    /// # Errors
    /// [`TrainError`] with what does not fit.
    pub fn of(plan: &Plan, images: Images) -> Result<Self, TrainError> {
        let pixels = images.pixels_per_image();
        if plan.sizes.first() != Some(&pixels) || plan.sizes.last() != Some(&pixels) {
            return Err(TrainError::Shape {
                argument: "--sizes",
                found: format!("{:?}", plan.sizes),
                expected: format!(
                    "a list that starts and ends with the {pixels} pixels of an image"
                ),
            });
        }
        let segments = network::segments(&plan.sizes)?;
        // A file of batches is looked at only once the batch itself is known to be possible.
        let drawn = BatchOrder::shuffled(images.count, plan.batch, plan.seed)?;
        let steps = plan.total_steps(drawn.steps_per_epoch());
        let order = match &plan.order {
            Some(path) => BatchOrder::load(path, images.count, plan.batch, steps)?,
            None => drawn,
        };
        plan.schedule.covers(plan.epochs)?;
        let given = match &plan.init {
            Some(path) => Some(Weights::load(path, &plan.sizes)?),
            None => None,
        };
        Ok(Self {
            images,
            order,
            given,
            segments,
        })
    }

    /// Checks that a run as planned fits a device and the memory of the host.
    ///
    /// # Errors
    /// [`TrainError::Memory`].
    pub fn fits(&self, plan: &Plan, device: &DeviceInfo) -> Result<(), TrainError> {
        let arena = self.segments.arena_len() as u128;
        let rows = plan.batch as u128;
        let widest = plan.sizes.iter().max().map_or(0, |&units| units as u128);
        let units: u128 = plan.sizes.iter().map(|&units| units as u128).sum();
        let layers = network::layers_in_arena(&plan.sizes)?.0;
        let values = DenseLayers::batch_values(&layers, plan.batch) as u128;
        let (largest, argument) = match device.processor {
            Processor::Gpu if values > arena => (values, "the values of a batch"),
            _ => (arena, "the parameter arena"),
        };
        let memory = |argument, found, place, expected| TrainError::Memory {
            argument,
            found,
            place,
            expected,
        };
        if 4 * largest > device.max_buffer_bytes.into() {
            let expected = device.max_buffer_bytes.to_string();
            return Err(memory(argument, 4 * largest, "one device buffer", expected));
        }
        // Weights as drawn and laid out, and the inputs, of which the device has a copy beside those of every layer; on the host also
        // their gradient, activations, and two gradients of those.
        let network = match device.processor {
            Processor::Gpu => values + rows * self.images.pixels_per_image() as u128,
            Processor::Cpu => arena + rows * (units + 2 * widest),
        };
        let found = 4 * (2 * arena + network);
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

    /// Has a device refuse now what it would refuse of the plan's optimizer or products later.
    ///
    /// # Errors
    /// As [`OptimizerConfig::build`](sonew_optimizers::OptimizerConfig::build), and where the device lacks the matrix units that are
    /// asked for.
    pub fn suits(&self, plan: &Plan, context: &Rc<Context>) -> Result<(), TrainError> {
        let asked = plan.products.parts(context, None);
        asked.map_err(NetworkError::Kernel)?;
        let built = plan
            .optimizer
            .build(plan.numerics, context.clone(), &self.segments);
        Ok(built.map(drop)?)
    }
}
