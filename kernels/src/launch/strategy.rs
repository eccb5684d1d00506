//! Whose choice a blueprint is.

use serde::{Deserialize, Serialize};

/// Launch tuning is data: the default of the device, or a value forced by a test, a bench or a tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy<B> {
    /// The default of the device.
    #[default]
    Inferred,
    /// This blueprint.
    Forced(B),
}

impl<B: Copy> Strategy<B> {
    /// The forced blueprint, or the inferred one.
    pub fn resolve(&self, infer: impl FnOnce() -> B) -> B {
        match self {
            Self::Inferred => infer(),
            Self::Forced(blueprint) => *blueprint,
        }
    }
}
