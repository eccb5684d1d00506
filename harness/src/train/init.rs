//! The tensors of a workload and the values they begin with: drawn from a seed, or read from a file.

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::arrays::{self, Array, Arrays, ArraysError};

/// How a tensor's first values are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum First {
    /// All 0; nothing is drawn.
    Zeros,
    /// Uniformly from ± this limit.
    Uniform(f64),
}

impl First {
    /// Glorot and Bengio's: uniformly from ±√(6/(I + O)), for a weight matrix between I inputs and O outputs.
    pub fn glorot(inputs: usize, outputs: usize) -> Self {
        Self::Uniform((6.0 / (inputs + outputs) as f64).sqrt())
    }
}

/// A tensor that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in files and messages.
    pub name: String,
    /// Its shape; the last index runs fastest.
    pub shape: Vec<usize>,
    /// How its first values are drawn.
    pub first: First,
}

/// Why there are no weights, or why they are not saved.
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
        "weights from {path}: expected finite numbers, found {value} in array \"{name}\" at position {position}"
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
    /// The file does not hold the arrays of these tensors, or cannot be read or written.
    #[error("weights: {0}")]
    Arrays(#[from] ArraysError),
}

/// Draws the first values of all tensors.
///
/// The same seed gives the same bits on every machine: `ChaCha8`, stream 0, one u32 for each value that is drawn, tensor by tensor.
pub fn draw(tensors: &[Tensor], seed: u64) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = |limit: f64| {
        // The middle of one of 2³² equal parts of [0, 1].
        let unit = (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
        ((2.0 * unit - 1.0) * limit) as f32
    };
    tensors
        .iter()
        .map(|tensor| {
            let values = tensor.shape.iter().product();
            match tensor.first {
                First::Zeros => vec![0.0; values],
                First::Uniform(limit) => (0..values).map(|_| uniform(limit)).collect(),
            }
        })
        .collect()
}

/// Reads the values of all tensors, each from the array of its name and shape, of floating-point numbers, in a safetensors file.
///
/// # Errors
/// [`InitError`] if an array is missing or is none of these, has another shape, or holds something else than finite numbers
/// that an f32 can hold.
pub fn load(path: impl AsRef<Path>, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>, InitError> {
    let mut arrays = Arrays::read(&path)?;
    let mut take = |tensor: &Tensor| {
        let values = arrays.take_f32_of_shape(&tensor.name, &tensor.shape)?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(position) => Err(InitError::NotFinite {
                path: path.as_ref().display().to_string(),
                name: tensor.name.clone(),
                position,
                value: values[position],
            }),
            None => Ok(values),
        }
    };
    let values = tensors.iter().map(&mut take).collect::<Result<_, _>>()?;
    let names: Vec<&str> = tensors.iter().map(|it| it.name.as_str()).collect();
    arrays.require_only("a network of this size", &names)?;
    Ok(values)
}

/// Writes the file that [`load`] reads.
///
/// # Errors
/// [`InitError::Arrays`] if the file cannot be written.
pub fn save(
    path: impl AsRef<Path>,
    tensors: &[Tensor],
    values: &[&[f32]],
) -> Result<(), InitError> {
    let array = |(tensor, &values): (&Tensor, &&[f32])| {
        let array = Array::f32(tensor.shape.clone(), values.to_vec());
        (tensor.name.clone(), array)
    };
    let named: BTreeMap<String, Array> = tensors.iter().zip(values).map(array).collect();
    Ok(arrays::write(path, &named)?)
}
