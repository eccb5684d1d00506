//! Named arrays and texts as bytes, in the format of safetensors (<https://github.com/huggingface/safetensors>), with a version and a
//! digest of everything in the header's metadata. What reads safetensors reads the arrays.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use cubecl::hash::StableHasher;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View, serialize};
use sonew_kernels::precision::Format;
use std::hash::Hasher;

use super::{StateArray, StateError};

/// Written into each archive. What can be read by a program of a version is read by every later one.
const VERSION: u32 = 1;
/// The keys of the metadata that are not texts.
const VERSION_KEY: &str = "sonew";
const DIGEST_KEY: &str = "digest";

/// Named arrays and texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// By their names.
    pub arrays: BTreeMap<String, StateArray>,
    /// By their names, which are neither `sonew` nor `digest`.
    pub texts: BTreeMap<String, String>,
}

impl Archive {
    /// The bytes of a file in the format of safetensors.
    ///
    /// # Errors
    /// [`StateError::Unwritable`] with what the writer refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let mut metadata: HashMap<String, String> = self.texts.clone().into_iter().collect();
        metadata.insert(VERSION_KEY.into(), VERSION.to_string());
        metadata.insert(DIGEST_KEY.into(), self.digest(&VERSION.to_string()));
        serialize(&self.arrays, Some(metadata)).map_err(|error| StateError::Unwritable {
            reason: error.to_string(),
        })
    }

    /// Reads what [`Archive::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`StateError::Version`] for an archive of a later version, [`StateError::Damaged`] for anything else that was not written
    /// so, down to one bit.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let damaged = |reason: String| StateError::Damaged { reason };
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
        let stored = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
        let mut texts: BTreeMap<String, String> = match header.metadata() {
            Some(metadata) => metadata.clone().into_iter().collect(),
            None => BTreeMap::new(),
        };
        let version = texts.remove(VERSION_KEY);
        let version = version.ok_or_else(|| damaged("it has no version".into()))?;
        if version.parse().ok().is_none_or(|it: u32| it > VERSION) {
            return Err(StateError::Version {
                found: version,
                expected: VERSION,
            });
        }
        let digest = texts.remove(DIGEST_KEY);
        let mut arrays = BTreeMap::new();
        for (name, array) in stored.tensors() {
            let format = format_of(array.dtype());
            let read = format.and_then(|format| {
                StateArray::of_bytes(array.shape().to_vec(), format, array.data())
            });
            let read = read.ok_or_else(|| damaged(format!("{name} holds no f32, bf16 or f16")))?;
            arrays.insert(name, read);
        }
        let archive = Self { arrays, texts };
        if digest.as_deref() != Some(&archive.digest(&version)) {
            return Err(damaged("its digest is not that of its content".into()));
        }
        Ok(archive)
    }

    /// Of the version, and of names, shapes, formats, values and texts, in the order of names.
    fn digest(&self, version: &str) -> String {
        let mut hasher = StableHasher::new();
        let mut write = |part: &[u8]| {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        };
        write(version.as_bytes());
        for (name, text) in &self.texts {
            write(name.as_bytes());
            write(text.as_bytes());
        }
        for (name, array) in &self.arrays {
            write(name.as_bytes());
            write(array.format().name().as_bytes());
            for &length in array.shape() {
                write(&(length as u64).to_le_bytes());
            }
            write(&array.bytes());
        }
        format!("{:032x}", hasher.finalize())
    }
}

fn format_of(dtype: Dtype) -> Option<Format> {
    match dtype {
        Dtype::F32 => Some(Format::F32),
        Dtype::BF16 => Some(Format::Bf16),
        Dtype::F16 => Some(Format::F16),
        _ => None,
    }
}

impl View for &StateArray {
    fn dtype(&self) -> Dtype {
        match self.format() {
            Format::F32 => Dtype::F32,
            Format::Bf16 => Dtype::BF16,
            Format::F16 => Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        StateArray::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes())
    }

    fn data_len(&self) -> usize {
        self.format().bytes() * self.values().len()
    }
}
