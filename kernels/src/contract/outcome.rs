//! What a kernel computed, beside what it should have.

use crate::precision::{HostFormat, Precision};

/// Values of a kernel, what its oracle says, and how far apart they may be.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the values are.
    pub name: String,
    /// Those of the kernel.
    pub found: Vec<f32>,
    /// Those of the oracle.
    pub expected: Vec<f64>,
    /// The largest |found − expected| of each.
    pub allowed: Vec<f64>,
}

/// The value that uses up most of what it is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Its index.
    pub index: usize,
    /// Of the kernel.
    pub found: f32,
    /// Of the oracle.
    pub expected: f64,
    /// |found − expected|, infinite where the kernel's is NaN and the oracle's is not.
    pub error: f64,
    /// What is allowed.
    pub allowed: f64,
}

impl Worst {
    /// error / allowed: at most 1 where the kernel is right.
    pub fn ratio(&self) -> f64 {
        if self.error == 0.0 {
            0.0
        } else {
            self.error / self.allowed
        }
    }
}

impl Outcome {
    /// An outcome that is yet to be filled tensor by tensor.
    pub(super) fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            found: Vec::new(),
            expected: Vec::new(),
            allowed: Vec::new(),
        }
    }

    /// Adds values, each of which may be off by what `allowed` says of the oracle's.
    pub(super) fn add(&mut self, found: &[f32], expected: &[f64], allowed: impl Fn(f64) -> f64) {
        debug_assert_eq!(found.len(), expected.len());
        self.found.extend_from_slice(found);
        self.expected.extend_from_slice(expected);
        self.allowed.extend(expected.iter().map(|&e| allowed(e)));
    }

    /// Adds weights: u (|w| + `scale`) is allowed for each of their `stores` in the parameters' format, whose roundoff u is, and
    /// before that `lost` times the roundoff of the states' format, in which a pure precision also computes.
    pub(super) fn add_weights<P: Precision>(
        &mut self,
        found: &[f32],
        expected: &[f64],
        stores: f64,
        scale: f64,
        lost: f64,
    ) {
        let before = lost * P::State::ROUNDOFF;
        self.add(found, expected, |e| {
            stores * P::Params::ROUNDOFF * (e.abs() + scale) + before
        });
    }

    /// The value that is worst; `None` if there are no values.
    pub fn worst(&self) -> Option<Worst> {
        let values = self.found.iter().zip(&self.expected).zip(&self.allowed);
        values
            .enumerate()
            .map(|(index, ((&found, &expected), &allowed))| {
                let difference = (f64::from(found) - expected).abs();
                let error = match (f64::from(found) == expected, difference.is_nan()) {
                    (true, _) => 0.0,
                    (false, true) if found.is_nan() && expected.is_nan() => 0.0,
                    (false, true) => f64::INFINITY,
                    (false, false) => difference,
                };
                Worst {
                    index,
                    found,
                    expected,
                    error,
                    allowed,
                }
            })
            .max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }
}

/// The largest magnitude.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| most.max(x.abs()))
}
