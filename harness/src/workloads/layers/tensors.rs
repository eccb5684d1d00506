//! The tensors of dense layers, and where each layer's lie in an arena.

use std::ops::Range;

use sonew_kernels::arena::Layout;
use sonew_kernels::network::Layer as Dense;

use crate::train::init::{First, InitError, Tensor};

/// One layer's part of the arena.
pub(in crate::workloads) struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// No tanh.
    pub linear: bool,
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

impl Layer {
    /// Layers between neighbours of `sizes`, whose tensors are those of an arena from the `first` on; `linear` says which have no
    /// tanh.
    pub fn between(
        sizes: &[usize],
        layout: &Layout,
        first: usize,
        linear: impl Fn(usize) -> bool,
    ) -> Vec<Self> {
        let layer = |(l, pair): (usize, &[usize])| Self {
            inputs: pair[0],
            outputs: pair[1],
            linear: linear(l),
            weight: layout.tensors()[first + 2 * l].clone(),
            bias: layout.tensors()[first + 2 * l + 1].clone(),
        };
        sizes.windows(2).enumerate().map(layer).collect()
    }
}

impl From<&Layer> for Dense {
    fn from(layer: &Layer) -> Self {
        Self {
            inputs: layer.inputs,
            outputs: layer.outputs,
            linear: layer.linear,
            weight: layer.weight.start,
            bias: layer.bias.start,
        }
    }
}

/// The shapes of the parameters: of each layer its weights, [out, in], and its biases.
pub fn shapes(sizes: &[usize]) -> Vec<Vec<usize>> {
    let layers = sizes.windows(2);
    layers
        .flat_map(|pair| [vec![pair[1], pair[0]], vec![pair[1]]])
        .collect()
}

/// The tensors of layers between neighbours of `sizes`: w0, b0, w1, b1, …
///
/// # Errors
/// [`InitError::Sizes`] if there are fewer than two sizes, one is 0, or a layer would have more weights than can be addressed.
pub fn tensors(sizes: &[usize]) -> Result<Vec<Tensor>, InitError> {
    let fits = |pair: &[usize]| {
        let weights = pair[0].checked_mul(pair[1]);
        weights.is_some_and(|weights| weights <= isize::MAX as usize / size_of::<f32>())
    };
    if sizes.len() < 2 || sizes.contains(&0) || !sizes.windows(2).all(fits) {
        return Err(InitError::Sizes {
            found: sizes.to_vec(),
        });
    }
    let layers = sizes.windows(2).enumerate();
    Ok(layers
        .flat_map(|(index, pair)| tensors_of_layer(index, pair[0], pair[1]))
        .collect())
}

/// The weight matrix and the bias of a layer.
pub(in crate::workloads) fn tensors_of_layer(
    index: usize,
    inputs: usize,
    outputs: usize,
) -> [Tensor; 2] {
    [
        Tensor {
            name: format!("w{index}"),
            shape: vec![outputs, inputs],
            first: First::glorot(inputs, outputs),
        },
        Tensor {
            name: format!("b{index}"),
            shape: vec![outputs],
            first: First::Zeros,
        },
    ]
}
