//! The autoencoder: dense layers with bias, tanh after every hidden layer except the code, logits at the end, sigmoid
//! cross-entropy summed over pixels and averaged over the batch.
//!
//! Parameters and gradients lie in one arena, w0, b0, w1, b1, … in this order, each W row-major [out, in]: the incoming
//! weights of an output unit follow each other, which is the order of SONew's chains.
//!
//! On a CPU adapter all of it runs in host memory; on a graphics processor all of it runs on the device, and what comes
//! back per step is the loss.

mod device_route;
mod host;
mod host_route;
mod image_set;
mod layout;

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use crate::workloads::autoencoder::images::Images;

use device_route::DeviceRoute;
use host_route::HostRoute;
use layout::NetworkLayout;

pub use crate::workloads::layers::NetworkError;
pub use image_set::{ImageSet, Order};
pub use layout::{layers_in_arena, layout, shapes};

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
    /// The gradient, an arena; on the device route the next call writes to the same one.
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
}

enum Place {
    Host(Box<HostRoute>),
    Device(Box<DeviceRoute>),
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
        let layout = layout(sizes)?;
        let products = Multiplication::Auto;
        Self::in_layout(context, precision, sizes, &layout, batch, route, products)
    }

    /// As [`Network::new`], with tensors where a layout has them, and with a way to multiply.
    ///
    /// # Errors
    /// As [`Network::new`]; [`NetworkError::Shape`] for a layout of other tensors, [`NetworkError::Kernel`] where the device lacks the matrix
    /// units that were asked for.
    pub fn in_layout(
        context: &Context,
        precision: PrecisionKind,
        sizes: &[usize],
        layout: &Layout,
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
        let layout = NetworkLayout::of(sizes, layout.clone())?;
        let operation = "building the network";
        let arena = 4 * layout.layout.arena_len() as u64;
        context.require_buffer(operation, "an arena of all tensors", arena)?;
        let on_host = match route {
            Route::Auto => context.profile().host_memory,
            Route::Host => true,
            Route::Device => false,
        };
        let place = if on_host {
            products.parts(context, None)?;
            Place::Host(Box::new(HostRoute::new(precision, layout, batch)))
        } else {
            let device = DeviceRoute::new(context, precision, layout, batch, products)?;
            Place::Device(Box::new(device))
        };
        Ok(Self {
            place,
            precision,
            batch,
        })
    }

    /// Where the tensors lie in the arena.
    pub fn layout(&self) -> &Layout {
        match &self.place {
            Place::Host(host) => host.layout(),
            Place::Device(device) => device.layout(),
        }
    }

    /// The loss of a batch and its gradient times `scale`; `images` is [batch, pixels] in [0, 1].
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for a batch of another size; [`NetworkError::Kernel`] for an arena of another layout or format, and
    /// for launch failures found when the parameters or the loss are read.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        images: &[f32],
        scale: f64,
    ) -> Result<Gradients, NetworkError> {
        self.check_params(params)?;
        match &mut self.place {
            Place::Host(host) => host.gradients(context, params, images, scale),
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
        self.check_params(params)?;
        let on_device = set.on_device.as_ref().zip(order.on_device.as_ref());
        match (&mut self.place, on_device) {
            (Place::Host(host), _) => {
                host.gradients_of(context, params, (set.images, indices), scale)
            }
            (Place::Device(device), Some(((packed, _), order))) => {
                device.gradients_of(context, params, (packed, order), first, scale)
            }
            (Place::Device(_), None) => Err(of_host_memory()),
        }
    }

    /// The losses of the batches whose gradients were asked for by [`Network::gradients_of`] since this was last asked, in order. On
    /// the device route it waits for them.
    ///
    /// # Errors
    /// Launch failures that were found meanwhile.
    pub fn losses(&mut self, context: &Context) -> Result<Vec<f64>, NetworkError> {
        match &mut self.place {
            Place::Host(host) => Ok(host.losses()),
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
            (Place::Host(host), _) => host.evaluate(context, params, set.images),
            (Place::Device(device), Some((packed, order))) => {
                device.evaluate(context, params, (packed, order))
            }
            (Place::Device(_), None) => Err(of_host_memory()),
        }
    }

    fn check_params(&self, params: &Arena) -> Result<(), NetworkError> {
        let format = self.precision.format();
        Ok(params.require("network", "params", self.layout(), format)?)
    }
}

fn of_host_memory() -> NetworkError {
    NetworkError::Shape {
        argument: "the image set",
        found: "one of a network in host memory".into(),
        expected: "one that this network made".into(),
    }
}
