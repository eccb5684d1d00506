//! The products of dense layers: which there are, and the tables of their launches.

use super::Layer;
use super::room::Room;
use crate::context::Context;
use crate::error::Error;
use crate::launch::Strategy;
use crate::product::{Blueprint, Entry, Parts, Product, Products, View};

/// A launch of products.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which.
    pub name: String,
    /// m, n and k of each product.
    pub shapes: Vec<[usize; 3]>,
    /// Whether A and B are transposes of what lies in memory row by row.
    pub transposed: [bool; 2],
}

/// The products of a training step of layers with these sizes, the first one's inputs first, in the order of their launches.
pub fn steps(sizes: &[usize], rows: usize) -> Vec<Step> {
    let step = |name: String, shapes, transposed| Step {
        name,
        shapes,
        transposed,
    };
    let layers = || sizes.windows(2).zip(1..);
    let forward = layers().map(|(pair, l)| {
        let shape = [rows, pair[1], pair[0]];
        step(format!("forward, layer {l}"), vec![shape], [false, true])
    });
    let backward = layers().skip(1).map(|(pair, l)| {
        let shape = [rows, pair[0], pair[1]];
        step(format!("backward, layer {l}"), vec![shape], [false, false])
    });
    let backward: Vec<Step> = backward.collect();
    let gradients = layers().map(|(pair, _)| [pair[1], pair[0], rows]).collect();
    let gradients = step("gradients, all layers".into(), gradients, [true, false]);
    let order = forward.chain(backward.into_iter().rev());
    order.chain([gradients]).collect()
}

/// What leads from a batch of so many rows to its loss.
pub(super) struct Forward {
    pub rows: usize,
    pub layers: Vec<Products>,
}

impl Forward {
    /// Tiles of the logits, each of which has a loss.
    pub fn tiles(&self) -> usize {
        self.layers.last().map_or(0, Products::tiles)
    }
}

/// The tables of all products, of batches of one size and of one that was shorter.
pub(super) struct Tables {
    whole: Forward,
    short: Option<Forward>,
    /// δ of each layer but the last.
    pub backward: Vec<Products>,
    /// The gradient of what the first layer takes in, where there is room for it.
    pub to_input: Option<Products>,
    pub gradients: Products,
    /// What matrix units multiply.
    parts: Option<Parts>,
}

impl Tables {
    pub fn new(
        context: &Context,
        layers: &[Layer],
        room: &Room,
        batch: usize,
        parts: Option<Parts>,
    ) -> Result<Self, Error> {
        let strategy = Strategy::Inferred;
        let backward = (1..layers.len()).map(|l| {
            let entry = backward(layers, room, l, batch);
            Products::of(context, &[entry], parts, strategy)
        });
        let to_input = room.input_delta.as_ref().map(|_| {
            let entry = to_input(layers, room, batch);
            Products::of(context, &[entry], parts, strategy)
        });
        let gradients: Vec<Entry> = (0..layers.len())
            .map(|l| gradient(layers, room, l, batch))
            .collect();
        Ok(Self {
            whole: forward(context, layers, room, batch, parts, |_| strategy)?,
            short: None,
            backward: backward.collect::<Result<_, _>>()?,
            to_input: to_input.transpose()?,
            gradients: Products::of(context, &gradients, parts, strategy)?,
            parts,
        })
    }

    /// Values from one batch's losses to the next's, at least: one for each tile of its logits.
    pub fn losses(&self) -> usize {
        self.whole.tiles()
    }

    /// Of so many rows; made at their first use, in the place of another short batch.
    pub fn forward(
        &mut self,
        context: &Context,
        layers: &[Layer],
        room: &Room,
        rows: usize,
    ) -> Result<&Forward, Error> {
        if self.whole.rows == rows {
            return Ok(&self.whole);
        }
        let short = match self.short.take().filter(|it| it.rows == rows) {
            Some(short) => short,
            None => {
                // Cut as a whole batch, so that it has no more tiles.
                let as_whole = |l: usize| Strategy::Forced(self.whole.layers[l].blueprint());
                forward(context, layers, room, rows, self.parts, as_whole)?
            }
        };
        Ok(self.short.insert(short))
    }

    /// What [`Tables::forward`] made of so many rows, if it is still there.
    pub fn made(&self, rows: usize) -> Option<&Forward> {
        let both = [Some(&self.whole), self.short.as_ref()];
        both.into_iter().flatten().find(|it| it.rows == rows)
    }

    /// How the results of each of [`steps`] are cut.
    pub fn blueprints(&self) -> Vec<Blueprint> {
        let forward = self.whole.layers.iter();
        let order = forward.chain(self.backward.iter().rev());
        let order = order.chain([&self.gradients]);
        order.map(Products::blueprint).collect()
    }
}

fn weight(layer: &Layer) -> View {
    View::rows(layer.weight, layer.inputs)
}

fn forward(
    context: &Context,
    layers: &[Layer],
    room: &Room,
    rows: usize,
    parts: Option<Parts>,
    strategy: impl Fn(usize) -> Strategy<Blueprint>,
) -> Result<Forward, Error> {
    let products = layers.iter().enumerate().map(|(l, layer)| {
        let product = Product {
            a: room.input(l),
            b: weight(layer).transposed(),
            // What the next layer takes in has the same rows.
            c: room.delta(l),
            m: rows,
            n: layer.outputs,
            k: layer.inputs,
        };
        let entry = Entry {
            line: layer.bias,
            // Of the last layer, its targets.
            beside: room.input(0),
            ..product.into()
        };
        Products::of(context, &[entry], parts, strategy(l))
    });
    Ok(Forward {
        rows,
        layers: products.collect::<Result<_, _>>()?,
    })
}

/// δ of layer `l` − 1.
fn backward(layers: &[Layer], room: &Room, l: usize, rows: usize) -> Entry {
    let product = Product {
        a: room.delta(l),
        b: weight(&layers[l]),
        c: room.delta(l - 1),
        m: rows,
        n: layers[l].inputs,
        k: layers[l].outputs,
    };
    Entry {
        beside: room.input(l),
        ..product.into()
    }
}

/// The gradient of what the first layer takes in.
fn to_input(layers: &[Layer], room: &Room, rows: usize) -> Entry {
    let layer = &layers[0];
    let product = Product {
        a: room.delta(0),
        b: weight(layer),
        // It has the rows of what the layer takes in.
        c: room.input(0),
        m: rows,
        n: layer.inputs,
        k: layer.outputs,
    };
    product.into()
}

/// dW and db of layer `l`.
fn gradient(layers: &[Layer], room: &Room, l: usize, rows: usize) -> Entry {
    let layer = &layers[l];
    let product = Product {
        a: room.delta_of_all(l).transposed(),
        b: room.input_of_all(l),
        c: weight(layer),
        m: layer.outputs,
        n: layer.inputs + 1,
        k: rows,
    };
    Entry {
        line: layer.bias,
        line_sums: true,
        ..product.into()
    }
}
