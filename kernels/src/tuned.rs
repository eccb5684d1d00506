//! Blueprints that were found fast on a device. They stand in for the defaults of the kernels where a caller hands them to a
//! [`Context`](crate::context::Context); nothing else reads them.

use serde::{Deserialize, Serialize};

use crate::sonew::Blueprint;

/// The kernels whose [`Strategy::Inferred`](crate::sweep::Strategy::Inferred) asks for a tuned blueprint first.
pub const TUNABLE: [&str; 10] = [
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adam",
    "statistics",
    "banded-ldl",
    "precondition",
    "sonew-step",
];

/// The blueprint of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The kernel, one of [`TUNABLE`].
    pub kernel: String,
    /// The name of the precision.
    pub precision: String,
    /// The width of SONew's band; 0 for a first-order rule.
    pub band: usize,
    /// How it is laid out. A kernel that eliminates nothing has a sweep alone.
    pub blueprint: Blueprint,
}

/// Blueprints of some kernels on one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tuned {
    tunings: Vec<Tuning>,
}

impl Tuned {
    /// The blueprint of a kernel in a precision and for a band, where there is one.
    pub fn get(&self, kernel: &str, precision: &str, band: usize) -> Option<Blueprint> {
        let of = |it: &&Tuning| {
            (it.kernel.as_str(), it.precision.as_str(), it.band) == (kernel, precision, band)
        };
        self.tunings.iter().find(of).map(|it| it.blueprint)
    }

    /// Adds a blueprint, in place of what there was for the same kernel, precision and band.
    pub fn put(&mut self, tuning: Tuning) {
        let same = |it: &Tuning| {
            (&it.kernel, &it.precision, it.band) == (&tuning.kernel, &tuning.precision, tuning.band)
        };
        self.tunings.retain(|it| !same(it));
        self.tunings.push(tuning);
    }

    /// All of them.
    pub fn tunings(&self) -> &[Tuning] {
        &self.tunings
    }
}
