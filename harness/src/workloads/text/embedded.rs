//! The text: the first 22 chapters of Herman Melville's Moby-Dick (1851), built into the program. Where it is from stands in
//! `harness/data/ORIGIN.md`.

use std::io;

use crate::train::TrainError;

/// The text, ASCII, compressed with zstd.
const MOBY_DICK_ZST: &[u8] = include_bytes!("../../../data/moby-dick.txt.zst");

/// The text, 217,361 characters.
///
/// # Errors
/// Only if the program file was damaged after it was built.
pub fn moby_dick() -> Result<Vec<u8>, TrainError> {
    let damaged =
        |error: io::Error| TrainError::Workload(format!("the embedded text: {error}").into());
    zstd::decode_all(MOBY_DICK_ZST).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_embedded_text_is_the_one_whose_origin_is_told() {
        let text = moby_dick().unwrap();
        assert_eq!(text.len(), 217_361);
        assert!(text.starts_with(b"CHAPTER 1. Loomings.\n\nCall me Ishmael."));
        let digest = Sha256::digest(&text);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digest,
            "dc2923d94df56eba64941774937c8353e4e62e605c7a633f5a8345e794269f9a"
        );
    }
}
