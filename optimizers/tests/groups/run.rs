//! Runs on tensors of every kind, with settings of their own.

use std::rc::Rc;

use sonew_kernels::noise;
use sonew_optimizers::{Arena, Context, Layout, Numerics, Optimizer, PrecisionKind, Recipe};

use crate::{LR, STEPS};

/// Tensors of every kind: matrices, a vector, a scalar, one row, one without values.
pub fn tensors() -> Vec<(String, Vec<usize>)> {
    [
        ("embedding", &[40, 9][..]),
        ("w0", &[15, 20]),
        ("b0", &[15]),
        ("scale", &[]),
        ("none", &[0, 3]),
        ("w1", &[1, 30]),
        ("b1", &[1]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
    .to_vec()
}

pub fn value(seed: usize, tensor: &str, i: usize) -> f32 {
    let seed = tensor
        .bytes()
        .fold(seed, |all, byte| 31 * all + usize::from(byte));
    noise::noise(1_000 * (seed % 1_000) + i) as f32
}

/// An optimizer and its weights.
pub struct Run {
    pub context: Rc<Context>,
    pub layout: Layout,
    pub precision: PrecisionKind,
    pub params: Arena,
    pub optimizer: Box<dyn Optimizer>,
}

impl Run {
    /// Of the tensors that are asked for.
    pub fn of(
        context: &Rc<Context>,
        tensors: Vec<(String, Vec<usize>)>,
        recipe: &Recipe,
        numerics: impl Into<Numerics>,
    ) -> Self {
        let numerics = numerics.into();
        let layout = recipe.arrange(&Layout::named(tensors).unwrap()).unwrap();
        let precision = numerics.precision;
        Self {
            params: filled(context, &layout, precision, 0),
            optimizer: recipe.build(numerics, context.clone(), &layout).unwrap(),
            context: context.clone(),
            precision,
            layout,
        }
    }

    pub fn grads(&self, step: usize) -> Arena {
        filled(&self.context, &self.layout, self.precision, step + 1)
    }

    pub fn step(&mut self, step: usize) {
        let grads = self.grads(step);
        self.optimizer.step(&self.params, &grads, LR).unwrap();
    }

    pub fn steps(mut self) -> Self {
        (0..STEPS).for_each(|step| self.step(step));
        self
    }

    /// The bits of a tensor.
    pub fn bits(&self, name: &str) -> Vec<u32> {
        let at = self
            .layout
            .names()
            .iter()
            .position(|it| it == name)
            .unwrap();
        let tensors = self.params.tensors(&self.context).unwrap();
        tensors[at].iter().map(|it| it.to_bits()).collect()
    }
}

fn filled(context: &Context, layout: &Layout, precision: PrecisionKind, seed: usize) -> Arena {
    let each = layout.names().iter().zip(layout.tensors());
    let values: Vec<Vec<f32>> = each
        .map(|(name, range)| (0..range.len()).map(|i| value(seed, name, i)).collect())
        .collect();
    Arena::of(context, layout, precision.format(), &values).unwrap()
}

pub fn only(names: &[&str]) -> Vec<(String, Vec<usize>)> {
    let own = tensors().into_iter();
    own.filter(|(name, _)| names.contains(&name.as_str()))
        .collect()
}
