//! Reading IDX image files, whole and broken.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sonew_harness::workloads::autoencoder::images::{IdxError, Images};

fn idx_file(magic: u32, count: u32, rows: u32, cols: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [magic, count, rows, cols]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    bytes.extend_from_slice(pixels);
    bytes
}

fn three_images() -> Vec<u8> {
    idx_file(
        0x803,
        3,
        2,
        2,
        &[0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6],
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn error_of(bytes: &[u8]) -> IdxError {
    Images::read(bytes, "digits").unwrap_err()
}

#[test]
fn raw_gzip_and_zstd_files_give_the_same_images() {
    let raw = three_images();
    let expected = Images::read(&raw[..], "raw").unwrap();
    assert_eq!((expected.count, expected.rows, expected.cols), (3, 2, 2));
    let folder = tempfile::tempdir().unwrap();
    // The names lie on purpose: only the content counts.
    for (name, content) in [
        ("a.zst", raw.clone()),
        ("b", gzip(&raw)),
        ("c.gz", zstd::encode_all(&raw[..], 3).unwrap()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_eq!(Images::open(&path).unwrap(), expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Images::open("no/such/file").unwrap_err();
    assert!(matches!(error, IdxError::Io { .. }));
    assert!(error.to_string().contains("no/such/file"));
}

#[test]
fn a_label_file_is_called_a_label_file() {
    let labels: Vec<u8> = [0x801_u32, 4]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .chain([1, 2, 3, 4])
        .collect();
    let text = error_of(&labels).to_string();
    assert!(
        text.contains("0x00000801") && text.contains("label file"),
        "{text}"
    );
}

#[test]
fn something_else_is_no_idx_file() {
    assert!(matches!(
        error_of(b"epoch,loss\n0,544\n"),
        IdxError::Magic { .. }
    ));
}

#[test]
fn a_file_shorter_than_its_header_says_is_cut_off() {
    let raw = three_images();
    assert!(matches!(
        error_of(&raw[..27]),
        IdxError::Truncated {
            expected: 28,
            found: 27,
            ..
        }
    ));
    assert!(matches!(
        error_of(&raw[..10]),
        IdxError::Truncated {
            expected: 16,
            found: 10,
            ..
        }
    ));
    assert!(matches!(
        error_of(b""),
        IdxError::Truncated { found: 0, .. }
    ));
}

#[test]
fn bytes_after_the_last_image_are_refused() {
    let mut raw = three_images();
    raw.push(0);
    assert!(matches!(
        error_of(&raw),
        IdxError::Trailing { expected: 28, .. }
    ));
}

#[test]
fn cut_or_damaged_compressed_streams_say_so() {
    let raw = three_images();
    for (name, stream) in [
        ("gzip", gzip(&raw)),
        ("zstd", zstd::encode_all(&raw[..], 3).unwrap()),
    ] {
        let cut = error_of(&stream[..stream.len() - 3]);
        assert!(
            matches!(cut, IdxError::Compressed { compression, .. } if compression == name),
            "{cut}"
        );
        let mut damaged = stream.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        // A flipped byte may decode to other pixels only where no checksum covers it; gzip's always does.
        if name == "gzip" {
            assert!(Images::read(&damaged[..], "digits").is_err());
        }
    }
}

#[test]
fn an_absurd_header_is_refused_before_memory_is_taken() {
    assert!(matches!(
        error_of(&idx_file(0x803, u32::MAX, u32::MAX, u32::MAX, &[])),
        IdxError::TooLarge { .. }
    ));
    // Within the limit but without data: ends as cut off, having read nothing.
    assert!(matches!(
        error_of(&idx_file(0x803, 2_000_000, 28, 28, &[])),
        IdxError::Truncated { .. }
    ));
    assert!(matches!(
        error_of(&idx_file(0x803, 0, 28, 28, &[])),
        IdxError::Empty { .. }
    ));
}

#[test]
fn first_keeps_the_first_images_and_checks_the_number() {
    let images = Images::read(&three_images()[..], "digits").unwrap();
    assert_eq!(images.clone().first(2).unwrap().pixels, &images.pixels[..8]);
    assert_eq!(images.clone().first(3).unwrap(), images);
    for wrong in [0, 4] {
        let error = images.clone().first(wrong).unwrap_err();
        assert!(matches!(error, IdxError::First { count: 3, .. }));
    }
}

#[test]
fn a_batch_holds_pixels_from_zero_to_one_in_the_order_asked() {
    let images = Images::read(&three_images()[..], "digits").unwrap();
    let mut batch = [0.0; 8];
    images.fill_batch(&[1, 0], &mut batch).unwrap();
    assert_eq!(batch[1], 1.0);
    assert_eq!(&batch[4..], &[0.0, 0.2, 0.4, 0.6]);
    assert!(matches!(
        images.fill_batch(&[0, 3], &mut batch),
        Err(IdxError::Index { index: 3, count: 3 })
    ));
    assert!(matches!(
        images.fill_batch(&[0], &mut batch),
        Err(IdxError::BatchLength {
            expected: 4,
            found: 8
        })
    ));
}
