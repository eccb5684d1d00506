//! Named arrays in safetensors files: first weights, batch orders, and what a kernel reads and writes.

mod error;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View, serialize};

pub use error::ArraysError;

use crate::replace_file::replace_file;

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

/// The arrays of one file, by name. The path is kept for error messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrays {
    path: PathBuf,
    arrays: BTreeMap<String, Array>,
}

impl Arrays {
    /// Reads every array of a safetensors file.
    ///
    /// # Errors
    /// [`ArraysError`] if the file cannot be read, does not parse, or holds an array that is neither F32 nor U32.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ArraysError> {
        let path = path.as_ref().to_path_buf();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => {
                return Err(ArraysError::Io {
                    operation: "reading arrays from",
                    path,
                    source,
                });
            }
        };
        let tensors = match SafeTensors::deserialize(&bytes) {
            Ok(tensors) => tensors,
            Err(source) => return Err(ArraysError::Malformed { path, source }),
        };
        let mut arrays = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            let words = view
                .data()
                .chunks_exact(4)
                .map(|word| [word[0], word[1], word[2], word[3]]);
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(words.map(f32::from_le_bytes).collect()),
                Dtype::U32 => Values::U32(words.map(u32::from_le_bytes).collect()),
                other => {
                    return Err(ArraysError::ElementType {
                        path,
                        name,
                        found: other.to_string(),
                    });
                }
            };
            arrays.insert(
                name,
                Array {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        Ok(Self { path, arrays })
    }

    /// The file they were read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// An array, if there.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.get(name)
    }

    /// Takes out an array of 32-bit floats: its shape and values.
    ///
    /// # Errors
    /// [`ArraysError::Missing`] or [`ArraysError::WrongType`].
    pub fn take_f32(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ArraysError> {
        let array = self.take(name)?;
        match array.values {
            Values::F32(values) => Ok((array.shape, values)),
            other => Err(self.wrong_type(name, "F32", &other)),
        }
    }

    /// Takes out an array of 32-bit floats that must have the given shape.
    ///
    /// # Errors
    /// [`ArraysError::Missing`], [`ArraysError::WrongType`] or [`ArraysError::WrongShape`].
    pub fn take_f32_of_shape(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, ArraysError> {
        let (found, values) = self.take_f32(name)?;
        if found != shape {
            return Err(ArraysError::WrongShape {
                path: self.path.clone(),
                name: name.into(),
                expected: shape.to_vec(),
                found,
            });
        }
        Ok(values)
    }

    /// Takes out an array of unsigned 32-bit integers: its shape and values.
    ///
    /// # Errors
    /// [`ArraysError::Missing`] or [`ArraysError::WrongType`].
    pub fn take_u32(&mut self, name: &str) -> Result<(Vec<usize>, Vec<u32>), ArraysError> {
        let array = self.take(name)?;
        match array.values {
            Values::U32(values) => Ok((array.shape, values)),
            other => Err(self.wrong_type(name, "U32", &other)),
        }
    }

    fn take(&mut self, name: &str) -> Result<Array, ArraysError> {
        self.arrays
            .remove(name)
            .ok_or_else(|| ArraysError::Missing {
                path: self.path.clone(),
                name: name.into(),
                found: self.arrays.keys().cloned().collect(),
            })
    }

    fn wrong_type(&self, name: &str, expected: &'static str, found: &Values) -> ArraysError {
        ArraysError::WrongType {
            path: self.path.clone(),
            name: name.into(),
            expected,
            found: found.dtype(),
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
        if array.shape.iter().product::<usize>() != array.values.len() {
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
    replace_file(path, &bytes).map_err(|source| ArraysError::Io {
        operation: "writing arrays to",
        path: path.into(),
        source,
    })
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
