//! The autoencoder: dense layers with bias, tanh after every hidden layer except the code, logits at the end, sigmoid
//! cross-entropy summed over pixels and averaged over the batch.
//!
//! Parameters and gradients lie in one arena, w0, b0, w1, b1, … in this order, each W row-major [out, in]: the incoming
//! weights of an output unit follow each other, which is the order of SONew's chains.
//!
//! On a CPU adapter all of it runs in host memory; on a graphics processor all of it runs on the device, and what comes
//! back per step is the loss.

mod device;
mod host;
mod image_set;

use std::ops::Range;

use sonew_kernels::arena::{Arena, Segments};
use sonew_kernels::context::Context;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use crate::data::Images;

pub use image_set::{ImageSet, Order};

/// Why the network cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Something does not have the shape that the layers ask for.
    #[error("network: {argument} is {found}, expected {expected}")]
    Shape {
        /// What.
        argument: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The images.
    #[error(transparent)]
    Images(#[from] crate::data::IdxError),
    /// A kernel, a product or a transfer.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
}

/// Where the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// [`Route::Host`] on a CPU adapter, [`Route::Device`] elsewhere.
    #[default]
    Auto,
    /// In host memory: parameters are read and gradients written once per step.
    Host,
    /// In device memory.
    Device,
}

/// The loss of a batch and its gradient.
pub struct Gradients {
    /// Nats per image, before the update.
    pub loss: f64,
    /// The gradient; on the device route the next call writes to the same one.
    pub grads: Arena,
}

/// The network, with room for one batch.
///
/// Parameters, gradients, inputs, activations and their gradients are held in the format of the precision's parameters:
/// each result of a product, of a layer's elementwise part and of a sum is rounded to it once. Products and sums are in f32.
pub struct Network {
    place: Place,
    precision: PrecisionKind,
    batch: usize,
    /// Of batches on the host route that were not asked for yet.
    losses: Vec<f64>,
    /// A batch on the host route.
    values: Vec<f32>,
}

enum Place {
    Host(host::HostNetwork),
    Device(Box<device::DeviceNetwork>),
}

impl Network {
    /// A network of the given layer sizes, input and output included, for batches of `batch` images.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for fewer than two layers, an empty layer, an output of another size than the input, or
    /// an empty batch; [`NetworkError::Kernel`] if the device has no buffer of the size needed.
    pub fn new(
        context: &Context,
        precision: PrecisionKind,
        sizes: &[usize],
        batch: usize,
        route: Route,
    ) -> Result<Self, NetworkError> {
        Self::with_products(
            context,
            precision,
            sizes,
            batch,
            route,
            Multiplication::Auto,
        )
    }

