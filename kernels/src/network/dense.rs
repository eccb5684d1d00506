//! Dense layers on the device: forward, loss and backward of a batch, products whose tails do the rest.
//!
//! * forward: a = tanh(X Wᵀ + b), or X Wᵀ + b of a linear layer; the last layer's are logits, whose tail finds the loss and δ, or
//!   which a kernel of their own compares with classes;
//! * backward: δ of the layer before = (δ W) (1 − a²);
//! * gradients: dW = δᵀ X and db = δᵀ 1 of all layers, in one launch.
//!
//! Behind each row that a layer takes in stands a one: so db is a column of a product.

use cubecl::server::Handle;

use super::coded::Codes;
use super::embedding::Embedding;
use super::gathering::{ImageOrder, PackedImages};
use super::placing::place;
use super::room::{ALIGNMENT, Room, part, stride};
use super::softmax::Logits;
use super::tables::{Forward, Tables};
use crate::context::Context;
use crate::error::Error;
use crate::launch::require_bytes;
use crate::precision::PrecisionKind;
use crate::product::{Blueprint, Multiplication, Rounding, Scale, Tail, Work};

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

/// Dense layers, with room for the values of a batch. Values are f32, rounded to the format of the precision's parameters.
pub struct DenseLayers {
    pub(super) layers: Vec<Layer>,
    precision: PrecisionKind,
    pub(super) room: Room,
    tables: Tables,
    pub(super) codes: Option<Codes>,
    /// The loss of each tile of logits, or of each row of them, of as many batches as there are slots.
    losses: Handle,
    /// Values from one batch's losses to the next's.
    slot: usize,
    slots: usize,
    batch: usize,
    pub(super) arena: usize,
}

impl DenseLayers {
    /// Values of f32 that the larger of the two buffers of a batch has.
    pub fn batch_values(layers: &[Layer], batch: usize) -> usize {
        Room::largest(layers, batch)
    }

    /// Makes room for batches of `batch` rows; each layer takes in what the one before puts out, and the last puts out as many as the
    /// first takes in: its loss is the sigmoid cross-entropy of what was taken in, summed over a row. `arena` is the number of values
    /// of the parameters' arena.
    ///
    /// # Errors
    /// [`Error::Shape`] for layers that do not fit each other or the arena, or no rows; [`Error::TooLarge`] for more values than a
    /// buffer of the device holds; [`Error::Unsupported`] where the
    /// device lacks the matrix units that were asked for; as [`Products::new`](crate::product::Products::new).
    pub fn new(
        context: &Context,
        layers: Vec<Layer>,
        precision: PrecisionKind,
        arena: usize,
        batch: usize,
        multiplication: Multiplication,
    ) -> Result<Self, Error> {
        let ends = layers.first().map(|it| it.inputs) == layers.last().map(|it| it.outputs);
        if !ends {
            return Err(misfit(&layers, batch, "layers whose ends are alike".into()));
        }
        Self::between(
            context,
            layers,
            precision,
            arena,
            batch,
            multiplication,
            None,
        )
    }

    /// As [`DenseLayers::new`], or between codes.
    pub(super) fn between(
        context: &Context,
        layers: Vec<Layer>,
        precision: PrecisionKind,
        arena: usize,
        batch: usize,
        multiplication: Multiplication,
        embedding: Option<Embedding>,
    ) -> Result<Self, Error> {
        let chained = layers.windows(2).all(|it| it[0].outputs == it[1].inputs);
        let inside = layers.iter().all(|it| {
            it.inputs > 0
                && it.outputs > 0
                && it.weight + it.inputs * it.outputs <= arena
                && it.bias + it.outputs <= arena
        });
        if layers.is_empty() || batch == 0 || !chained || !inside {
            let expected =
                format!("rows, and layers in a chain, within an arena of {arena} values");
            return Err(misfit(&layers, batch, expected));
        }
        let rounding = Rounding::of(precision);
        let parts = multiplication.parts(context, rounding.parts())?;
        let room = Room::new(context, &layers, batch, embedding.is_some())?;
        let tables = Tables::new(context, &layers, &room, batch, parts)?;
        let losses = embedding.map_or(tables.losses(), |_| batch);
        let slot = losses.next_multiple_of(ALIGNMENT);
        Ok(Self {
            layers,
            precision,
            room,
            tables,
            codes: embedding.map(|embedding| Codes {
                embedding,
                taken: None,
            }),
            losses: context.upload(&vec![0f32; slot]),
            slot,
            slots: 1,
            batch,
            arena,
        })
    }

