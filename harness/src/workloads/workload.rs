//! What is trained, as far as it is known without a device.

use sonew_kernels::arena::Layout;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::error::Error;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::Objective;
use crate::train::TrainError;
use crate::train::init::Tensor;

/// Data, and the tensors that are trained on them. The loss is the mean of the losses of examples.
pub trait Workload {
    /// What stands above its plots.
    fn title(&self) -> &str;

    /// What the loss is measured in, such as nats per image.
    fn loss_unit(&self) -> &str;

    /// The examples that are trained on.
    fn examples(&self) -> Examples;

    /// What tells the data from others: a digest of them, if they are not the same at all times. A run is not resumed with others.
    fn digest(&self) -> String {
        let Examples { count, many, .. } = self.examples();
        format!("{count} {many}")
    }

    /// What is trained, in the order of the arena.
    fn tensors(&self) -> &[Tensor];

    /// Where the tensors lie in the arena: [`layout_of`] them, or as [`Workload::arrange`] was told.
    fn layout(&self) -> &Layout;

    /// Takes another layout of the same tensors, before there is an objective: those that share an optimizer lie together.
    fn arrange(&mut self, layout: Layout);

    /// What its objective needs on a device of this profile, for batches of so many examples.
    fn memory(&self, profile: Profile, batch: usize) -> Memory;

    /// The objective on a device, with parameters and gradients in the format of the precision, for batches of so many examples.
    ///
    /// # Errors
    /// What the device refuses: a buffer of the size needed, or the products that were asked for.
    fn objective<'a>(
        &'a self,
        context: &Context,
        precision: PrecisionKind,
        batch: usize,
        products: Multiplication,
    ) -> Result<Box<dyn Objective + 'a>, TrainError>;
}

/// The layout of tensors in their order, by their names and shapes.
///
/// # Errors
/// As [`Layout::named`].
pub fn layout_of(tensors: &[Tensor]) -> Result<Layout, Error> {
    Layout::named(tensors.iter().map(|it| (it.name.clone(), it.shape.clone())))
}

/// The examples of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examples {
    /// How many there are.
    pub count: usize,
    /// What one of them is called in messages, such as image.
    pub one: &'static str,
    /// What several of them are called in records and messages, such as images.
    pub many: &'static str,
}

/// What an objective needs beside the arenas of parameters and gradients, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of the largest buffer on the device that the values of a batch take; 0 if they are in host memory.
    pub buffer: u128,
    /// Of host memory.
    pub host: u128,
    /// Which options make it smaller, such as --batch.
    pub options: &'static str,
}
