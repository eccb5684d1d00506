//! What a kernel or its oracle computed, on its way to a file.

use std::collections::BTreeMap;
use std::path::Path;

use super::KernelFileError;
use crate::arrays::{self, Array};

/// Arrays by their names, and why they may not be used, if so.
#[derive(Debug, Default)]
pub struct Found {
    kernel: &'static str,
    /// The arrays.
    pub arrays: BTreeMap<String, Array>,
    /// Why nothing of it may be used.
    pub refused: Option<String>,
}

impl Found {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(mut self, kernel: &'static str) -> Self {
        self.kernel = kernel;
        self
    }

    /// Values of a kernel.
    pub(super) fn values(
        mut self,
        name: &str,
        shape: impl Into<Vec<usize>>,
        values: Vec<f32>,
    ) -> Self {
        self.arrays.insert(name.into(), Array::f32(shape, values));
        self
    }

    /// Values of an oracle, rounded to f32.
    pub(super) fn exact(self, name: &str, shape: impl Into<Vec<usize>>, values: &[f64]) -> Self {
        let narrow = values.iter().map(|&x| x as f32).collect();
        self.values(name, shape, narrow)
    }

    /// A single number.
    pub(super) fn number(self, name: &str, value: f64) -> Self {
        self.exact(name, [1], &[value])
    }

    /// A count; one beyond 2³² − 1 is that.
    pub(super) fn count(mut self, name: &str, value: u64) -> Self {
        let word = u32::try_from(value).unwrap_or(u32::MAX);
        self.arrays.insert(name.into(), Array::u32([1], vec![word]));
        self
    }

    pub(super) fn refused(mut self, reason: Option<String>) -> Self {
        self.refused = reason;
        self
    }

    /// Writes the arrays to a file, unless they were refused and that is not `allowed`.
    ///
    /// # Errors
    /// [`KernelFileError::Refused`] with the reason, or whatever writing reports.
    pub fn write(&self, path: &Path, allowed: bool) -> Result<(), KernelFileError> {
        if let (Some(reason), false) = (&self.refused, allowed) {
            return Err(KernelFileError::Refused {
                kernel: self.kernel,
                reason: reason.clone(),
            });
        }
        Ok(arrays::write(path, &self.arrays)?)
    }
}

/// In f64, as an oracle computes.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// ‖x‖.
pub(super) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// How many values are not finite.
pub(super) fn non_finite(values: &[f32]) -> u64 {
    values.iter().filter(|x| !x.is_finite()).count() as u64
}
