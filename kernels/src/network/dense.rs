//! Dense layers on the device: forward, loss and backward of a batch, products whose tails do the rest.
//!
//! * forward: a = tanh(X Wᵀ + b), or X Wᵀ + b of a linear layer; the last layer's are logits, whose tail finds the loss and δ;
//! * backward: δ of the layer before = (δ W) (1 − a²);
//! * gradients: dW = δᵀ X and db = δᵀ 1 of all layers, in one launch.
//!
//! Behind each row that a layer takes in stands a one: so db is a column of a product.

use cubecl::server::Handle;

use super::gathering::{ImageOrder, PackedImages};
use super::placing::place;
use super::room::{ALIGNMENT, Room, part, stride};
use crate::buffers::require_bytes;
use crate::context::Context;
use crate::error::Error;
use crate::precision::PrecisionKind;
use crate::product::{Blueprint, Entry, Product, Products, Rounding, Scale, Tail, View, Work};
use crate::sweep::Strategy;

pub(super) const OPERATION: &str = "dense layers";

/// A dense layer: W, `[outputs, inputs]`, and b, `[outputs]`, lie in the parameters' arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Inputs.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// No tanh.
    pub linear: bool,
    /// Where W begins.
    pub weight: usize,
    /// Where b begins.
    pub bias: usize,
}

/// A launch of products.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which.
    pub name: String,
    /// m, n and k of each product.
    pub shapes: Vec<[usize; 3]>,
    /// How their results are cut.
    pub blueprint: Blueprint,
}

/// What leads from a batch to its loss.
struct Forward {
    rows: usize,
    layers: Vec<Products>,
}

/// Dense layers, with room for the values of a batch. Values are f32, rounded to the format of the precision's parameters.
pub struct DenseLayers {
    layers: Vec<Layer>,
    precision: PrecisionKind,
    rounding: Rounding,
    strategy: Strategy<Blueprint>,
    room: Room,
    /// The loss of each tile of logits, of as many batches as there are slots.
    losses: Handle,
    slots: usize,
    /// Of a whole batch, and of one that was shorter.
    forward: Vec<Forward>,
    backward: Vec<Products>,
    gradients: Products,
    batch: usize,
    arena: usize,
}

impl DenseLayers {
    /// Values of f32 that the larger of the two buffers of a batch has.
    pub fn batch_values(layers: &[Layer], batch: usize) -> usize {
        Room::largest(layers, batch)
    }

