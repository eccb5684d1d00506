//! What a device's file of kernels is named by.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::sync::OnceLock;

use cubecl::hash::StableHasher;

/// This program, also where its file was replaced or removed since it began.
const PROGRAM: &str = "/proc/self/exe";

/// A name for this program's kernels on a device: 32 digits.
///
/// `CubeCL`'s key of a kernel holds its name and its arguments; its text, and how it is translated, are the program's, and what
/// is made of the text is the compilers'.
pub(super) fn of(device: &str) -> io::Result<String> {
    Ok(named(program()?, device))
}

fn named(program: u128, device: &str) -> String {
    let mut hasher = StableHasher::new();
    hasher.write_u128(program);
    hasher.write(device.as_bytes());
    format!("{:032x}", hasher.finalize())
}

/// A digest of the program's file: some ten milliseconds, once.
fn program() -> io::Result<u128> {
    static DIGEST: OnceLock<u128> = OnceLock::new();
    if let Some(&digest) = DIGEST.get() {
        return Ok(digest);
    }
    let mut file = File::open(PROGRAM)?;
    let mut hasher = StableHasher::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => hasher.write(&piece[..length]),
        }
    }
    Ok(*DIGEST.get_or_init(|| hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_or_another_compiler_has_another_name() {
        let names = [
            named(1, "GPU, sm_90, NVRTC 13.0"),
            named(1, "GPU, sm_90, NVRTC 12.9"),
            named(1, "GPU, sm_80, NVRTC 13.0"),
            named(2, "GPU, sm_90, NVRTC 13.0"),
        ];
        for (i, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 32);
            assert!(!names[..i].contains(name));
        }
        assert_eq!(of("a device").unwrap(), of("a device").unwrap());
    }
}
