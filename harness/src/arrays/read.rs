//! Reading arrays: what a file holds, converted when somebody asks for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ArraysError;
use super::convert::{Refusal, to_f32, to_u32};
use super::header::{self, FormatError, LENGTH_BYTES, LONGEST};

/// Arrays that other programs save beside what they mean: passed over where nobody asks for them, also as the last part of
/// a dotted name.
const PASSED_OVER: [&str; 2] = ["step", "num_batches_tracked"];
const READING: &str = "reading arrays from";

/// An array as the file has it: of any element type, and not looked at before somebody asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    dtype: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    /// The element type as the file writes it, such as `F32`.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// Lengths of the axes, slowest first; empty for a single value.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// The arrays of one file, by name. The path is kept for error messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrays {
    path: PathBuf,
    arrays: BTreeMap<String, Stored>,
}

impl Arrays {
    /// Reads a safetensors file. Memory is taken only for bytes that really come.
    ///
    /// # Errors
    /// [`ArraysError::Io`] or [`ArraysError::Malformed`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ArraysError> {
        let path = path.as_ref();
        let io = |source| ArraysError::Io {
            operation: READING,
            path: path.into(),
            source,
        };
        let malformed = |source| ArraysError::Malformed {
            path: path.into(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = up_to(&mut file, LENGTH_BYTES).map_err(io)?;
        let Ok(length) = <[u8; LENGTH_BYTES as usize]>::try_from(length.as_slice()) else {
            return Err(malformed(FormatError::NoLength {
                found: length.len(),
            }));
        };
        let announced = u64::from_le_bytes(length);
        if announced > LONGEST {
            return Err(malformed(FormatError::LongHeader { announced }));
        }
        let header = up_to(&mut file, announced).map_err(io)?;
        if header.len() as u64 != announced {
            return Err(malformed(FormatError::ShortHeader {
                announced,
                found: header.len() as u64,
            }));
        }
        let mut arrays = BTreeMap::new();
        let mut end = LENGTH_BYTES + announced;
        for entry in header::parse(&header).map_err(malformed)? {
            let expected = entry.bytes();
            let bytes = up_to(&mut file, expected).map_err(io)?;
            if bytes.len() as u64 != expected {
                return Err(malformed(FormatError::CutOff {
                    name: entry.name,
                    expected,
                    found: bytes.len() as u64,
                }));
            }
            end += expected;
            let stored = Stored {
                dtype: entry.dtype,
                shape: entry.shape,
                bytes,
            };
            arrays.insert(entry.name, stored);
        }
        if !up_to(&mut file, 1).map_err(io)?.is_empty() {
            return Err(malformed(FormatError::Trailing { expected: end }));
        }
        Ok(Self {
            path: path.into(),
            arrays,
        })
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
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.arrays.get(name)
    }

    /// Requires that no array is left but those of the `known` names, some or all of which may be taken or absent, and
    /// those that are harmless by their names, `step` and `num_batches_tracked`. `taker` is who takes arrays.
    ///
    /// # Errors
    /// [`ArraysError::Unasked`].
    pub fn require_only(&self, taker: &str, known: &[impl AsRef<str>]) -> Result<(), ArraysError> {
        let harmless = |name: &str| {
            PASSED_OVER
                .iter()
                .any(|it| name.rsplit('.').next() == Some(it))
        };
        let asked = |name: &str| known.iter().any(|it| it.as_ref() == name);
        let found: Vec<String> = self
            .names()
            .filter(|name| !asked(name) && !harmless(name))
            .map(str::to_owned)
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        Err(ArraysError::Unasked {
            path: self.path.clone(),
            taker: taker.into(),
            found,
            known: known.iter().map(|it| it.as_ref().to_owned()).collect(),
        })
    }

    /// Takes out an array of floating-point numbers as f32: its shape and values. F16 and BF16 are converted exactly, F64 is
    /// rounded to nearest.
    ///
    /// # Errors
    /// [`ArraysError::Missing`], [`ArraysError::WrongType`], or [`ArraysError::OutOfRange`] for a number of an F64 array that
    /// would become infinite or zero.
    pub fn take_f32(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ArraysError> {
        self.take(
            name,
            to_f32,
            "floating-point numbers (F32, F64, F16 or BF16)",
            "numbers that an f32 can hold",
        )
    }

    /// Takes out an array as [`Arrays::take_f32`] does; it must have the given shape.
    ///
    /// # Errors
    /// As [`Arrays::take_f32`], and [`ArraysError::WrongShape`].
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

    /// Takes out an array of integers of any width, signed or not, as u32: its shape and values.
    ///
    /// # Errors
    /// [`ArraysError::Missing`], [`ArraysError::WrongType`], or [`ArraysError::OutOfRange`] for one that is negative or too
    /// large.
    pub fn take_u32(&mut self, name: &str) -> Result<(Vec<usize>, Vec<u32>), ArraysError> {
        self.take(
            name,
            to_u32,
            "integers (I8 to I64 or U8 to U64)",
            "integers from 0 to 4294967295",
        )
    }

    fn take<T>(
        &mut self,
        name: &str,
        convert: impl Fn(&str, &[u8]) -> Result<Vec<T>, Refusal>,
        kind: &'static str,
        range: &'static str,
    ) -> Result<(Vec<usize>, Vec<T>), ArraysError> {
        let path = || self.path.clone();
        let Some(stored) = self.arrays.get(name) else {
            return Err(ArraysError::Missing {
                path: path(),
                name: name.into(),
                found: self.arrays.keys().cloned().collect(),
            });
        };
        let values = convert(&stored.dtype, &stored.bytes).map_err(|refusal| match refusal {
            Refusal::Kind => ArraysError::WrongType {
                path: path(),
                name: name.into(),
                expected: kind,
                found: stored.dtype.clone(),
            },
            Refusal::Value { position, value } => ArraysError::OutOfRange {
                path: path(),
                name: name.into(),
                expected: range,
                found: value,
                position,
            },
        })?;
        let taken = self.arrays.remove(name);
        Ok((taken.map_or_else(Vec::new, |it| it.shape), values))
    }
}

/// The next bytes of a file, fewer only where it ends.
fn up_to(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    file.by_ref().take(bytes).read_to_end(&mut found)?;
    Ok(found)
}
