//! Writing arrays.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View, serialize};

use super::ArraysError;
use crate::replace_file::{can_replace, replace_file};

/// The values of an array, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
}

impl Values {
    /// The element type as safetensors writes it: `F32` or `U32`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::U32(_) => "U32",
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An array with its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Lengths of the axes, slowest first; empty for a single value.
    pub shape: Vec<usize>,
    /// The values, as many as the product of `shape`.
    pub values: Values,
}

impl Array {
    /// An array of 32-bit floats.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::F32(values),
        }
    }

    /// An array of unsigned 32-bit integers.
    pub fn u32(shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::U32(values),
        }
    }
}

/// Writes arrays to a safetensors file, replacing it whole or not at all.
///
/// # Errors
/// [`ArraysError::Inconsistent`] if an array has more or fewer values than its shape says, [`ArraysError::Io`] if the
/// file cannot be written.
pub fn write(path: impl AsRef<Path>, arrays: &BTreeMap<String, Array>) -> Result<(), ArraysError> {
    let path = path.as_ref();
    for (name, array) in arrays {
        let mut lengths = array.shape.iter();
        let values = lengths.try_fold(1_usize, |all, &length| all.checked_mul(length));
        if values != Some(array.values.len()) {
            return Err(ArraysError::Inconsistent {
                path: path.into(),
                name: name.clone(),
                shape: array.shape.clone(),
                found: array.values.len(),
            });
        }
    }
    let bytes = serialize(arrays, None).map_err(|source| ArraysError::Unwritable {
        path: path.into(),
        source,
    })?;
    replace_file(path, &bytes).map_err(io(path))
}

/// Checks that [`write()`] could make or replace the file, and leaves it as it is.
///
/// # Errors
/// [`ArraysError::Io`] if it could not.
pub fn can_write(path: impl AsRef<Path>) -> Result<(), ArraysError> {
    let path = path.as_ref();
    can_replace(path).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ArraysError {
    |source| ArraysError::Io {
        operation: "writing arrays to",
        path: path.into(),
        source,
    }
}

impl View for &Array {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::U32(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The format is little-endian whatever the machine is.
        Cow::Owned(match &self.values {
            Values::F32(values) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            Values::U32(values) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        })
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}
