//! The weights a run starts from: Glorot-uniform from a seed, or read from a file.

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::arrays::{self, Array, Arrays, ArraysError};

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

/// Why there are no weights to start from.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The sizes describe no network.
    #[error(
        "first weights: expected at least two layer sizes, all at least 1 and no two neighbours with more weights than fit in memory, found {found:?}"
    )]
    Sizes {
        /// The sizes given.
        found: Vec<usize>,
    },
    /// A weight read from a file is not a finite number.
    #[error(
        "first weights from {path}: expected finite numbers, found {value} in array \"{name}\" at position {position}"
    )]
    NotFinite {
        /// The file.
        path: String,
        /// The array.
        name: String,
        /// Where in the array, counted flat from 0.
        position: usize,
        /// The value.
        value: f32,
    },
    /// The file does not hold the arrays `w0`, `b0`, `w1`, … of this network, or cannot be read or written.
    #[error("first weights: {0}")]
    Arrays(#[from] ArraysError),
}

impl Weights {
    /// Draws W uniformly from ±√(6/(I + O)) and sets b to 0, for layers between neighbours of `sizes`.
    ///
    /// The same seed gives the same bits on every machine: `ChaCha8`, stream 0, one u32 per weight, layer by layer.
    ///
    /// # Errors
    /// [`InitError::Sizes`] if there are fewer than two sizes, one is 0, or a layer would have more weights than can be addressed.
    pub fn glorot_uniform(sizes: &[usize], seed: u64) -> Result<Self, InitError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let layers = layer_sizes(sizes)?
            .map(|(inputs, outputs)| {
                let limit = (6.0 / (inputs + outputs) as f64).sqrt();
                let mut draw = || {
                    // The middle of one of 2³² equal parts of [0, 1].
                    let unit = (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
                    ((2.0 * unit - 1.0) * limit) as f32
                };
                Layer {
                    inputs,
                    outputs,
                    weight: (0..inputs * outputs).map(|_| draw()).collect(),
                    bias: vec![0.0; outputs],
                }
            })
            .collect();
        Ok(Self { layers })
    }

    /// Reads arrays `w0` `[O, I]`, `b0` `[O]`, `w1`, `b1`, … of floating-point numbers from a safetensors file.
    ///
    /// # Errors
    /// [`InitError`] if an array is missing or none of these, has another shape, or holds something else than finite numbers
    /// that an f32 can hold.
    pub fn load(path: impl AsRef<Path>, sizes: &[usize]) -> Result<Self, InitError> {
        let sizes = layer_sizes(sizes)?;
        let mut arrays = Arrays::read(&path)?;
        let mut names = Vec::new();
        let mut take = |name: String, shape: &[usize]| {
            let values = arrays.take_f32_of_shape(&name, shape)?;
            names.push(name.clone());
            match values.iter().position(|value| !value.is_finite()) {
                Some(position) => Err(InitError::NotFinite {
                    path: path.as_ref().display().to_string(),
                    name,
                    position,
                    value: values[position],
                }),
                None => Ok(values),
            }
        };
        let layers = sizes
            .enumerate()
            .map(|(index, (inputs, outputs))| {
                Ok(Layer {
                    inputs,
                    outputs,
                    weight: take(format!("w{index}"), &[outputs, inputs])?,
                    bias: take(format!("b{index}"), &[outputs])?,
                })
            })
            .collect::<Result<_, InitError>>()?;
        arrays.require_only("a network of this size", &names)?;
        Ok(Self { layers })
    }

    /// Writes the file that [`Weights::load`] reads.
    ///
    /// # Errors
    /// [`InitError::Arrays`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), InitError> {
        let mut named = BTreeMap::new();
        for (index, layer) in self.layers.iter().enumerate() {
            named.insert(
                format!("w{index}"),
                Array::f32([layer.outputs, layer.inputs], layer.weight.clone()),
            );
            named.insert(
                format!("b{index}"),
                Array::f32([layer.outputs], layer.bias.clone()),
            );
        }
        Ok(arrays::write(path, &named)?)
    }

    /// Number of parameters, weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.weight.len() + layer.bias.len())
            .sum()
    }
}

/// (inputs, outputs) of every layer.
fn layer_sizes(sizes: &[usize]) -> Result<impl Iterator<Item = (usize, usize)>, InitError> {
    let fits = |pair: &[usize]| {
        let weights = pair[0].checked_mul(pair[1]);
        weights.is_some_and(|weights| weights <= isize::MAX as usize / size_of::<f32>())
    };
    if sizes.len() < 2 || sizes.contains(&0) || !sizes.windows(2).all(fits) {
        return Err(InitError::Sizes {
            found: sizes.to_vec(),
        });
    }
    Ok(sizes.windows(2).map(|pair| (pair[0], pair[1])))
}
