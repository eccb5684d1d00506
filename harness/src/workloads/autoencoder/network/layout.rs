//! The layers of the network and where their tensors lie.

use std::ops::Range;

use sonew_kernels::arena::Layout;
use sonew_kernels::network::Layer as Dense;

use super::NetworkError;

/// One layer's part of the arena.
pub(super) struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// No tanh: the code, in the middle, and the logits.
    pub linear: bool,
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

/// The shapes of the parameters: of each layer its weights, [out, in], and its biases.
pub fn shapes(sizes: &[usize]) -> Vec<Vec<usize>> {
    let layers = sizes.windows(2);
    layers
        .flat_map(|pair| [vec![pair[1], pair[0]], vec![pair[1]]])
        .collect()
}

/// Where the parameters of a network lie in its arena; takes no memory for them.
///
/// # Errors
/// [`NetworkError::Shape`] as [`Network::new`](super::Network::new), and a number of parameters that kernels cannot index.
pub fn layout(sizes: &[usize]) -> Result<Layout, NetworkError> {
    Ok(NetworkLayout::new(sizes)?.layout)
}

/// The layers of a network as the device route knows them, and the values of their arena.
///
/// # Errors
/// As [`layout`].
pub fn layers_in_arena(sizes: &[usize]) -> Result<(Vec<Dense>, usize), NetworkError> {
    let NetworkLayout { layout, layers } = NetworkLayout::new(sizes)?;
    Ok((layers.iter().map(Into::into).collect(), layout.arena_len()))
}

/// The layers and the arena they share.
pub(super) struct NetworkLayout {
    pub layout: Layout,
    pub layers: Vec<Layer>,
}

impl NetworkLayout {
    pub fn new(sizes: &[usize]) -> Result<Self, NetworkError> {
        if sizes.len() < 3 || sizes.contains(&0) || sizes.first() != sizes.last() {
            return Err(NetworkError::Shape {
                argument: "sizes",
                found: format!("{sizes:?}"),
                expected: "at least three sizes, none of them 0, the last as the first".into(),
            });
        }
        let layout = Layout::with_shapes(shapes(sizes))?;
        let count = sizes.len() - 1;
        let layers = sizes
            .windows(2)
            .enumerate()
            .map(|(l, pair)| Layer {
                inputs: pair[0],
                outputs: pair[1],
                linear: l + 1 == count || l + 1 == count / 2,
                weight: layout.tensors()[2 * l].clone(),
                bias: layout.tensors()[2 * l + 1].clone(),
            })
            .collect();
        Ok(Self { layout, layers })
    }

    /// Units of the widest hidden layer.
    pub fn widest_hidden(&self) -> usize {
        let hidden = &self.layers[1..];
        hidden.iter().map(|layer| layer.inputs).max().unwrap_or(0)
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
