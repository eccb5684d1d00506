//! Image files in the IDX format: a header of four big-endian u32 (magic `0x00000803`, images, rows, columns), then
//! one byte per pixel. Read raw, gzip or zstd, told apart by their first bytes and not by the file's name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::workloads::Examples;

/// Unsigned bytes in three dimensions.
const MAGIC_IMAGES: u32 = 0x0000_0803;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const HEADER_BYTES: usize = 16;
/// The most pixels that a header may announce: 45 times the MNIST training set.
const MAX_PIXELS: u64 = 1 << 31;

/// Why an image file could not be used. `origin` is the path, or the name of what was read.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// The file could not be opened or read.
    #[error("reading images from {origin}: {source}")]
    Io {
        /// What was read.
        origin: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The gzip or zstd stream ends early or does not decode.
    #[error(
        "reading images from {origin}: its {compression} stream is cut off or damaged after the first {decoded} bytes it holds ({source}); fetch the file again"
    )]
    Compressed {
        /// What was read.
        origin: String,
        /// "gzip" or "zstd".
        compression: &'static str,
        /// Bytes that were decompressed before.
        decoded: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// The first four bytes are not those of an IDX image file.
    #[error(
        "reading images from {origin}: expected the magic number 0x00000803 (an IDX image file), found {found:#010x} ({meaning})"
    )]
    Magic {
        /// What was read.
        origin: String,
        /// The first four bytes as a big-endian number.
        found: u32,
        /// What that number usually stands for.
        meaning: &'static str,
    },
    /// The header announces no images, or images without pixels.
    #[error(
        "reading images from {origin}: the header announces {count} images of {rows}×{cols} pixels, so no pixels"
    )]
    Empty {
        /// What was read.
        origin: String,
        /// Images announced.
        count: u32,
        /// Rows announced.
        rows: u32,
        /// Columns announced.
        cols: u32,
    },
    /// The header announces more pixels than this program is willing to read.
    #[error(
        "reading images from {origin}: the header announces {count} images of {rows}×{cols} pixels, more than the limit of {MAX_PIXELS} pixels; the file is damaged or is not an image file"
    )]
    TooLarge {
        /// What was read.
        origin: String,
        /// Images announced.
        count: u32,
        /// Rows announced.
        rows: u32,
        /// Columns announced.
        cols: u32,
    },
    /// There is less data than the header announces, or not even a whole header.
    #[error(
        "reading images from {origin}: expected {expected} bytes, found {found}; the file is cut off, fetch it again"
    )]
    Truncated {
        /// What was read.
        origin: String,
        /// Bytes that the header announces, itself included.
        expected: u64,
        /// Bytes found, after decompression.
        found: u64,
    },
    /// There is more data than the header announces.
    #[error(
        "reading images from {origin}: found bytes after the {expected} that the header announces; the header and the data do not belong together"
    )]
    Trailing {
        /// What was read.
        origin: String,
        /// Bytes that the header announces, itself included.
        expected: u64,
    },
    /// [`Images::first`] was asked for no images or for more than there are.
    #[error(
        "taking the first {asked} images (--train-images): expected a number from 1 to {count}"
    )]
    First {
        /// Images asked for.
        asked: usize,
        /// Images there are.
        count: usize,
    },
    /// [`Images::fill_batch`] was given an index that no image has.
    #[error("filling a batch: expected image indices below {count}, found {index}")]
    Index {
        /// The index.
        index: u32,
        /// Images there are.
        count: usize,
    },
    /// [`Images::fill_batch`] was given an output of another size than the batch.
    #[error("filling a batch: expected room for {expected} values, found {found}")]
    BatchLength {
        /// Images of the batch times pixels per image.
        expected: usize,
        /// Length of the output.
        found: usize,
    },
}

/// Grey images, all of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Number of images N.
    pub count: usize,
    /// Rows R of an image.
    pub rows: usize,
    /// Columns C of an image.
    pub cols: usize,
    /// Pixels `[N, R, C]` in row-major order, 0 (ground) to 255 (ink).
    pub pixels: Vec<u8>,
}

