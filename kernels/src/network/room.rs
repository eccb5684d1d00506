//! Where the values of a batch lie on the device.
//!
//! Everything that the layers take in lies in one buffer, every δ in another: one launch reads them all for the gradients. Rows are a
//! multiple of 32 bytes apart, and behind the last value of each row that a layer takes in stands a one.

use cubecl::server::Handle;

use super::Layer;
use super::dense::OPERATION;
use crate::context::Context;
use crate::error::Error;
use crate::product::View;

/// Rows begin at multiples of so many values: a sector of a GPU's memory.
const SECTOR: usize = 8;
/// Matrices begin at multiples of so many values, from which every device binds a buffer.
pub(super) const ALIGNMENT: usize = 64;

/// A matrix with a row for each of a batch.
struct Place {
    start: usize,
    stride: usize,
}

/// Buffers for the values of a batch.
pub(super) struct Room {
    batch: usize,
    /// What each layer takes in.
    inputs: Vec<Place>,
    /// δ of each layer.
    outputs: Vec<Place>,
    pub values: Handle,
    pub deltas: Handle,
    /// The gradient of what the first layer takes in, if that is not given.
    pub input_delta: Option<Handle>,
}

/// Values from one row to the next, of rows of `units` and a one.
pub(super) fn stride(units: usize) -> usize {
    (units + 1).next_multiple_of(SECTOR)
}

/// Matrices of `rows` rows of these widths, one after the other, and where the last ends.
fn places(rows: usize, widths: impl Iterator<Item = usize>) -> (Vec<Place>, usize) {
    let mut end = 0;
    let places = widths.map(|units| {
        let (start, stride) = (end, stride(units));
        end += (rows * stride).next_multiple_of(ALIGNMENT);
        Place { start, stride }
    });
    (places.collect(), end)
}

/// `length` values from `start` on of a buffer of f32.
pub(super) fn part(buffer: &Handle, start: usize, length: usize) -> Handle {
    let left = buffer.size_in_used() - 4 * (start + length) as u64;
    let from = buffer.clone().offset_start(4 * start as u64);
    from.offset_end(left)
}

impl Room {
    /// Values of f32 that the larger of the two buffers has.
    pub fn largest(layers: &[Layer], batch: usize) -> usize {
        let inputs = places(batch, layers.iter().map(|layer| layer.inputs)).1;
        let outputs = places(batch, layers.iter().map(|layer| layer.outputs)).1;
        inputs.max(outputs)
    }

    /// Makes room for batches of `batch` rows, and, if `back_to_input`, for the gradient of what the first layer takes in.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more values than a buffer of the device holds.
    pub fn new(
        context: &Context,
        layers: &[Layer],
        batch: usize,
        back_to_input: bool,
    ) -> Result<Self, Error> {
        let bytes = 4 * Self::largest(layers, batch) as u64;
        context.require_buffer(OPERATION, "the values of a batch", bytes)?;
        let (inputs, input_values) = places(batch, layers.iter().map(|layer| layer.inputs));
        let (outputs, output_values) = places(batch, layers.iter().map(|layer| layer.outputs));
        let mut values = vec![0f32; input_values];
        for (layer, place) in layers.iter().zip(&inputs) {
            for row in 0..batch {
                values[place.start + row * place.stride + layer.inputs] = 1.0;
            }
        }
        let of_input = back_to_input.then(|| batch * inputs[0].stride);
        Ok(Self {
            batch,
            inputs,
            outputs,
            values: context.upload(&values),
            deltas: context.upload(&vec![0f32; output_values]),
            input_delta: of_input.map(|values| context.upload(&vec![0f32; values])),
        })
    }

    /// What layer `l` takes in, in [`Room::own_input`].
    pub fn input(&self, l: usize) -> View {
        View::rows(0, self.inputs[l].stride)
    }

    /// What layer `l` takes in, among all values.
    pub fn input_of_all(&self, l: usize) -> View {
        View::rows(self.inputs[l].start, self.inputs[l].stride)
    }

    /// δ of layer `l`, in [`Room::own_delta`].
    pub fn delta(&self, l: usize) -> View {
        View::rows(0, self.outputs[l].stride)
    }

    /// δ of layer `l`, among those of all layers.
    pub fn delta_of_all(&self, l: usize) -> View {
        View::rows(self.outputs[l].start, self.outputs[l].stride)
    }

    /// The part of the values that layer `l` takes in. A launch that reads one part and writes another binds them apart: compilers and
    /// drivers are promised that nobody writes what is only read.
    pub fn own_input(&self, l: usize) -> Handle {
        let Place { start, stride } = self.inputs[l];
        part(&self.values, start, self.batch * stride)
    }

    /// The part that has δ of layer `l`.
    pub fn own_delta(&self, l: usize) -> Handle {
        let Place { start, stride } = self.outputs[l];
        part(&self.deltas, start, self.batch * stride)
    }
}
