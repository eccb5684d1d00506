//! The numbers of a launch: as a caller gives them, found to be in their ranges, and as kernels see them.

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::blueprint::Tolerance;
use super::elimination::GammaLaunch;
use crate::error::{Error, require_non_negative};
use crate::first_order::{Average, average};
use crate::precision::held;

/// The numbers of a step as the kernel sees them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Rates {
    pub(super) lr: f32,
    pub(super) shrink: f32,
    pub(super) beta1: Average,
    pub(super) rho: f32,
    pub(super) omega: f32,
    pub(super) epsilon: f32,
    pub(super) relative_epsilon: f32,
    pub(super) correction1: f32,
    pub(super) correction2: f32,
    pub(super) graft_epsilon: f32,
    pub(super) graft_decay: Average,
}

#[cube]
impl Rates {
    /// A copy in registers.
    pub(super) fn held(&self) -> Rates {
        Rates {
            lr: held(self.lr),
            shrink: held(self.shrink),
            beta1: self.beta1.held(),
            rho: held(self.rho),
            omega: held(self.omega),
            epsilon: held(self.epsilon),
            relative_epsilon: held(self.relative_epsilon),
            correction1: held(self.correction1),
            correction2: held(self.correction2),
            graft_epsilon: held(self.graft_epsilon),
            graft_decay: self.graft_decay.held(),
        }
    }
}

/// The numbers of a step that were found to be in their ranges; 0 where a form has no use for one.
#[derive(Clone, Copy, Default)]
pub(super) struct Prepared {
    pub lr: f32,
    /// η λ.
    pub shrink: f32,
    pub beta1: f64,
    /// What old statistics and new products are multiplied by.
    pub weights: (f64, f64),
    pub epsilon: f32,
    pub relative_epsilon: f32,
    pub corrections: [f32; 2],
    pub graft_epsilon: f64,
    pub graft_decay: f64,
    pub gamma: Tolerance,
}

impl Prepared {
    /// Of η, λ, the two corrections and γ.
    pub fn new(
        operation: &'static str,
        (lr, weight_decay): (f64, f64),
        corrections: (f64, f64),
        gamma: Tolerance,
    ) -> Result<Self, Error> {
        gamma.check(operation)?;
        let non_negative = |argument, found| require_non_negative(operation, argument, found);
        let lr = non_negative("lr", lr)?;
        Ok(Self {
            lr,
            shrink: lr * non_negative("weight-decay", weight_decay)?,
            corrections: [
                non_negative("correction", corrections.0)?,
                non_negative("correction", corrections.1)?,
            ],
            gamma,
            ..Self::default()
        })
    }

    pub fn rates(&self) -> RatesLaunch<Gpu> {
        RatesLaunch::new(
            self.lr,
            self.shrink,
            average(self.beta1),
            self.weights.0 as f32,
            self.weights.1 as f32,
            self.epsilon,
            self.relative_epsilon,
            self.corrections[0],
            self.corrections[1],
            self.graft_epsilon as f32,
            average(self.graft_decay),
        )
    }

    pub fn gamma(&self) -> GammaLaunch<Gpu> {
        GammaLaunch::new(self.gamma.absolute as f32, self.gamma.relative as f32)
    }
}
