//! The loss as a function of the parameters, on a device.

use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;

use crate::train::TrainError;

/// The loss of batches and of all examples as a function of the parameters, and its gradients. Parameters and gradients are arenas of
/// the workload's [`layout`](super::Workload::layout) in the format of the precision, and the gaps of a gradient are 0.
pub trait Objective {
    /// Takes in which examples make up the batches that come next, one batch after the other.
    ///
    /// # Errors
    /// An index that no example has; what the device refuses.
    fn set_order(&mut self, context: &Context, indices: Vec<u32>) -> Result<(), TrainError>;

    /// The gradient of the mean loss, times `scale`, of the `number`-th batch of the order. It may be overwritten by the next. Its
    /// loss is among the next [`Objective::losses`]; nothing has to be waited for.
    ///
    /// # Errors
    /// A batch that the order does not have; parameters of another size; what the device refuses.
    fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        number: usize,
        scale: f64,
    ) -> Result<Arena, TrainError>;

    /// The losses, not scaled, of the batches whose gradients were asked for since this was last asked, in order. Waits for them
    /// where they are not there yet.
    ///
    /// # Errors
    /// Launch failures that were found meanwhile.
    fn losses(&mut self, context: &Context) -> Result<Vec<f64>, TrainError>;

    /// Whether a loss is known as soon as its gradient is. Otherwise losses are asked for many at a time, and few steps are
    /// waited for and timed.
    fn tells_at_once(&self) -> bool;

    /// The mean loss over all examples.
    ///
    /// # Errors
    /// As [`Objective::gradients`].
    fn evaluate(&mut self, context: &Context, params: &Arena) -> Result<f64, TrainError>;
}
