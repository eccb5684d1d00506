//! The header of a safetensors file: which arrays it holds, of what type and shape, and where their bytes are.
//!
//! It is read here and not by the `safetensors` crate, which refuses a whole file for an element type that nobody asks for,
//! takes the last of two arrays of one name, and does not always say which array is wrong.

use std::fmt;

use safetensors::tensor::Dtype;
use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};

/// Bytes of the number before the header, which is the header's length.
pub(super) const LENGTH_BYTES: u64 = 8;
/// The longest header, which is also that of the `safetensors` crate.
pub(super) const LONGEST: u64 = 100_000_000;

/// What is wrong with a file that is to be a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It ends within the header's length.
    #[error("found {found} bytes, less than the 8 of the header's length")]
    NoLength {
        /// Bytes of the file.
        found: usize,
    },
    /// The header's length is not that of a header.
    #[error("the first 8 bytes announce a header of {announced} bytes, expected at most {LONGEST}")]
    LongHeader {
        /// The length found.
        announced: u64,
    },
    /// It ends within the header.
    #[error("the first 8 bytes announce a header of {announced} bytes, found {found}")]
    ShortHeader {
        /// The length found.
        announced: u64,
        /// Bytes that come after it.
        found: u64,
    },
    /// The header is not the JSON of one.
    #[error("in the header, which begins at byte 8: {0}")]
    Json(#[from] serde_json::Error),
    /// Two arrays have the same name.
    #[error("two arrays are called {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// Data overlap, leave a hole, or end before they begin.
    #[error(
        "array {name:?} has data_offsets {begin} to {end}, expected them to begin at {expected}, where the data before end"
    )]
    Offsets {
        /// The array.
        name: String,
        /// Where its data begin.
        begin: u64,
        /// Where they end.
        end: u64,
        /// Where the data before them end.
        expected: u64,
    },
    /// Type and shape ask for another number of bytes than there is.
    #[error(
        "array {name:?} has {found} bytes of data, not those of {dtype} values of shape {shape:?}"
    )]
    Size {
        /// The array.
        name: String,
        /// Its element type.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes of its data.
        found: u64,
    },
    /// The file ends within an array.
    #[error("array {name:?} has {expected} bytes of data, but the file ends after {found} of them")]
    CutOff {
        /// The array.
        name: String,
        /// Bytes of its data.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Something comes after the last array.
    #[error("found bytes after {expected}, where the data of the last array end")]
    Trailing {
        /// Where the file is to end.
        expected: u64,
    },
}

/// An array as the header has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    /// From where to where, counted from the end of the header.
    pub offsets: (u64, u64),
}

impl Entry {
    /// Bytes of its data.
    pub fn bytes(&self) -> u64 {
        self.offsets.1 - self.offsets.0
    }

    /// Whether type and shape ask for as many bytes as there are. Of a type that is not known here, any number will do.
    fn has_its_size(&self) -> bool {
        let known: Result<Dtype, de::value::Error> =
            Dtype::deserialize(StrDeserializer::new(&self.dtype));
        let Ok(dtype) = known else {
            return true;
        };
        // No value at all is no overflow, however long the other axes.
        let values = if self.shape.contains(&0) {
            Some(0)
        } else {
            let mut lengths = self.shape.iter();
            lengths.try_fold(1_u64, |all, &length| all.checked_mul(length as u64))
        };
        values.and_then(|values| values.checked_mul(dtype.bitsize() as u64))
            == self.bytes().checked_mul(8)
    }
}

/// The arrays in the order of their data, which have been found to follow each other without a gap.
pub(super) fn parse(header: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let Entries(mut entries) = serde_json::from_slice(header)?;
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(FormatError::Twice {
            name: twice[0].into(),
        });
    }
    entries.sort_by_key(|entry| entry.offsets);
    let mut expected = 0;
    for entry in &entries {
        let (begin, end) = entry.offsets;
        if begin != expected || end < begin {
            return Err(FormatError::Offsets {
                name: entry.name.clone(),
                begin,
                end,
                expected,
            });
        }
        if !entry.has_its_size() {
            return Err(FormatError::Size {
                name: entry.name.clone(),
                dtype: entry.dtype.clone(),
                shape: entry.shape.clone(),
                found: entry.bytes(),
            });
        }
        expected = end;
    }
    Ok(entries)
}

/// What the header says of an array.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The header, names that occur twice included.
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Header;

        impl<'de> Visitor<'de> for Header {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to arrays")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let info: Info = map
                        .next_value()
                        .map_err(|error| M::Error::custom(format!("array {name:?}: {error}")))?;
                    entries.push(Entry {
                        name,
                        dtype: info.dtype,
                        shape: info.shape,
                        offsets: info.data_offsets,
                    });
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Header)
    }
}