impl Images {
    /// Reads an IDX image file, raw or compressed with gzip or zstd.
    ///
    /// # Errors
    /// [`IdxError`], naming the path and what was expected and found.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IdxError> {
        let origin = path.as_ref().display().to_string();
        match File::open(path.as_ref()) {
            Ok(file) => Self::read(file, &origin),
            Err(source) => Err(IdxError::Io { origin, source }),
        }
    }

    /// Reads the content of an IDX image file, raw or compressed with gzip or zstd; `origin` names it in errors.
    ///
    /// Memory is taken only for pixels that really come, and no more of them are decompressed than the header announces.
    ///
    /// # Errors
    /// [`IdxError`], naming the origin and what was expected and found.
    pub fn read(mut stream: impl Read, origin: &str) -> Result<Self, IdxError> {
        let mut first = Vec::with_capacity(ZSTD.len());
        stream
            .by_ref()
            .take(ZSTD.len() as u64)
            .read_to_end(&mut first)
            .map_err(|source| IdxError::Io {
                origin: origin.into(),
                source,
            })?;
        let compression = match first.as_slice() {
            [a, b, ..] if [*a, *b] == GZIP => Some("gzip"),
            first if first == ZSTD => Some("zstd"),
            _ => None,
        };
        let whole = BufReader::new(first.as_slice().chain(stream));
        match compression {
            Some("gzip") => read_stream(MultiGzDecoder::new(whole), origin, compression),
            Some(_) => read_stream(zstd_frames(whole, origin)?, origin, compression),
            None => read_stream(whole, origin, None),
        }
    }

    /// Keeps the first `n` images.
    ///
    /// # Errors
    /// [`IdxError::First`] if `n` is 0 or more than there are.
    pub fn first(mut self, n: usize) -> Result<Self, IdxError> {
        if n == 0 || n > self.count {
            return Err(IdxError::First {
                asked: n,
                count: self.count,
            });
        }
        self.pixels.truncate(n * self.pixels_per_image());
        self.count = n;
        Ok(self)
    }

    /// How many there are to train on, and what they are called.
    pub fn examples(&self) -> Examples {
        Examples {
            count: self.count,
            one: "image",
            many: "images",
        }
    }

    /// Pixels per image, R·C.
    pub fn pixels_per_image(&self) -> usize {
        self.rows * self.cols
    }

    /// Writes pixel/255 of the images at `indices` (length B) into `out` `[B, R·C]`, one image per row.
    ///
    /// # Errors
    /// [`IdxError::Index`] for an index that no image has, [`IdxError::BatchLength`] if `out` has another size.
    pub fn fill_batch(&self, indices: &[u32], out: &mut [f32]) -> Result<(), IdxError> {
        let width = self.pixels_per_image();
        if out.len() != indices.len() * width {
            return Err(IdxError::BatchLength {
                expected: indices.len() * width,
                found: out.len(),
            });
        }
        let grey: [f32; 256] = std::array::from_fn(|pixel| pixel as f32 / 255.0);
        for (&index, row) in indices.iter().zip(out.chunks_exact_mut(width)) {
            let start = index as usize * width;
            let image = self
                .pixels
                .get(start..start + width)
                .ok_or(IdxError::Index {
                    index,
                    count: self.count,
                })?;
            for (value, &pixel) in row.iter_mut().zip(image) {
                *value = grey[usize::from(pixel)];
            }
        }
        Ok(())
    }
}

fn zstd_frames<R: BufRead>(stream: R, origin: &str) -> Result<zstd::Decoder<'static, R>, IdxError> {
    zstd::Decoder::with_buffer(stream).map_err(|source| IdxError::Compressed {
        origin: origin.into(),
        compression: "zstd",
        decoded: 0,
        source,
    })
}

/// Reads header and pixels from a decompressed stream.
fn read_stream(
    mut stream: impl Read,
    origin: &str,
    compression: Option<&'static str>,
) -> Result<Images, IdxError> {
    let failed = |source: io::Error, decoded: usize| match compression {
        // What the operating system says is not about the content.
        Some(compression) if source.raw_os_error().is_none() => IdxError::Compressed {
            origin: origin.into(),
            compression,
            decoded: decoded as u64,
            source,
        },
        _ => IdxError::Io {
            origin: origin.into(),
            source,
        },
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    stream
        .by_ref()
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(|source| failed(source, header.len()))?;
    let words: Vec<u32> = header
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    if let Some(&found) = words.first()
        && found != MAGIC_IMAGES
    {
        return Err(IdxError::Magic {
            origin: origin.into(),
            found,
            meaning: meaning_of_magic(found),
        });
    }
    let &[_, count, rows, cols] = words.as_slice() else {
        return Err(IdxError::Truncated {
            origin: origin.into(),
            expected: HEADER_BYTES as u64,
            found: header.len() as u64,
        });
    };
    let pixels = u128::from(count) * u128::from(rows) * u128::from(cols);
    if pixels == 0 {
        return Err(IdxError::Empty {
            origin: origin.into(),
            count,
            rows,
            cols,
        });
    }
    if pixels > u128::from(MAX_PIXELS) {
        return Err(IdxError::TooLarge {
            origin: origin.into(),
            count,
            rows,
            cols,
        });
    }
    let wanted = pixels as u64;
    let mut values = Vec::new();
    // One byte more than wanted, to notice what comes after.
    stream
        .take(wanted + 1)
        .read_to_end(&mut values)
        .map_err(|source| failed(source, HEADER_BYTES + values.len()))?;
    let expected = wanted + HEADER_BYTES as u64;
    let found = values.len() as u64;
    if found < wanted {
        return Err(IdxError::Truncated {
            origin: origin.into(),
            expected,
            found: found + HEADER_BYTES as u64,
        });
    }
    if found > wanted {
        return Err(IdxError::Trailing {
            origin: origin.into(),
            expected,
        });
    }
    Ok(Images {
        count: count as usize,
        rows: rows as usize,
        cols: cols as usize,
        pixels: values,
    })
}

fn meaning_of_magic(found: u32) -> &'static str {
    match found {
        0x0000_0801 => "an IDX label file; pass the image file beside it",
        0x0000_0800..=0x0000_0eff => "an IDX file, but not one of byte images",
        0x0308_0000 => "an IDX file in the wrong byte order",
        _ if found >> 16 == 0x504b => "a zip archive; unpack it first",
        _ if found >> 16 == 0x1f8b => "a gzip stream within another; unpack it once",
        0x8950_4e47 => "a PNG picture",
        0x934e_554d => "a NumPy file",
        0x3c21_444f | 0x3c68_746d => "a web page; the download went wrong",
        0x7665_7273 => "the pointer of a file that Git LFS did not fetch",
        _ => "not an IDX file",
    }
}
