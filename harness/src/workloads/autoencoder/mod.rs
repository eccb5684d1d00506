//! The MNIST autoencoder, which learns to give back the image that it was given through a code of few values.

pub mod images;
pub mod network;
mod objective;
mod options;
pub mod weights;

use std::hash::Hasher;

use cubecl::hash::StableHasher;
use sonew_kernels::arena::Layout;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::network::{DenseLayers, Layer};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::{Examples, Memory, Objective, Workload, layout_of};
use crate::train::TrainError;
use crate::train::init::Tensor;
use images::{IdxError, Images};
use network::{Network, NetworkError, Route, layers_in_arena};
use objective::Reconstruction;

pub use options::AutoencoderOptions;

/// Images, and the layers of the network.
pub struct Autoencoder {
    images: Images,
    sizes: Vec<usize>,
    tensors: Vec<Tensor>,
    layout: Layout,
    layers: Vec<Layer>,
}

impl Autoencoder {
    /// The autoencoder of these images, with so many units in each layer, input and output included.
    ///
    /// # Errors
    /// [`TrainError::Shape`] where the first or the last layer has another size than an image; as
    /// [`layout_of`] and [`tensors`](weights::tensors).
    pub fn new(images: Images, sizes: Vec<usize>) -> Result<Self, TrainError> {
        let pixels = images.pixels_per_image();
        if sizes.first() != Some(&pixels) || sizes.last() != Some(&pixels) {
            return Err(TrainError::Shape {
                argument: "--sizes",
                found: format!("{sizes:?}"),
                expected: format!(
                    "a list that starts and ends with the {pixels} pixels of an image"
                ),
            });
        }
        // First: it names the option whose sizes no network has.
        let (layers, _) = layers_in_arena(&sizes)?;
        let tensors = weights::tensors(&sizes)?;
        Ok(Self {
            layout: layout_of(&tensors)?,
            layers,
            tensors,
            images,
            sizes,
        })
    }
}

impl Workload for Autoencoder {
    fn title(&self) -> &str {
        "MNIST autoencoder"
    }

    fn loss_unit(&self) -> &str {
        "nats per image"
    }

    fn examples(&self) -> Examples {
        self.images.examples()
    }

    fn digest(&self) -> String {
        let mut hasher = StableHasher::new();
        hasher.write(&self.images.pixels);
        format!("{:032x}", hasher.finalize())
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn arrange(&mut self, layout: Layout) {
        self.layout = layout;
    }

    fn memory(&self, profile: Profile, batch: usize) -> Memory {
        let rows = batch as u128;
        let (buffer, host) = if profile.host_memory {
            // The gradient, activations, and two gradients of those.
            let widest = self.sizes.iter().max().map_or(0, |&units| units as u128);
            let units: u128 = self.sizes.iter().map(|&units| units as u128).sum();
            let arena = self.layout.arena_len() as u128;
            (0, arena + rows * (units + 2 * widest))
        } else {
            // The inputs, of which the device has a copy beside those of every layer.
            let values = DenseLayers::batch_values(&self.layers, batch) as u128;
            let inputs = rows * self.images.pixels_per_image() as u128;
            (values, values + inputs)
        };
        Memory {
            buffer: 4 * buffer,
            host: 4 * host,
            options: "--sizes or --batch",
        }
    }

    fn objective<'a>(
        &'a self,
        context: &Context,
        precision: PrecisionKind,
        batch: usize,
        products: Multiplication,
    ) -> Result<Box<dyn Objective + 'a>, TrainError> {
        let (sizes, layout) = (&self.sizes, &self.layout);
        let route = Route::Auto;
        let network =
            Network::in_layout(context, precision, sizes, layout, batch, route, products)?;
        Ok(Box::new(Reconstruction {
            images: network.image_set(context, &self.images)?,
            network,
            order: None,
        }))
    }
}

impl From<IdxError> for NetworkError {
    fn from(error: IdxError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<IdxError> for TrainError {
    fn from(error: IdxError) -> Self {
        Self::Workload(Box::new(error))
    }
}
