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
    layers: Vec<Layer>,
    rounding: Rounding,
    room: Room,
    tables: Tables,
    /// The loss of each tile of logits, of as many batches as there are slots.
    losses: Handle,
    /// Values from one batch's losses to the next's.
    slot: usize,
    slots: usize,
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
        let parts = multiplication.parts(context, rounding.parts())?;
        let room = Room::new(context, &layers, batch)?;
        let tables = Tables::new(context, &layers, &room, batch, parts)?;
        let slot = tables.losses().next_multiple_of(ALIGNMENT);
        Ok(Self {
            layers,
            rounding,
            room,
            tables,
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
        place(context, self.rounding, images, &to, shape, stride(inputs))
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
        let losses = part(&self.losses, slot * self.slot, self.slot);
        let forward = self
            .tables
            .forward(context, &self.layers, &self.room, rows)?;
        let last = self.layers.len() - 1;
        let rounding = self.rounding;
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
        for (l, products) in self.tables.backward.iter().enumerate().rev() {
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
            ..Work::scaled(&self.tables.gradients, buffers, Scale::default())
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