    /// Makes room for batches of `batch` rows; each layer takes in what the one before puts out, and the last puts out as many as the
    /// first takes in. `arena` is the number of values of the parameters' arena.
    ///
    /// # Errors
    /// [`Error::Shape`] for layers that do not fit each other or the arena, or no rows; [`Error::TooLarge`] for more values than a
    /// buffer of the device holds; as [`Products::new`].
    pub fn new(
        context: &Context,
        layers: Vec<Layer>,
        precision: PrecisionKind,
        arena: usize,
        batch: usize,
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let chained = layers.windows(2).all(|it| it[0].outputs == it[1].inputs);
        let ends = layers.first().map(|it| it.inputs) == layers.last().map(|it| it.outputs);
        let inside = layers.iter().all(|it| {
            it.inputs > 0
                && it.outputs > 0
                && it.weight + it.inputs * it.outputs <= arena
                && it.bias + it.outputs <= arena
        });
        if layers.is_empty() || batch == 0 || !chained || !ends || !inside {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "layers",
                found: format!("{batch} rows through {layers:?}"),
                expected: format!(
                    "layers in a chain whose ends are alike, within an arena of {arena} values"
                ),
            });
        }
        let rounding = match precision {
            PrecisionKind::F32 => Rounding::None,
            PrecisionKind::Bf16 | PrecisionKind::Bf16Mixed => Rounding::Bf16,
            PrecisionKind::F16 | PrecisionKind::F16Mixed => Rounding::F16,
        };
        let mut dense = Self {
            room: Room::new(context, &layers, batch)?,
            losses: context.upload(&[0f32]),
            slots: 0,
            gradients: Products::new(context, &[], Strategy::Forced(Blueprint::SMALL))?,
            forward: Vec::new(),
            backward: Vec::new(),
            layers,
            precision,
            rounding,
            strategy,
            batch,
            arena,
        };
        dense.gradients = dense.gradient_products(context)?;
        dense.backward = (1..dense.layers.len())
            .map(|l| dense.backward_product(context, l))
            .collect::<Result<_, _>>()?;
        let whole = dense.forward_products(context, batch)?;
        dense.forward.push(whole);
        dense.reserve(context, 1)?;
        Ok(dense)
    }

    /// Makes room for the losses of so many batches, if there is less; those that were found are lost then.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than a buffer of the device holds.
    pub fn reserve(&mut self, context: &Context, slots: usize) -> Result<(), Error> {
        if slots <= self.slots {
            return Ok(());
        }
        let values = slots * self.slot();
        context.require_buffer(OPERATION, "losses", 4 * values as u64)?;
        self.losses = context.upload(&vec![0f32; values]);
        self.slots = slots;
        Ok(())
    }

    /// Values from one batch's losses to the next's.
    fn slot(&self) -> usize {
        let last = self.forward[0].layers.last();
        last.map_or(1, Products::tiles).next_multiple_of(ALIGNMENT)
    }

    fn weight(&self, l: usize) -> View {
        View::rows(self.layers[l].weight, self.layers[l].inputs)
    }

    fn forward_products(&self, context: &Context, rows: usize) -> Result<Forward, Error> {
        let product = |(l, layer): (usize, &Layer)| {
            let product = Product {
                a: self.room.input(l),
                b: self.weight(l).transposed(),
                c: self.room.delta(l),
                m: rows,
                n: layer.outputs,
                k: layer.inputs,
            };
            let entry = Entry {
                line: layer.bias,
                // Of the last layer, its targets.
                beside: self.room.input(0),
                ..product.into()
            };
            // A short batch is cut as a whole one, so that it has no more tiles.
            let whole = self.forward.first().map(|it| it.layers[l].blueprint());
            let strategy = whole.map_or(self.strategy, Strategy::Forced);
            Products::of(context, &[entry], strategy)
        };
        let layers = self.layers.iter().enumerate().map(product);
        Ok(Forward {
            rows,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// δ of layer `l` − 1.
    fn backward_product(&self, context: &Context, l: usize) -> Result<Products, Error> {
        let product = Product {
            a: self.room.delta(l),
            b: self.weight(l),
            c: self.room.delta(l - 1),
            m: self.batch,
            n: self.layers[l].inputs,
            k: self.layers[l].outputs,
        };
        let entry = Entry {
            beside: self.room.input(l),
            ..product.into()
        };
        Products::of(context, &[entry], self.strategy)
    }

    fn gradient_products(&self, context: &Context) -> Result<Products, Error> {
        let entries = self.layers.iter().enumerate().map(|(l, layer)| {
            let product = Product {
                a: self.room.delta_of_all(l).transposed(),
                b: self.room.input_of_all(l),
                c: self.weight(l),
                m: layer.outputs,
                n: layer.inputs + 1,
                k: self.batch,
            };
            Entry {
                line: layer.bias,
                line_sums: true,
                ..product.into()
            }
        });
        let entries: Vec<Entry> = entries.collect();
        Products::of(context, &entries, self.strategy)
    }

    /// The products of [`DenseLayers::forward`] of a whole batch and [`DenseLayers::backward`], in the order of their launches.
    pub fn products(&self) -> Vec<Step> {
        let (rows, count) = (self.batch, self.layers.len());
        let forward = self.layers.iter().zip(&self.forward[0].layers);
        let forward = forward.enumerate().map(|(l, (layer, products))| Step {
            name: format!("forward, layer {}", l + 1),
            shapes: vec![[rows, layer.outputs, layer.inputs]],
            blueprint: products.blueprint(),
        });
        let backward = (1..count).rev().map(|l| Step {
            name: format!("backward, layer {}", l + 1),
            shapes: vec![[rows, self.layers[l].inputs, self.layers[l].outputs]],
            blueprint: self.backward[l - 1].blueprint(),
        });
        let gradients = self.layers.iter();
        let gradients = gradients.map(|layer| [layer.outputs, layer.inputs + 1, rows]);
        let gradients = Step {
            name: "gradients, all layers".into(),
            shapes: gradients.collect(),
            blueprint: self.gradients.blueprint(),
        };
        forward.chain(backward).chain([gradients]).collect()
    }

    fn require_rows(&self, rows: usize) -> Result<(), Error> {
        if (1..=self.batch).contains(&rows) {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            argument: "rows",
            found: rows.to_string(),
            expected: format!("1 to the {} of a batch", self.batch),
        })
    }

    /// Takes in `images`, `[rows, inputs]` without gaps and in f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for more rows than a batch has, or none; [`Error::Length`] for a buffer of another length; launch errors as
    /// [`Context::launch`].
    pub fn place(&self, context: &Context, images: &Handle, rows: usize) -> Result<(), Error> {
        self.require_rows(rows)?;
        let inputs = self.layers[0].inputs;
        let to = self.room.own_input(0);
        let shape = [rows, inputs];
        place(context, self.precision, images, &to, shape, stride(inputs))
    }

    /// Takes in the images `first` to `first + rows` of an order.
    ///
    /// # Errors
    /// [`Error::Shape`] for more rows than a batch or the order has, or none, and for images of another size; launch errors as
    /// [`Context::launch`].
    pub fn gather(
        &self,
        context: &Context,
        images: &PackedImages,
        order: &ImageOrder,
        first: usize,
        rows: usize,
    ) -> Result<(), Error> {
        self.require_rows(rows)?;
        let inputs = self.layers[0].inputs;
        images.require_pixels(inputs)?;
        let to = self.room.own_input(0);
        images.gather(context, order, first, rows, &to, stride(inputs))
    }

    /// Finds the loss of each tile of logits of the rows that were taken in, and leaves it in `slot`; with `scale`, also δ of the last
    /// layer, `scale` times the gradient of the mean loss. `params` is an arena of f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for more rows than a batch has, or none, or a slot that is not reserved; [`Error::Length`] for a buffer of
    /// another length; launch errors as [`Context::launch`].
    pub fn forward(
        &mut self,
        context: &Context,
        params: &Handle,
        rows: usize,
        scale: Option<f64>,
        slot: usize,
    ) -> Result<(), Error> {
        require_bytes(OPERATION, "params", params, 4 * self.arena as u64)?;
        self.require_rows(rows)?;
        self.require_slots(slot + 1)?;
        if !self.forward.iter().any(|it| it.rows == rows) {
            // One short batch is kept: a set of images has one.
            self.forward.truncate(1);
            self.forward.push(self.forward_products(context, rows)?);
        }
        let Some(forward) = self.forward.iter().find(|it| it.rows == rows) else {
            return Ok(());
        };
        let last = self.layers.len() - 1;
        let rounding = self.rounding;
        let targets = self.room.own_input(0);
        let losses = part(&self.losses, slot * self.slot(), self.slot());
        for (l, (layer, products)) in self.layers.iter().zip(&forward.layers).enumerate() {
            let input = self.room.own_input(l);
            let output = if l < last {
                self.room.own_input(l + 1)
            } else {
                self.room.own_delta(l)
            };
            let work = Work::scaled(products, [&input, params, &output], Scale::default());
            let work = Work {
                bias: Some(params),
                ..work
            };
            let work = if l < last {
                Work {
                    tail: Tail::Activation {
                        linear: layer.linear,
                        rounding,
                    },
                    ..work
                }
            } else {
                Work {
                    tail: Tail::Loss {
                        gradient: scale.is_some(),
                        rounding,
                    },
                    scale: Scale {
                        weight: scale.unwrap_or(1.0) / rows as f64,
                        ..Scale::default()
                    },
                    beside: Some(&targets),
                    extra: Some(&losses),
                    ..work
                }
            };
            work.launch(context)?;
        }
        Ok(())
    }

    /// The gradient of the batch that [`DenseLayers::forward`] was given last, with a scale: every W and b of `gradient`, an arena of
    /// f32, is written.
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
    pub fn backward(
        &self,
        context: &Context,
        params: &Handle,
        gradient: &Handle,
    ) -> Result<(), Error> {
        for (argument, buffer) in [("params", params), ("gradient", gradient)] {
            require_bytes(OPERATION, argument, buffer, 4 * self.arena as u64)?;
        }
        for (l, products) in self.backward.iter().enumerate().rev() {
            let tail = Tail::Derivative {
                linear: self.layers[l].linear,
                rounding: self.rounding,
            };
            let (from, to) = (self.room.own_delta(l + 1), self.room.own_delta(l));
            let activation = self.room.own_input(l + 1);
            let work = Work {
                tail,
                beside: Some(&activation),
                ..Work::scaled(products, [&from, params, &to], Scale::default())
            };
            work.launch(context)?;
        }
        let buffers = [&self.room.deltas, &self.room.values, gradient];
        let work = Work {
            extra: Some(gradient),
            ..Work::scaled(&self.gradients, buffers, Scale::default())
        };
        work.launch(context)
    }

    fn require_slots(&self, slots: usize) -> Result<(), Error> {
        if slots <= self.slots {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            argument: "slots",
            found: slots.to_string(),
            expected: format!("at most the {} that are reserved", self.slots),
        })
    }

    /// The loss of the batches that [`DenseLayers::forward`] left in the first slots, each the mean of so many rows as are given for it;
    /// waits for them. The losses of the tiles are added in f64, in order.
    ///
    /// # Errors
    /// As [`Context::download`]; [`Error::Shape`] for more slots than are reserved, or a number of rows that never went forward.
    pub fn mean_losses(&self, context: &Context, rows: &[usize]) -> Result<Vec<f64>, Error> {
        self.require_slots(rows.len())?;
        let tiles = |rows: usize| {
            let forward = self.forward.iter().find(|it| it.rows == rows);
            let last = forward.and_then(|it| it.layers.last());
            last.map(Products::tiles).ok_or_else(|| Error::Shape {
                operation: OPERATION,
                argument: "rows",
                found: rows.to_string(),
                expected: "as many as went forward".into(),
            })
        };
        let losses: Vec<f32> = context.download(OPERATION, &self.losses)?;
        let each = losses.chunks(self.slot()).zip(rows);
        each.map(|(losses, &rows)| {
            let of_tiles = losses[..tiles(rows)?].iter();
            let total: f64 = of_tiles.map(|&loss| f64::from(loss)).sum();
            Ok(total / rows as f64)
        })
        .collect()
    }
}
