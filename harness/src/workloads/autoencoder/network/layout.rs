//! The layers of the autoencoder and where their tensors lie.

use sonew_kernels::arena::Layout;
use sonew_kernels::network::Layer as Dense;

use super::NetworkError;
use crate::workloads::layers::Layer;

pub use crate::workloads::layers::shapes;

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
        Self::of(sizes, layout)
    }

    /// The layers of tensors that lie where a layout has them.
    pub fn of(sizes: &[usize], layout: Layout) -> Result<Self, NetworkError> {
        let own = shapes(sizes);
        if layout.shapes() != own {
            return Err(NetworkError::Shape {
                argument: "layout",
                found: format!("tensors of {:?}", layout.shapes()),
                expected: format!("{own:?}"),
            });
        }
        let count = sizes.len() - 1;
        // The code, in the middle, and the logits.
        let linear = |l: usize| l + 1 == count || l + 1 == count / 2;
        let layers = Layer::between(sizes, &layout, 0, linear);
        Ok(Self { layout, layers })
    }
}
