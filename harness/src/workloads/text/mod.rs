//! A model of text: from some characters that follow each other it foretells the next one.
//!
//! Each character of a context of C stands for a row of a table, `embedding` `[V, E]`; these rows, side by side, go through hidden
//! layers with tanh, w0, b0, w1, b1, …, to a logit for each of the V characters. The loss is the softmax cross-entropy of the one that
//! follows, in the mean of the contexts (Bengio, Ducharme, Vincent, Jauvin, A Neural Probabilistic Language Model, JMLR 2003, with
//! characters in the place of words).
//!
//! On a CPU adapter all of it runs in host memory; on a graphics processor all of it runs on the device.

mod contexts;
mod device_route;
mod embedded;
mod host_route;
mod options;

use sonew_kernels::arena::Layout;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::network::{DenseLayers, Embedding, Layer as Dense};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::layers::{Layer, NetworkError, tensors};
use super::{Examples, Memory, Objective, Workload, layout_of};
use crate::train::TrainError;
use crate::train::init::{First, Tensor};
use device_route::DeviceRoute;
use host_route::HostRoute;

pub use contexts::{Contexts, Gathered};
pub use embedded::moby_dick;
pub use options::TextOptions;

/// A text, and the layers of the network.
pub struct Text {
    contexts: Contexts,
    table: Embedding,
    /// Of what the first layer takes in, of the hidden layers, and of the logits.
    sizes: Vec<usize>,
    tensors: Vec<Tensor>,
    layout: Layout,
}

impl Text {
    /// Foretells what follows these contexts; `width` values stand for a character, and `hidden` are the units of the hidden layers.
    ///
    /// # Errors
    /// [`TrainError::Shape`] for no values; as [`tensors`] and [`Layout::with_shapes`].
    pub fn new(contexts: Contexts, width: usize, hidden: &[usize]) -> Result<Self, TrainError> {
        let inputs = contexts.length().checked_mul(width);
        let Some(inputs) = inputs.filter(|&inputs| inputs > 0) else {
            return Err(TrainError::Shape {
                argument: "--text-embedding",
                found: width.to_string(),
                expected: "at least 1, and as many as can be counted of a context".into(),
            });
        };
        let classes = contexts.alphabet().len();
        let sizes: Vec<usize> = [inputs]
            .iter()
            .chain(hidden)
            .copied()
            .chain([classes])
            .collect();
        let mut all = vec![Tensor {
            name: "embedding".into(),
            shape: vec![classes, width],
            // What comes out of a hidden layer is no larger either.
            first: First::Uniform(1.0),
        }];
        all.extend(tensors(&sizes)?);
        let layout = layout_of(&all)?;
        Ok(Self {
            table: Embedding {
                codes: classes,
                width,
                start: layout.tensors()[0].start,
            },
            contexts,
            sizes,
            tensors: all,
            layout,
        })
    }

    /// The layers behind the table; the last has the logits.
    fn layers(&self) -> Vec<Layer> {
        let last = self.sizes.len() - 2;
        Layer::between(&self.sizes, &self.layout, 1, |l| l == last)
    }

    fn dense(&self) -> Vec<Dense> {
        self.layers().iter().map(Dense::from).collect()
    }
}

impl Workload for Text {
    fn title(&self) -> &str {
        "Moby-Dick, character by character"
    }

    fn loss_unit(&self) -> &str {
        "nats per character"
    }

    fn examples(&self) -> Examples {
        Examples {
            count: self.contexts.count(),
            one: "character",
            many: "characters",
        }
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn arrange(&mut self, layout: Layout) {
        self.table.start = layout.tensors()[0].start;
        self.layout = layout;
    }

    fn memory(&self, profile: Profile, batch: usize) -> Memory {
        let (rows, inputs) = (batch as u128, self.sizes[0] as u128);
        // The codes of an epoch, and of what follows.
        let codes = self.contexts.count() as u128 * (self.contexts.length() as u128 + 1);
        let (buffer, host) = if profile.host_memory {
            // The gradient, activations, two gradients of those, and what is looked up and its gradient.
            let hidden = &self.sizes[1..];
            let widest = hidden.iter().max().map_or(0, |&units| units as u128);
            let units: u128 = hidden.iter().map(|&units| units as u128).sum();
            let arena = self.layout.arena_len() as u128;
            (0, arena + rows * (units + 2 * widest + 2 * inputs))
        } else {
            let values = DenseLayers::batch_values(&self.dense(), batch) as u128;
            (values.max(codes), values + 2 * codes)
        };
        Memory {
            buffer: 4 * buffer,
            host: 4 * host,
            options: "--text-hidden, --text-characters or --batch",
        }
    }

    fn objective<'a>(
        &'a self,
        context: &Context,
        precision: PrecisionKind,
        batch: usize,
        products: Multiplication,
    ) -> Result<Box<dyn Objective + 'a>, TrainError> {
        let arena = 4 * self.layout.arena_len() as u64;
        let operation = "building the network";
        let required = context.require_buffer(operation, "an arena of all tensors", arena);
        required.map_err(NetworkError::from)?;
        if context.profile().host_memory {
            // What a GPU would be asked for is refused here as well.
            products.parts(context, None).map_err(NetworkError::from)?;
            return Ok(Box::new(HostRoute::new(self, precision, batch)));
        }
        let route = DeviceRoute::new(self, context, precision, batch, products)?;
        Ok(Box::new(route))
    }
}
