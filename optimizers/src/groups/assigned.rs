//! Which tensor takes which optimizer, and what it has of its own there.

use sonew_kernels::arena::{Layout, TensorRate};

use super::{Chains, Group, Own};
use crate::{Error, OptimizerConfig};

/// The tensors of a layout by their optimizers.
pub(crate) struct Assigned {
    /// The part of each tensor; the first is that of the recipe's own optimizer. It does not depend on which that is.
    pub part_of_tensor: Vec<usize>,
    /// The parts that have values, in the order in which they lie in an arranged arena.
    pub parts: Vec<AssignedPart>,
    /// What each tensor gets, in words.
    pub words: Vec<String>,
}

/// Tensors that take one optimizer.
pub(crate) struct AssignedPart {
    /// None where they are frozen.
    pub optimizer: Option<OptimizerConfig>,
    /// Their numbers.
    pub tensors: Vec<usize>,
    pub own: Own,
}

/// What one tensor gets.
struct OfTensor {
    /// None where it is frozen.
    optimizer: Option<OptimizerConfig>,
    part: usize,
    rate: TensorRate,
    /// Values of a row whose chain is its own, or 0.
    row: usize,
}

impl Assigned {
    /// # Errors
    /// [`Error::Group`] for a group that no tensor is in, and for chains of an optimizer that has none.
    pub fn new(base: &OptimizerConfig, groups: &[Group], layout: &Layout) -> Result<Self, Error> {
        for group in groups {
            let mut tensors = 0..layout.names().len();
            if !tensors.any(|tensor| group.holds(layout, tensor)) {
                return Err(Error::Group {
                    group: group.tensors.to_string(),
                    reason: format!("no tensor is in it; there are {}", told(layout)),
                });
            }
        }
        // Optimizers of groups, each once: their numbers do not depend on the base.
        let mut others: Vec<OptimizerConfig> = Vec::new();
        for optimizer in groups.iter().filter_map(|it| it.optimizer) {
            if !others.contains(&optimizer) {
                others.push(optimizer);
            }
        }
        let each = (0..layout.names().len())
            .map(|tensor| of_tensor(base, groups, &others, layout, tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = (0..others.len() + 2).filter_map(|part| of_part(part, &each, layout));
        Ok(Self {
            parts: parts.collect(),
            words: each.iter().map(words).collect(),
            part_of_tensor: each.iter().map(|it| it.part).collect(),
        })
    }

    /// The numbers of frozen tensors.
    pub fn frozen(&self) -> Vec<usize> {
        let frozen = self.parts.iter().filter(|it| it.optimizer.is_none());
        frozen.flat_map(|it| it.tensors.iter().copied()).collect()
    }
}

/// The tensors in words.
fn told(layout: &Layout) -> String {
    let tensors = layout.names().iter().zip(layout.shapes());
    let told: Vec<String> = tensors
        .map(|(name, shape)| format!("{name} {shape:?}"))
        .collect();
    told.join(", ")
}

fn of_tensor(
    base: &OptimizerConfig,
    groups: &[Group],
    others: &[OptimizerConfig],
    layout: &Layout,
    tensor: usize,
) -> Result<OfTensor, Error> {
    let own: Vec<&Group> = groups
        .iter()
        .filter(|it| it.holds(layout, tensor))
        .collect();
    // The last that says something counts.
    fn last<T>(own: &[&Group], said: impl Fn(&Group) -> Option<T>) -> Option<T> {
        own.iter().rev().find_map(|group| said(group))
    }
    let other = last(&own, |it| it.optimizer);
    let optimizer = other.unwrap_or(*base);
    let frozen = last(&own, |it| it.frozen).unwrap_or(false);
    let part = match other {
        _ if frozen => others.len() + 1,
        None => 0,
        Some(other) => 1 + others.iter().position(|it| *it == other).unwrap_or(0),
    };
    let shape = &layout.shapes()[tensor];
    let row = match last(&own, |it| it.chains) {
        Some(Chains::Rows) if !optimizer.has_chains() => {
            let with_chains = own.iter().rev().find(|it| it.chains.is_some());
            return Err(Error::Group {
                group: with_chains.map_or(String::new(), |it| it.tensors.to_string()),
                reason: format!("chains are SONew's; {} has none", optimizer.name()),
            });
        }
        Some(Chains::Rows) => shape.last().copied().unwrap_or(0),
        Some(Chains::Tensor) | None => 0,
    };
    Ok(OfTensor {
        part,
        rate: TensorRate {
            lr: last(&own, |it| it.lr).unwrap_or(1.0),
            weight_decay: last(&own, |it| it.weight_decay).unwrap_or(optimizer.weight_decay()),
        },
        row,
        optimizer: (!frozen).then_some(optimizer),
    })
}

/// A part, unless it has no values.
fn of_part(part: usize, each: &[OfTensor], layout: &Layout) -> Option<AssignedPart> {
    let all = each.iter().enumerate();
    let (tensors, own): (Vec<usize>, Vec<&OfTensor>) =
        all.filter(|(_, it)| it.part == part).unzip();
    let has_values = |&tensor: &usize| !layout.tensors()[tensor].is_empty();
    if !tensors.iter().any(has_values) {
        return None;
    }
    let optimizer = own.first()?.optimizer;
    let as_said = TensorRate {
        lr: 1.0,
        weight_decay: optimizer.map_or(0.0, |it| it.weight_decay()),
    };
    let rates: Vec<TensorRate> = own.iter().map(|it| it.rate).collect();
    let rows: Vec<usize> = own.iter().map(|it| it.row).collect();
    Some(AssignedPart {
        optimizer,
        tensors,
        own: Own {
            rates: rates.iter().any(|it| *it != as_said).then_some(rates),
            rows: rows.iter().any(|it| *it > 0).then_some(rows),
        },
    })
}

fn words(it: &OfTensor) -> String {
    let Some(optimizer) = &it.optimizer else {
        return "frozen".into();
    };
    let mut words = optimizer.name();
    if it.rate.lr != 1.0 {
        words += &format!(", learning rate × {}", it.rate.lr);
    }
    if it.rate.weight_decay != optimizer.weight_decay() {
        words += &format!(", weight decay {}", it.rate.weight_decay);
    }
    if it.row > 0 {
        words += ", a chain for each row";
    }
    words
}
