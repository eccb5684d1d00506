//! The 60,000 MNIST training images, built into the program so that the benchmark needs no download.
//!
//! Origin, licence and checksum are in `harness/data/ORIGIN.md`.

use super::idx::{IdxError, Images};

/// The IDX file, compressed with zstd.
pub const TRAIN_IMAGES_ZST: &[u8] = include_bytes!("../../../../data/train-images-idx3-ubyte.zst");

/// How many training images there are.
pub const TRAIN_IMAGES: usize = 60_000;

/// Decompresses the training images: 60,000 of 28×28 pixels, 47 MB.
///
/// # Errors
/// Only if the program file was damaged after it was built.
pub fn train_images() -> Result<Images, IdxError> {
    Images::read(TRAIN_IMAGES_ZST, "the embedded MNIST training images")
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn embedded_images_are_the_published_ones() {
        let raw = zstd::decode_all(TRAIN_IMAGES_ZST).unwrap();
        let digest: String = Sha256::digest(&raw)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        );
    }

    #[test]
    fn embedded_images_are_read_whole() {
        let images = train_images().unwrap();
        assert_eq!(
            (images.count, images.rows, images.cols),
            (TRAIN_IMAGES, 28, 28)
        );
        assert_eq!(images.pixels.len(), TRAIN_IMAGES * 784);
    }
}