    /// Makes room for the losses of so many batches, if there is less; those that were found are lost then.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than a buffer of the device holds.
    pub fn reserve(&mut self, context: &Context, slots: usize) -> Result<(), Error> {
        if slots <= self.slots {
            return Ok(());
        }
        let values = slots * self.slot;
        context.require_buffer(OPERATION, "losses", 4 * values as u64)?;
        self.losses = context.upload(&vec![0f32; values]);
        self.slots = slots;
        Ok(())
    }

    /// How the results of the products of a training step are cut, in the order of [`steps`](super::steps).
    pub fn blueprints(&self) -> Vec<Blueprint> {
        self.tables.blueprints()
    }

    pub(super) fn require_rows(&self, rows: usize) -> Result<(), Error> {
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
        let rounding = Rounding::of(self.precision);
        place(context, rounding, images, &to, shape, stride(inputs))
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

    /// Finds the loss of each tile of logits of the rows that were taken in, or of each of these rows, and leaves it in `slot`; with
    /// `scale`, also δ of the last layer, `scale` times the gradient of the mean loss. `params` is an arena of f32.
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
        let losses = part(&self.losses, slot * self.slot, self.slot);
        let forward = self
            .tables
            .forward(context, &self.layers, &self.room, rows)?;
        let last = self.layers.len() - 1;
        let rounding = Rounding::of(self.precision);
        let weight = scale.unwrap_or(1.0) / rows as f64;
        let targets = self.room.own_input(0);
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
            let work = if l < last || self.codes.is_some() {
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
                        weight,
                        ..Scale::default()
                    },
                    beside: Some(&targets),
                    extra: Some(&losses),
                    ..work
                }
            };
            work.launch(context)?;
        }
        let Some(codes) = &self.codes else {
            return Ok(());
        };
        let (classes, first) = codes.require(rows)?;
        let logits = Logits {
            buffer: &self.room.own_delta(last),
            rows,
            columns: self.layers[last].outputs,
            stride: stride(self.layers[last].outputs),
        };
        let weight = scale.map(|_| weight);
        logits.softmax(context, self.precision, (classes, first), weight, &losses)
    }

    /// The gradient of the batch that [`DenseLayers::forward`] was given last, with a scale: every W and b of `gradient`, an arena of
    /// f32, is written, and the table if there is one.
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
        let rounding = Rounding::of(self.precision);
        for (l, products) in self.tables.backward.iter().enumerate().rev() {
            let tail = Tail::Derivative {
                linear: self.layers[l].linear,
                rounding,
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
            ..Work::scaled(&self.tables.gradients, buffers, Scale::default())
        };
        work.launch(context)?;
        let to_input = self.tables.to_input.as_ref();
        let back = to_input.zip(self.room.input_delta.as_ref());
        let (Some((products, delta)), Some(codes)) = (back, &self.codes) else {
            return Ok(());
        };
        let tail = Tail::Derivative {
            linear: true,
            rounding,
        };
        let from = self.room.own_delta(0);
        let work = Work {
            tail,
            ..Work::scaled(products, [&from, params, delta], Scale::default())
        };
        work.launch(context)?;
        let (taken, first) = codes.require(self.batch)?;
        let stride = stride(self.layers[0].inputs);
        let batch = [first, self.batch];
        let embedding = codes.embedding;
        embedding.gradient(context, taken, batch, delta, stride, gradient)
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
            if self.codes.is_some() {
                self.require_rows(rows)?;
                return Ok(rows);
            }
            let made = self.tables.made(rows);
            made.map(Forward::tiles).ok_or_else(|| Error::Shape {
                operation: OPERATION,
                argument: "rows",
                found: rows.to_string(),
                expected: "as many as went forward".into(),
            })
        };
        let losses: Vec<f32> = context.download(OPERATION, &self.losses)?;
        let each = losses.chunks(self.slot).zip(rows);
        each.map(|(losses, &rows)| {
            let of_tiles = losses[..tiles(rows)?].iter();
            let total: f64 = of_tiles.map(|&loss| f64::from(loss)).sum();
            Ok(total / rows as f64)
        })
        .collect()
    }
}

fn misfit(layers: &[Layer], batch: usize, expected: String) -> Error {
    Error::Shape {
        operation: OPERATION,
        argument: "layers",
        found: format!("{batch} rows through {layers:?}"),
        expected,
    }
}
