//! What the benches share: the autoencoder's tensors on an open device.

use std::rc::Rc;

use cubecl::Runtime;
use cubecl::server::Handle;
use sonew_optimizers::{Context, Optimizer, OptimizerConfig, PrecisionKind, Processor, Segments};
use sonew_runtime::Opened;

/// Units of the paper's autoencoder.
pub const SIZES: [usize; 9] = [784, 1000, 500, 250, 30, 250, 500, 1000, 784];

/// The tensors of the autoencoder on a device: 2,837,314 parameters and as many gradients.
pub struct Autoencoder<R: Runtime> {
    /// The device.
    pub context: Rc<Context<R>>,
    /// Where the tensors lie.
    pub segments: Segments,
    /// Parameters, an arena.
    pub params: Handle,
    /// Gradients, an arena.
    pub grads: Handle,
}

impl<R: Runtime> Autoencoder<R> {
    /// Fills parameters and gradients with unstructured values.
    ///
    /// # Errors
    /// None at these sizes.
    pub fn new(device: Opened<R>) -> Result<Self, sonew_optimizers::Error> {
        let processor = match device.info.processor {
            sonew_runtime::Processor::Gpu => Processor::Gpu,
            sonew_runtime::Processor::Cpu => Processor::Cpu,
        };
        let context = Rc::new(Context::new(device.client, processor));
        let shapes = SIZES
            .windows(2)
            .flat_map(|pair| [vec![pair[1], pair[0]], vec![pair[1]]])
            .collect();
        let segments = Segments::with_shapes(shapes)?;
        let arena = |seed: usize| {
            let mut values = vec![0f32; segments.arena_len()];
            for tensor in segments.tensors() {
                for at in tensor.clone() {
                    values[at] = noise(at + seed);
                }
            }
            context.upload(&values)
        };
        Ok(Self {
            params: arena(1),
            grads: arena(1 << 24),
            context,
            segments,
        })
    }

    /// An optimizer over the tensors, two steps in, so that everything is compiled and no statistic is zero.
    ///
    /// # Errors
    /// As [`OptimizerConfig::build`] and [`Optimizer::step`].
    pub fn optimizer(
        &self,
        config: &OptimizerConfig,
    ) -> Result<Box<dyn Optimizer<R>>, sonew_optimizers::Error> {
        let mut optimizer =
            config.build(PrecisionKind::F32, self.context.clone(), &self.segments)?;
        for _ in 0..2 {
            optimizer.step(&self.params, &self.grads, 0.0)?;
        }
        self.context.wait("warm-up")?;
        Ok(optimizer)
    }
}

/// Unstructured values in [−1, 1).
fn noise(i: usize) -> f32 {
    let mixed = (i as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    mixed as f32 / (1u64 << 23) as f32 - 1.0
}