    /// As [`Network::new`], with a way to multiply.
    ///
    /// # Errors
    /// As [`Network::new`]; [`NetworkError::Kernel`] where the device lacks the matrix units that were asked for.
    pub fn with_products(
        context: &Context,
        precision: PrecisionKind,
        sizes: &[usize],
        batch: usize,
        route: Route,
        products: Multiplication,
    ) -> Result<Self, NetworkError> {
        if batch == 0 {
            return Err(NetworkError::Shape {
                argument: "batch",
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        let layout = Layout::new(sizes)?;
        let operation = "building the network";
        let arena = 4 * layout.segments.arena_len() as u64;
        context.require_buffer(operation, "an arena of all tensors", arena)?;
        let on_host = match route {
            Route::Auto => context.profile().host_memory,
            Route::Host => true,
            Route::Device => false,
        };
        let place = if on_host {
            products.parts(context, None)?;
            Place::Host(host::HostNetwork::new(precision, layout, batch))
        } else {
            let device = device::DeviceNetwork::new(context, precision, layout, batch, products)?;
            Place::Device(Box::new(device))
        };
        Ok(Self {
            place,
            precision,
            batch,
            losses: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Where the tensors lie in the arena.
    pub fn segments(&self) -> &Segments {
        match &self.place {
            Place::Host(host) => host.segments(),
            Place::Device(device) => device.segments(),
        }
    }

    /// The loss of a batch and its gradient times `scale`; `images` is [batch, pixels] in [0, 1].
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for a batch of another size; [`NetworkError::Kernel`] for an arena of another layout or format, and for launch failures found when the parameters or
    /// the loss are read.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        images: &[f32],
        scale: f64,
    ) -> Result<Gradients, NetworkError> {
        self.check_params(params)?;
        match &mut self.place {
            Place::Host(host) => {
                let (loss, grads) =
                    params.view(context, "reading parameters", move |params| {
                        host.gradients(params, images, scale)
                    })??;
                let (layout, format) = (params.layout(), self.precision.format());
                let grads = Arena::from_values(context, layout, format, grads)?;
                Ok(Gradients { loss, grads })
            }
            Place::Device(device) => device.gradients(context, params, images, scale),
        }
    }

    /// Images where the network wants them: on the device route they are uploaded, a byte a pixel.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`] if the device has no room.
    pub fn image_set<'a>(
        &self,
        context: &Context,
        images: &'a Images,
    ) -> Result<ImageSet<'a>, NetworkError> {
        match &self.place {
            Place::Host(_) => Ok(ImageSet::in_host_memory(images)),
            Place::Device(_) => ImageSet::on_device(context, images, self.precision),
        }
    }

    /// An order of images, for the batches of some steps.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`] on the device route, for an index that no image has.
    pub fn order(
        &self,
        context: &Context,
        set: &ImageSet<'_>,
        indices: Vec<u32>,
    ) -> Result<Order, NetworkError> {
        set.order(context, indices)
    }

    /// The gradient, times `scale`, of the `number`-th batch of an order. Its loss is among the next [`Network::losses`]: on the
    /// device route nothing is waited for.
    ///
    /// # Errors
    /// As [`Network::gradients`]; [`NetworkError::Shape`] for a batch that the order does not have.
    pub fn gradients_of(
        &mut self,
        context: &Context,
        params: &Arena,
        (set, order): (&ImageSet<'_>, &Order),
        number: usize,
        scale: f64,
    ) -> Result<Arena, NetworkError> {
        let first = number * self.batch;
        let indices = order.images(first..first + self.batch)?;
        let on_device = set.on_device.as_ref().zip(order.on_device.as_ref());
        if let (Place::Device(device), Some(((packed, _), order))) = (&mut self.place, on_device) {
            check_params(self.precision, device.segments(), params)?;
            return device.gradients_of(context, params, (packed, order), first, scale);
        }
        let mut values = std::mem::take(&mut self.values);
        values.resize(self.batch * set.images.pixels_per_image(), 0.0);
        set.images.fill_batch(indices, &mut values)?;
        let found = self.gradients(context, params, &values, scale);
        self.values = values;
        let found = found?;
        self.losses.push(found.loss);
        Ok(found.grads)
    }

    /// The losses of the batches whose gradients were asked for by [`Network::gradients_of`] since this was last asked, in order. On
    /// the device route it waits for them.
    ///
    /// # Errors
    /// Launch failures that were found meanwhile.
    pub fn losses(&mut self, context: &Context) -> Result<Vec<f64>, NetworkError> {
        match &mut self.place {
            Place::Host(_) => Ok(std::mem::take(&mut self.losses)),
            Place::Device(device) => device.losses(context),
        }
    }

    /// Whether a loss is known as soon as its gradient is.
    pub fn tells_at_once(&self) -> bool {
        matches!(self.place, Place::Host(_))
    }

    /// The mean loss per image over a whole set.
    ///
    /// # Errors
    /// As [`Network::gradients`].
    pub fn evaluate(
        &mut self,
        context: &Context,
        params: &Arena,
        set: &ImageSet<'_>,
    ) -> Result<f64, NetworkError> {
        self.check_params(params)?;
        match (&mut self.place, &set.on_device) {
            (Place::Host(host), _) => {
                let run = |params: &[f32]| host.evaluate(params, set.images);
                params.view(context, "reading parameters", run)?
            }
            (Place::Device(device), Some((packed, order))) => {
                device.evaluate(context, params, (packed, order))
            }
            (Place::Device(_), None) => Err(NetworkError::Shape {
                argument: "the image set",
                found: "one of a network in host memory".into(),
                expected: "one that this network made".into(),
            }),
        }
    }

    fn check_params(&self, params: &Arena) -> Result<(), NetworkError> {
        check_params(self.precision, self.segments(), params)
    }
}

fn check_params(
    precision: PrecisionKind,
    segments: &Segments,
    params: &Arena,
) -> Result<(), NetworkError> {
    Ok(params.require("network", "params", segments, precision.format())?)
}

/// One layer's part of the arena.
struct Layer {
    inputs: usize,
    outputs: usize,
    /// No tanh: the code, in the middle, and the logits.
    linear: bool,
    weight: Range<usize>,
    bias: Range<usize>,
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
/// [`NetworkError::Shape`] as [`Network::new`], and a number of parameters that kernels cannot index.
pub fn segments(sizes: &[usize]) -> Result<Segments, NetworkError> {
    Ok(Layout::new(sizes)?.segments)
}

/// The layers of a network as the device route knows them, and the values of their arena.
///
/// # Errors
/// As [`segments`].
pub fn layers_in_arena(
    sizes: &[usize],
) -> Result<(Vec<sonew_kernels::network::Layer>, usize), NetworkError> {
    let Layout { segments, layers } = Layout::new(sizes)?;
    Ok((
        layers.iter().map(Into::into).collect(),
        segments.arena_len(),
    ))
}

/// The layers and the arena they share.
struct Layout {
    segments: Segments,
    layers: Vec<Layer>,
}

impl Layout {
    fn new(sizes: &[usize]) -> Result<Self, NetworkError> {
        if sizes.len() < 3 || sizes.contains(&0) || sizes.first() != sizes.last() {
            return Err(NetworkError::Shape {
                argument: "sizes",
                found: format!("{sizes:?}"),
                expected: "at least three sizes, none of them 0, the last as the first".into(),
            });
        }
        let segments = Segments::with_shapes(shapes(sizes))?;
        let count = sizes.len() - 1;
        let layers = sizes
            .windows(2)
            .enumerate()
            .map(|(l, pair)| Layer {
                inputs: pair[0],
                outputs: pair[1],
                linear: l + 1 == count || l + 1 == count / 2,
                weight: segments.tensors()[2 * l].clone(),
                bias: segments.tensors()[2 * l + 1].clone(),
            })
            .collect();
        Ok(Self { segments, layers })
    }

    /// Units of the widest hidden layer.
    fn widest_hidden(&self) -> usize {
        let hidden = &self.layers[1..];
        hidden.iter().map(|layer| layer.inputs).max().unwrap_or(0)
    }
}

fn check_images(images: &[f32], batch: usize, pixels: usize) -> Result<(), NetworkError> {
    if images.len() == batch * pixels {
        return Ok(());
    }
    Err(NetworkError::Shape {
        argument: "images",
        found: format!("{} values", images.len()),
        expected: format!("{batch} images of {pixels} pixels"),
    })
}

/// Calls `run` with all images in batches, the last of which may be short, and the number of images in each; returns
/// the mean of what it returns, weighted by that number.
fn mean_over_batches(
    images: &Images,
    batch: usize,
    pixels: usize,
    mut run: impl FnMut(&[f32], usize) -> Result<f64, NetworkError>,
) -> Result<f64, NetworkError> {
    if images.pixels_per_image() != pixels || images.count == 0 {
        return Err(NetworkError::Shape {
            argument: "images",
            found: format!("{} of {} pixels", images.count, images.pixels_per_image()),
            expected: format!("at least one of {pixels} pixels"),
        });
    }
    let mut values = vec![0.0; batch.min(images.count) * pixels];
    let mut total = 0.0;
    let indices: Vec<u32> = (0..images.count as u32).collect();
    for chunk in indices.chunks(batch) {
        let values = &mut values[..chunk.len() * pixels];
        images.fill_batch(chunk, values)?;
        total += run(values, chunk.len())? * chunk.len() as f64;
    }
    Ok(total / images.count as f64)
}
