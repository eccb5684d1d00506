//! Array files.

use std::fs::{self, File};
use std::path::Path;

use sonew_harness::arrays::{Arrays, ArraysError, FormatError};
use sonew_harness::train::order::BatchOrder;
use sonew_harness::workloads::Examples;
use sonew_harness::workloads::autoencoder::weights::Weights;

use crate::damage::Damage;
use crate::memory::peak;
use crate::{CASES, refill};

/// What an error and its file take whatever the file is.
const BASE: usize = 1 << 14;

const ARRAYS: [(&str, &str, &str, usize); 9] = [
    ("w0", "F32", "[3,2]", 24),
    ("b0", "F64", "[3]", 24),
    ("w1", "BF16", "[2,3]", 12),
    ("b1", "F16", "[2]", 4),
    ("order", "I64", "[2,4]", 64),
    ("small", "U8", "[5]", 5),
    ("none", "F32", "[0,7]", 0),
    ("step", "C64", "[]", 8),
    ("odd", "Q7", "[9]", 11),
];

fn header_of(named: &[(&str, &str, &str, usize)]) -> String {
    let mut begin = 0;
    let entries = named.iter().map(|(name, dtype, shape, bytes)| {
        let end = begin + bytes;
        let entry = format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#
        );
        begin = end;
        entry
    });
    let entries: Vec<String> = entries.collect();
    format!(
        r#"{{"__metadata__":{{"by":"a test"}},{}}}"#,
        entries.join(",")
    )
}

fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header, data].concat()
}

/// Reads a file and takes every array as every type.
fn take_all(path: &Path) -> Result<Vec<ArraysError>, ArraysError> {
    let arrays = Arrays::read(path)?;
    let mut refused = Vec::new();
    for name in arrays.names() {
        let shape = arrays.get(name).map(|it| it.shape().to_vec());
        let values = shape.iter().flatten().map(|&it| it as u128).product();
        let mut take = |found: Result<usize, ArraysError>| match found {
            Ok(found) => assert_eq!(found as u128, values, "{name}"),
            Err(error) => refused.push(error),
        };
        take(arrays.clone().take_f32(name).map(|it| it.1.len()));
        take(arrays.clone().take_u32(name).map(|it| it.1.len()));
    }
    refused.extend(arrays.require_only("nobody", &["w0"]).err());
    Ok(refused)
}

#[test]
fn a_damaged_array_file_is_read_whole_or_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let damaged = File::create(&path).unwrap();
    let data: Vec<u8> = (0..152).map(|byte| (byte * 37 % 256) as u8).collect();
    let (mut refused, mut read) = (0, 0);
    for case in 0..CASES {
        let mut damage = Damage::of_case(case);
        let mut header = header_of(&ARRAYS).into_bytes();
        // The header with the right length before it, or the file.
        let bytes = if damage.below(2) == 0 {
            damage.bytes(&mut header);
            file(&header, &data)
        } else {
            let mut bytes = file(&header, &data);
            damage.bytes(&mut bytes);
            bytes
        };
        refill(&damaged, &bytes);
        let (found, most) = peak(|| take_all(&path));
        assert!(
            most <= BASE + 64 * bytes.len(),
            "case {case}: {most} bytes for a file of {}",
            bytes.len()
        );
        let errors = match found {
            Ok(errors) => {
                read += 1;
                errors
            }
            Err(error) => {
                refused += 1;
                vec![error]
            }
        };
        for error in errors {
            let text = error.to_string();
            let (before, after) = text.split_once(path.to_str().unwrap()).unwrap();
            assert_eq!(before, "reading arrays from ", "case {case}");
            assert!(
                after.contains('"') || after.contains("byte"),
                "case {case}: {text}"
            );
        }
    }
    assert!(
        refused > CASES / 2 && read > CASES / 50,
        "{refused}, {read}"
    );
}

#[test]
fn lengths_and_shapes_that_are_announced_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("announced");
    for announced in [99_999_999, 100_000_001, 1 << 40, u64::MAX] {
        let mut bytes = file(header_of(&ARRAYS).as_bytes(), &[0; 152]);
        bytes[..8].copy_from_slice(&announced.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let (found, most) = peak(|| Arrays::read(&path));
        let error = found.unwrap_err().to_string();
        assert!(error.contains(&announced.to_string()), "{error}");
        assert!(most < BASE, "{most}");
    }
    let huge = [("w0", "F32", "[1073741824,4]", 1 << 34)];
    fs::write(&path, file(header_of(&huge).as_bytes(), &[0; 40])).unwrap();
    let (found, most) = peak(|| Weights::load(&path, &[4, 1 << 30]));
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("\"w0\"") && error.contains("after 40"),
        "{error}"
    );
    assert!(most < BASE, "{most}");
}

#[test]
fn a_header_of_very_many_arrays_makes_no_endless_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many");
    let names: Vec<String> = (0..5000).map(|at| format!("a{at}")).collect();
    let many = names.iter().map(|name| (name.as_str(), "F32", "[0]", 0));
    let header = header_of(&many.collect::<Vec<_>>());
    fs::write(&path, file(header.as_bytes(), &[])).unwrap();
    let ten = Examples {
        count: 10,
        one: "image",
        many: "images",
    };
    let error = BatchOrder::load(&path, ten, 2, 1).unwrap_err().to_string();
    assert!(
        error.contains("\"order\"") && error.contains("4980 more"),
        "{error}"
    );
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn an_array_file_without_end_is_refused_by_its_first_bytes() {
    let (found, most) = peak(|| Arrays::read("/dev/zero"));
    assert!(matches!(
        found,
        Err(ArraysError::Malformed {
            source: FormatError::Json(_),
            ..
        })
    ));
    assert!(most < BASE, "{most}");
}

#[test]
fn an_array_file_may_come_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let bytes = file(header_of(&ARRAYS[..1]).as_bytes(), &[0; 24]);
    let arrays = std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut end = File::options().write(true).open(&pipe).unwrap();
            std::io::Write::write_all(&mut end, &bytes).unwrap();
        });
        Arrays::read(&pipe).unwrap()
    });
    assert_eq!(arrays.names().collect::<Vec<_>>(), ["w0"]);
}
