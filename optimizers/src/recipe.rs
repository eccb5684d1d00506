//! An optimizer and what stands around its step: gradients gathered and clipped, weights averaged.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::{Layout, Part};
use sonew_kernels::context::Context;
use sonew_kernels::precision::{self, Bf16Compact, Bf16States, F32, Precision, PrecisionVisitor};

use crate::averaged::Averaged;
use crate::gradients::{Gathered, Gradients};
use crate::groups::{Assigned, AssignedPart, Group, OwnPart, Parts, Pattern};
use crate::numerics::{Guarded, Numerics};
use crate::settings::{COUNT, DECAY, NOT_NEGATIVE, POSITIVE, Range};
use crate::{Error, FirstOrder, Optimizer, OptimizerConfig, Shampoo, Sonew};

/// An optimizer with what becomes of gradients before its step and of weights behind it. Without any of that it is the optimizer alone.
///
/// ```
/// # use sonew_optimizers::{Error, FirstOrder, Recipe};
/// let recipe = Recipe::from(FirstOrder::adam()).accumulate(4).clip_norm(1.0).average(0.999);
/// recipe.validate()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// The optimizer and its settings.
    pub optimizer: OptimizerConfig,
    /// Tensors with settings of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What becomes of gradients.
    #[serde(default, skip_serializing_if = "Gradients::untouched")]
    pub gradients: Gradients,
    /// Decay d of the weights' moving average, 0 ≤ d < 1: behind each step a ← d·a + (1−d)·w, behind the first a ← w
    /// (`torch.optim.swa_utils.get_ema_multi_avg_fn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
}

macro_rules! recipe_of {
    ($($optimizer:ty),+) => {
        $(impl From<$optimizer> for Recipe {
            fn from(optimizer: $optimizer) -> Self {
                Self {
                    optimizer: optimizer.into(),
                    groups: Vec::new(),
                    gradients: Gradients::default(),
                    average: None,
                }
            }
        })+
    };
}

recipe_of!(OptimizerConfig, FirstOrder, Sonew, Shampoo);

impl Recipe {
    /// Gives tensors settings of their own. Of several groups that a tensor is in, the last that says something counts.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Asks for each tensor of a layout, by its name and its shape, whether it has settings of its own, and which.
    #[must_use]
    pub fn group_each(
        mut self,
        layout: &Layout,
        settings: impl Fn(&str, &[usize]) -> Option<Group>,
    ) -> Self {
        for (name, shape) in layout.names().iter().zip(layout.shapes()) {
            self.groups.extend(settings(name, shape).map(|group| Group {
                tensors: Pattern::Exactly(name.clone()),
                ..group
            }));
        }
        self
    }

    /// The same tensors, laid out so that those of one optimizer lie together: what [`Recipe::build`] asks for where groups have
    /// optimizers of their own, or are frozen. Otherwise the layout as it is. It depends on the groups alone.
    ///
    /// # Errors
    /// [`Error::Group`] for a group that no tensor is in, or whose chains its optimizer does not have.
    pub fn arrange(&self, layout: &Layout) -> Result<Layout, Error> {
        let assigned = Assigned::new(&self.optimizer, &self.groups, layout)?;
        Ok(layout.arranged(&assigned.part_of_tensor)?)
    }

    /// Scales gradients down to a norm of at most c over all tensors.
    #[must_use]
    pub fn clip_norm(mut self, c: f64) -> Self {
        self.gradients.clip_norm = Some(c);
        self
    }

    /// Brings each value of a gradient into −v to v.
    #[must_use]
    pub fn clip_value(mut self, v: f64) -> Self {
        self.gradients.clip_value = Some(v);
        self
    }

    /// Takes a step with every k-th gradient, by their mean.
    #[must_use]
    pub fn accumulate(mut self, k: u64) -> Self {
        self.gradients.accumulate = k;
        self
    }

    /// Averages the weights with decay d.
    #[must_use]
    pub fn average(mut self, d: f64) -> Self {
        self.average = Some(d);
        self
    }

    /// Checks every range, those of the optimizer's settings too.
    ///
    /// # Errors
    /// As [`OptimizerConfig::validate`].
    pub fn validate(&self) -> Result<(), Error> {
        let Gradients {
            clip_norm,
            clip_value,
            accumulate,
        } = self.gradients;
        self.check("clip-norm", clip_norm, POSITIVE)?;
        self.check("clip-value", clip_value, POSITIVE)?;
        self.check("accumulate", Some(accumulate as f64), COUNT)?;
        self.check("average", self.average, DECAY)?;
        for group in &self.groups {
            self.check("group lr", group.lr, NOT_NEGATIVE)?;
            self.check("group weight-decay", group.weight_decay, NOT_NEGATIVE)?;
            group.optimizer.map_or(Ok(()), |it| it.validate())?;
        }
        self.optimizer.validate()
    }

