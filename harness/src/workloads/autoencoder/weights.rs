//! The autoencoder's tensors, and its weights layer by layer.

use std::path::Path;

use crate::train::init::{self, InitError, Tensor};
use crate::workloads::layers::tensors_of_layer;

pub use crate::workloads::layers::tensors;

/// The layer sizes of the benchmark's autoencoder.
pub const AUTOENCODER_SIZES: [usize; 9] = [784, 1000, 500, 250, 30, 250, 500, 1000, 784];

/// One dense layer with `inputs` = I and `outputs` = O.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// I.
    pub inputs: usize,
    /// O.
    pub outputs: usize,
    /// W `[O, I]`, row-major: the incoming weights of an output unit lie side by side.
    pub weight: Vec<f32>,
    /// b `[O]`.
    pub bias: Vec<f32>,
}

/// The weights of all layers, first to last.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Weights {
    /// Draws W uniformly from ±√(6/(I + O)) and sets b to 0, for layers between neighbours of `sizes`; bits as [`init::draw`].
    ///
    /// # Errors
    /// [`InitError::Sizes`] if there are fewer than two sizes, one is 0, or a layer would have more weights than can be addressed.
    pub fn glorot_uniform(sizes: &[usize], seed: u64) -> Result<Self, InitError> {
        let tensors = tensors(sizes)?;
        Ok(Self::of(sizes, init::draw(&tensors, seed)))
    }

    /// Reads arrays `w0` `[O, I]`, `b0` `[O]`, `w1`, `b1`, … of floating-point numbers from a safetensors file.
    ///
    /// # Errors
    /// As [`Weights::glorot_uniform`] and [`init::load`].
    pub fn load(path: impl AsRef<Path>, sizes: &[usize]) -> Result<Self, InitError> {
        let tensors = tensors(sizes)?;
        Ok(Self::of(sizes, init::load(path, &tensors)?))
    }

    /// Of layers between neighbours of `sizes`, from the values of [`tensors`].
    fn of(sizes: &[usize], values: Vec<Vec<f32>>) -> Self {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let layers = sizes.windows(2).map(|pair| Layer {
            inputs: pair[0],
            outputs: pair[1],
            weight: next(),
            bias: next(),
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// Writes the file that [`Weights::load`] reads.
    ///
    /// # Errors
    /// [`InitError::Arrays`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), InitError> {
        let layers = self.layers.iter().enumerate();
        let tensors = layers.flat_map(|(index, it)| tensors_of_layer(index, it.inputs, it.outputs));
        let tensors: Vec<Tensor> = tensors.collect();
        init::save(path, &tensors, &self.values())
    }

    /// The values of each of [`tensors`].
    pub fn values(&self) -> Vec<&[f32]> {
        let layers = self.layers.iter();
        layers
            .flat_map(|layer| [&layer.weight[..], &layer.bias[..]])
            .collect()
    }

    /// Number of parameters, weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.values().into_iter().map(<[f32]>::len).sum()
    }
}
