//! Settings per tensor: groups of tensors, by name or by shape, with a learning rate, a weight decay, chains or an optimizer of their
//! own, or none at all.
//!
//! Tensors of one optimizer take one step in the launches of one, whatever their rates and chains: those are tables on the device.
//! Another optimizer takes launches of its own over its part of the arena, for which the layout has to keep its tensors together
//! ([`Recipe::arrange`](crate::Recipe::arrange)).

mod assigned;
mod own;
mod parts;
mod pattern;
mod text;

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::Layout;

use crate::OptimizerConfig;

pub(crate) use assigned::{Assigned, AssignedPart};
pub(crate) use own::{Own, OwnTables};
pub(crate) use parts::{OwnPart, Parts};
pub use pattern::Pattern;

/// Tensors, and what they have in place of what the recipe says. What is not said stays.
///
/// Of several groups that a tensor is in, the last that says something counts. Without a mention of an axis or a name every
/// tensor is treated alike, also scalars and those of one axis: their one chain is as long as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Which tensors.
    pub tensors: Pattern,
    /// The factor ≥ 0 of the step's learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Decoupled weight decay λ ≥ 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether weights stay as they are: no launch reaches them, they have no states, and their gradients count in no norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
    /// The chains of SONew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chains: Option<Chains>,
    /// Another optimizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerConfig>,
}

/// How a tensor is cut into the chains along whose band SONew relates values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chains {
    /// All values, row by row, are one chain.
    #[default]
    Tensor,
    /// Each row, the values along the last axis, is a chain of its own.
    Rows,
}

impl Group {
    /// The tensors that a pattern fits; nothing of them is changed yet.
    pub fn of(tensors: Pattern) -> Self {
        Self {
            tensors,
            lr: None,
            weight_decay: None,
            frozen: None,
            chains: None,
            optimizer: None,
        }
    }

    /// The tensors whose name fits, `*` standing for any characters and `?` for one.
    pub fn named(name: impl Into<String>) -> Self {
        Self::of(Pattern::Name(name.into()))
    }

    /// The tensors whose shape fits, `None` standing for any length.
    pub fn shaped(lengths: &[Option<usize>]) -> Self {
        Self::of(Pattern::Shape(lengths.to_vec()))
    }

    /// A factor ≥ 0 of the step's learning rate.
    #[must_use]
    pub fn lr(mut self, factor: f64) -> Self {
        self.lr = Some(factor);
        self
    }

    /// A decoupled weight decay λ ≥ 0.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = Some(decay);
        self
    }

    /// Weights that stay as they are.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.frozen = Some(true);
        self
    }

    /// The chains of SONew.
    #[must_use]
    pub fn chains(mut self, chains: Chains) -> Self {
        self.chains = Some(chains);
        self
    }

    /// Another optimizer.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Into<OptimizerConfig>) -> Self {
        self.optimizer = Some(optimizer.into());
        self
    }

    fn holds(&self, layout: &Layout, tensor: usize) -> bool {
        self.tensors
            .fits(&layout.names()[tensor], &layout.shapes()[tensor])
    }
}