    fn check(&self, key: &'static str, value: Option<f64>, range: Range) -> Result<(), Error> {
        match value {
            Some(found) if !(range.holds)(found) => Err(Error::Range {
                optimizer: self.optimizer.name(),
                key,
                found,
                expected: range.expected,
            }),
            _ => Ok(()),
        }
    }

    /// Allocates the states and makes the optimizer, for parameters and gradients of a precision.
    ///
    /// # Errors
    /// As [`Recipe::validate`] and [`OptimizerConfig::build`].
    pub fn build(
        &self,
        numerics: impl Into<Numerics>,
        context: Rc<Context>,
        layout: &Layout,
    ) -> Result<Box<dyn Optimizer>, Error> {
        self.built(numerics.into(), context, layout)
    }

    // Not generic, so that every optimizer in every precision is compiled here, once.
    fn built(
        &self,
        numerics: Numerics,
        context: Rc<Context>,
        layout: &Layout,
    ) -> Result<Box<dyn Optimizer>, Error> {
        self.validate()?;
        numerics.validate()?;
        let builder = Builder {
            recipe: self,
            numerics,
            context,
            layout,
        };
        if numerics.compact() {
            builder.build::<Bf16Compact, Bf16States>()
        } else {
            numerics.precision.accept(builder)
        }
    }

    /// One optimizer for all tensors, or one for each part of them.
    fn optimizers<P: Precision>(
        &self,
        assigned: Assigned,
        context: &Rc<Context>,
        layout: &Layout,
    ) -> Result<Box<dyn Optimizer>, Error> {
        let Assigned { parts, words, .. } = assigned;
        let tensors = layout.names().len();
        let one = |it: &AssignedPart| it.optimizer.is_some() && it.tensors.len() == tensors;
        let mut parts = parts.into_iter().peekable();
        if self.groups.is_empty()
            && let Some(part) = parts.next_if(one)
        {
            return self.optimizer.plain::<P>(context.clone(), layout, part.own);
        }
        let mut own: Vec<OwnPart> = Vec::new();
        for AssignedPart {
            optimizer,
            tensors,
            own: settings,
        } in parts
        {
            let Some(optimizer) = optimizer else {
                continue;
            };
            let part = Part::new(layout, tensors)?;
            let rates = settings.rates.iter().flatten();
            let most = rates.map(|it| it.lr).fold(1.0, f64::max);
            // The name alone does not tell two of one family apart.
            let label = format!("{}-{}", own.len(), optimizer.name());
            let optimizer = optimizer.plain::<P>(context.clone(), part.layout(), settings)?;
            own.push(OwnPart {
                part,
                label,
                optimizer,
                most,
            });
        }
        Ok(Box::new(Parts::new(layout, own, words)))
    }

    /// The optimizer for arenas of `P`, with what stands around it.
    fn layers<P: Precision>(
        &self,
        assigned: Assigned,
        context: &Rc<Context>,
        layout: &Layout,
    ) -> Result<Box<dyn Optimizer>, Error> {
        let frozen = assigned.frozen();
        let mut optimizer = self.optimizers::<P>(assigned, context, layout)?;
        if let Some(decay) = self.average {
            let averaged = Averaged::<P>::new(optimizer, decay, context.clone(), layout);
            optimizer = Box::new(averaged);
        }
        if !self.gradients.untouched() {
            let (settings, context) = (self.gradients, context.clone());
            let gathered = Gathered::new::<P>(optimizer, settings, context, layout, &frozen);
            optimizer = Box::new(gathered);
        }
        Ok(optimizer)
    }
}

struct Builder<'a> {
    recipe: &'a Recipe,
    numerics: Numerics,
    context: Rc<Context>,
    layout: &'a Layout,
}

impl PrecisionVisitor for Builder<'_> {
    type Output = Result<Box<dyn Optimizer>, Error>;

    fn visit<P: Precision>(self) -> Self::Output {
        self.build::<P, F32>()
    }
}

impl Builder<'_> {
    /// An optimizer for arenas of P, which takes its steps in W on f32 copies if the numerics ask for that.
    fn build<P: Precision, W: Precision>(self) -> Result<Box<dyn Optimizer>, Error> {
        let Self {
            recipe,
            numerics,
            context,
            layout,
        } = self;
        precision::require::<P>(&context)?;
        // Copies of parameters and gradients are f32, whatever the precision.
        let arena = 4 * layout.arena_len() as u64;
        context.require_buffer("building an optimizer", "an arena of all tensors", arena)?;
        let assigned = Assigned::new(&recipe.optimizer, &recipe.groups, layout)?;
        if !numerics.guards() {
            return recipe.layers::<P>(assigned, &context, layout);
        }
        let frozen = assigned.frozen();
        let inner = if numerics.widens() {
            recipe.layers::<W>(assigned, &context, layout)?
        } else {
            recipe.layers::<P>(assigned, &context, layout)?
        };
        let guarded = Guarded::<P>::new(inner, numerics, context, layout, frozen);
        Ok(Box::new(guarded))
    }
}
