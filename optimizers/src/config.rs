//! Any optimizer of this crate: its name, its settings by their keys, and how it is made for a precision.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::arena::Layout;
use sonew_kernels::context::Context;
use sonew_kernels::precision::Precision;

use crate::first_order::FirstOrder;
use crate::groups::Own;
use crate::numerics::Numerics;
use crate::settings::{self, Family, Setting};
use crate::shampoo::Shampoo;
use crate::sonew::Sonew;
use crate::{Error, Optimizer, Recipe};

/// Any optimizer of this crate, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum OptimizerConfig {
    /// SGD to Adam.
    FirstOrder(FirstOrder),
    /// SONew.
    Sonew(Sonew),
    /// Shampoo.
    Shampoo(Shampoo),
}

/// The same expression of each family.
macro_rules! of_family {
    ($config:expr, $family:ident => $expression:expr) => {
        match $config {
            Self::FirstOrder($family) => $expression,
            Self::Sonew($family) => $expression,
            Self::Shampoo($family) => $expression,
        }
    };
}

const NAMES_OF_FAMILIES: [&[&str]; 3] = [FirstOrder::NAMES, Shampoo::NAMES, Sonew::NAMES];
const NAMES: usize = FirstOrder::NAMES.len() + Shampoo::NAMES.len() + Sonew::NAMES.len();

impl OptimizerConfig {
    /// The names that [`OptimizerConfig::named`] knows; the last stands for any band.
    pub const NAMES: [&str; NAMES] = {
        let mut names = [""; NAMES];
        let (mut family, mut at) = (0, 0);
        while family < NAMES_OF_FAMILIES.len() {
            let mut of_family = NAMES_OF_FAMILIES[family];
            while let [name, others @ ..] = of_family {
                names[at] = name;
                at += 1;
                of_family = others;
            }
            family += 1;
        }
        names
    };

    /// The defaults of an optimizer.
    ///
    /// # Errors
    /// [`Error::UnknownOptimizer`] with the names there are.
    pub fn named(name: &str) -> Result<Self, Error> {
        let first_order = || FirstOrder::named(name).map(Self::from);
        let shampoo = || Shampoo::named(name).map(Self::from);
        let sonew = || Sonew::named(name).map(Self::from);
        first_order()
            .or_else(shampoo)
            .or_else(sonew)
            .ok_or_else(|| Error::UnknownOptimizer { found: name.into() })
    }

    /// The name.
    pub fn name(&self) -> String {
        of_family!(self, family => family.name())
    }

    /// A learning rate to start from on the autoencoder benchmark. Not tuned.
    pub fn default_lr(&self) -> f64 {
        of_family!(self, family => family.default_lr())
    }

    /// Sets one value by its key.
    ///
    /// # Errors
    /// [`Error::UnknownSetting`], [`Error::Unreadable`], [`Error::Range`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        of_family!(self, family => settings::set(family, key, value))
    }

    /// The settings this optimizer uses, with their values and meanings.
    pub fn settings(&self) -> Vec<Setting> {
        of_family!(self, family => settings::list(family))
    }

    /// Checks every range, and that nothing is set that the optimizer does not use.
    ///
    /// # Errors
    /// [`Error::Range`] with the offending value, [`Error::UnknownSetting`] with the key, [`Error::Unreadable`] of choices that
    /// do not go together.
    pub fn validate(&self) -> Result<(), Error> {
        of_family!(self, family => settings::validate(family))
    }

    /// Allocates the states and makes the optimizer, for parameters and gradients of a precision; a [`Recipe`] of it alone.
    ///
    /// # Errors
    /// As [`OptimizerConfig::validate`] and [`Numerics::validate`]; [`Error::Kernel`] if Shampoo's factors are too large or
    /// the device lacks a format or has no buffer of that size.
    pub fn build(
        &self,
        numerics: impl Into<Numerics>,
        context: Rc<Context>,
        layout: &Layout,
    ) -> Result<Box<dyn Optimizer>, Error> {
        Recipe::from(*self).build(numerics, context, layout)
    }

    /// Of settings that were checked, for arenas of `P`.
    pub(crate) fn plain<P: Precision>(
        self,
        context: Rc<Context>,
        layout: &Layout,
        own: Own,
    ) -> Result<Box<dyn Optimizer>, Error> {
        of_family!(self, family => family.start::<P>(context, layout, own))
    }

    /// The decoupled weight decay λ.
    pub(crate) fn weight_decay(&self) -> f64 {
        of_family!(self, family => Family::weight_decay(family))
    }

    /// Whether tensors are cut into chains.
    pub(crate) fn has_chains(&self) -> bool {
        matches!(self, Self::Sonew(_))
    }
}
