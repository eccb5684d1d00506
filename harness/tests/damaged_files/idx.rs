//! Image files, raw and compressed.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sonew_harness::workloads::autoencoder::images::{IdxError, Images};

use crate::CASES;
use crate::damage::Damage;
use crate::memory::peak;

/// What the decoders take whatever they read.
const DECODER: usize = 1 << 19;

fn header(count: u32, rows: u32, cols: u32) -> Vec<u8> {
    let words = [0x803, count, rows, cols];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn images() -> Vec<u8> {
    let mut bytes = header(12, 5, 7);
    bytes.extend((0..12 * 5 * 7).map(|pixel| (pixel % 251) as u8));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn a_damaged_image_file_is_read_whole_or_refused_with_what_is_wrong() {
    let packs: [fn(&[u8]) -> Vec<u8>; 3] = [<[u8]>::to_vec, gzip, zstd];
    let mut refused = 0;
    for case in 0..CASES {
        let mut damage = Damage::of_case(case);
        let pack = packs[damage.below(packs.len())];
        let mut bytes = images();
        // Within the stream, or the stream itself.
        if damage.below(2) == 0 {
            damage.bytes(&mut bytes);
            bytes = pack(&bytes);
        } else {
            bytes = pack(&bytes);
            damage.bytes(&mut bytes);
        }
        let (found, most) = peak(|| Images::read(&bytes[..], "digits"));
        assert!(
            most <= DECODER + 8 * bytes.len(),
            "case {case}: {most} bytes for a file of {}",
            bytes.len()
        );
        match found {
            Ok(images) => assert_eq!(
                images.pixels.len(),
                images.count * images.rows * images.cols,
                "case {case}"
            ),
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(
                    !matches!(error, IdxError::Io { .. })
                        && text.contains("digits")
                        && text.contains(|it: char| it.is_ascii_digit()),
                    "case {case}: {text}"
                );
            }
        }
    }
    assert!(refused > CASES / 2, "{refused}");
}

#[test]
fn what_a_header_does_not_announce_is_not_decompressed() {
    let mut bomb = header(1, 2, 2);
    bomb.resize(1 << 26, 0);
    for bytes in [gzip(&bomb), zstd(&bomb)] {
        let (found, most) = peak(|| Images::read(&bytes[..], "bomb"));
        assert!(matches!(
            found,
            Err(IdxError::Trailing { expected: 20, .. })
        ));
        assert!(most < DECODER + bytes.len(), "{most}");
    }
}

#[test]
fn a_header_that_announces_much_takes_no_memory_for_what_does_not_come() {
    for (count, rows, cols) in [(2_000_000, 28, 28), (1, 1 << 15, 1 << 16), (1 << 31, 1, 1)] {
        let mut bytes = header(count, rows, cols);
        bytes.resize(100_000, 7);
        for bytes in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
            let (found, most) = peak(|| Images::read(&bytes[..], "short"));
            assert!(matches!(
                found,
                Err(IdxError::Truncated { found: 100_000, .. })
            ));
            assert!(most < DECODER + 4 * 100_000, "{most}");
        }
    }
}

#[test]
fn a_device_without_end_is_refused_by_its_first_bytes() {
    let (found, most) = peak(|| Images::read(io::repeat(0), "zeros"));
    assert!(matches!(found, Err(IdxError::Magic { found: 0, .. })));
    assert!(most < DECODER, "{most}");
    let endless = io::Cursor::new(header(1, 2, 2)).chain(io::repeat(0));
    let (found, most) = peak(|| Images::read(endless, "zeros"));
    assert!(matches!(found, Err(IdxError::Trailing { .. })));
    assert!(most < DECODER, "{most}");
}

#[test]
fn what_the_system_says_of_a_compressed_file_is_not_blamed_on_its_content() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }
    for bytes in [gzip(&images()), zstd(&images())] {
        let half = io::Cursor::new(bytes[..bytes.len() / 2].to_vec());
        let found = Images::read(half.chain(Broken), "disk");
        assert!(matches!(found, Err(IdxError::Io { .. })), "{found:?}");
    }
}
