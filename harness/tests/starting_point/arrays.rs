//! Array files: numbers of every width, damaged headers, what is refused.

use std::collections::BTreeMap;

use sonew_harness::arrays::{self, Array, Arrays, ArraysError, Values};

use crate::{bytes, file_with, stored};

fn read(bytes: &[u8]) -> Result<Arrays, ArraysError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Arrays::read(file.path())
}

#[test]
fn floating_point_numbers_of_every_width_become_f32() {
    let half = [0x3c00, 0xc100, 0x0001, 0x7c00];
    let brain = [0x3f80, 0xc020, 0x0001, 0x7f80];
    let file = stored(&[
        ("half", "F16", "[4]", &bytes(&half, u16::to_le_bytes)),
        ("brain", "BF16", "[2, 2]", &bytes(&brain, u16::to_le_bytes)),
        (
            "double",
            "F64",
            "[5]",
            &bytes(
                &[1.0, 0.1, -0.0, f64::NEG_INFINITY, f64::NAN],
                f64::to_le_bytes,
            ),
        ),
    ]);
    let mut arrays = read(&file).unwrap();
    let half = arrays.take_f32("half").unwrap().1;
    assert_eq!(half, [1.0, -2.5, 2f32.powi(-24), f32::INFINITY]);
    let (shape, brain) = arrays.take_f32("brain").unwrap();
    assert_eq!(shape, [2, 2]);
    let smallest = f32::from_bits(0x0001_0000);
    assert_eq!(brain, [1.0, -2.5, smallest, f32::INFINITY]);
    let double = arrays.take_f32("double").unwrap().1;
    assert_eq!(double[..4], [1.0, 0.1, 0.0, f32::NEG_INFINITY]);
    assert!(double[2].is_sign_negative() && double[4].is_nan());
}

#[test]
fn a_double_that_would_become_infinite_or_zero_is_refused_with_its_position() {
    for wrong in [1e39, -1e300, 1e-60, f64::from_bits(1)] {
        let values = bytes(&[1.0, 2.0, wrong], f64::to_le_bytes);
        let mut arrays = read(&stored(&[("w", "F64", "[3]", &values)])).unwrap();
        let error = arrays.take_f32("w").unwrap_err();
        assert!(
            matches!(&error, ArraysError::OutOfRange { position: 2, found, .. } if found.parse() == Ok(wrong)),
            "{error}"
        );
    }
}

#[test]
fn integers_of_every_width_become_u32() {
    let file = stored(&[
        ("u8", "U8", "[2]", &[7, 255]),
        ("i8", "I8", "[2]", &[7, 127]),
        ("u16", "U16", "[1]", &bytes(&[65_535], u16::to_le_bytes)),
        ("i16", "I16", "[1]", &bytes(&[32_767], i16::to_le_bytes)),
        ("u32", "U32", "[1]", &bytes(&[u32::MAX], u32::to_le_bytes)),
        ("i32", "I32", "[1]", &bytes(&[i32::MAX], i32::to_le_bytes)),
        (
            "u64",
            "U64",
            "[1]",
            &bytes(&[4_294_967_295], u64::to_le_bytes),
        ),
        (
            "i64",
            "I64",
            "[1]",
            &bytes(&[4_294_967_295], i64::to_le_bytes),
        ),
    ]);
    let mut arrays = read(&file).unwrap();
    let mut take = |name: &str| arrays.take_u32(name).unwrap().1;
    assert_eq!(take("u8"), [7, 255]);
    assert_eq!(take("i8"), [7, 127]);
    assert_eq!(take("u16"), [65_535]);
    assert_eq!(take("i16"), [32_767]);
    assert_eq!(take("i32"), [i32::MAX as u32]);
    for name in ["u32", "u64", "i64"] {
        assert_eq!(take(name), [u32::MAX], "{name}");
    }
}

#[test]
fn an_integer_that_is_negative_or_too_large_is_refused_with_its_position() {
    for (dtype, values, found) in [
        ("I8", vec![1, 0xff], "-1"),
        ("I16", bytes(&[1, -2], i16::to_le_bytes), "-2"),
        ("I32", bytes(&[1, -3], i32::to_le_bytes), "-3"),
        (
            "I64",
            bytes(&[1, i64::MIN], i64::to_le_bytes),
            "-9223372036854775808",
        ),
        ("U64", bytes(&[1, 1 << 32], u64::to_le_bytes), "4294967296"),
    ] {
        let mut arrays = read(&stored(&[("order", dtype, "[1, 2]", &values)])).unwrap();
        let error = arrays.take_u32("order").unwrap_err().to_string();
        for part in ["\"order\"", found, "position 1"] {
            assert!(error.contains(part), "{dtype}: {error}");
        }
    }
}

#[test]
fn integers_are_no_weights_and_truth_values_no_integers() {
    let file = stored(&[("i", "I32", "[1]", &[0; 4]), ("t", "BOOL", "[1]", &[1])]);
    let mut arrays = read(&file).unwrap();
    for error in [
        arrays.take_f32("i").unwrap_err(),
        arrays.take_u32("t").unwrap_err(),
    ] {
        assert!(matches!(error, ArraysError::WrongType { .. }), "{error}");
    }
}

#[test]
fn an_element_type_that_nobody_asks_for_refuses_no_file() {
    let file = stored(&[
        ("step", "C128", "[]", &[0; 16]),
        ("layers.0.num_batches_tracked", "I64", "[]", &[0; 8]),
        ("w", "F32", "[1]", &1.0_f32.to_le_bytes()),
    ]);
    let mut arrays = read(&file).unwrap();
    assert_eq!(arrays.take_f32("w").unwrap().1, [1.0]);
    arrays.require_only("adam", &["w"]).unwrap();
    let error = arrays.take_f32("step").unwrap_err().to_string();
    assert!(
        error.contains("\"step\"") && error.contains("C128"),
        "{error}"
    );
}

#[test]
fn an_array_that_nobody_takes_is_named_and_so_is_one_of_another_case() {
    let one = 1.0_f32.to_le_bytes();
    let file = stored(&[
        ("w", "F32", "[1]", &one),
        ("exp_avg", "F32", "[1]", &one),
        ("R", "F32", "[1]", &one),
    ]);
    let mut arrays = read(&file).unwrap();
    arrays.take_f32("w").unwrap();
    let error = arrays
        .require_only("adam", &["w", "first_moment", "r"])
        .unwrap_err()
        .to_string();
    for part in [
        "adam",
        "w, first_moment, r",
        "\"exp_avg\"",
        "\"R\" differs from \"r\" in case",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = arrays.take_f32("r").unwrap_err().to_string();
    assert!(
        error.contains("expected an array \"r\"") && error.contains("\"R\" differs"),
        "{error}"
    );
}

#[test]
fn a_damaged_header_is_refused_with_the_array_that_is_wrong() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0);
        read(&file).unwrap_err().to_string()
    };
    let of = |name: &str, shape: &str, begin: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let two = |first: String, second: String| file(&format!("{{{first},{second}}}"), 8);
    for (error, parts) in [
        // The same place twice is what the crate of the format would take.
        (
            two(of("w", "[1]", 0, 4), of("w", "[1]", 0, 4)),
            ["\"w\"", "two arrays"],
        ),
        (
            two(of("w", "[2]", 0, 8), of("g", "[2]", 0, 8)),
            ["\"g\"", "0 to 8"],
        ),
        (
            two(of("w", "[1]", 0, 4), of("g", "[0]", 8, 8)),
            ["\"g\"", "8 to 8"],
        ),
        (
            two(of("w", "[1]", 0, 4), of("g", "[1]", 4, 2)),
            ["\"g\"", "4 to 2"],
        ),
        (
            two(of("w", "[1]", 0, 4), of("g", "[3]", 4, 8)),
            ["\"g\"", "[3]"],
        ),
        (
            two(of("w", "[1]", 0, 4), of("g", "[2]", 4, 12)),
            ["\"g\"", "after 4"],
        ),
        (
            two(of("w", "[1]", 0, 4), of("g", "[-1]", 4, 8)),
            ["\"g\"", "column"],
        ),
        (
            two(
                of("w", "[1]", 0, 4),
                of("g", "[4611686018427387904, 4]", 4, 4),
            ),
            ["\"g\"", "4611686018427387904"],
        ),
        (
            file(&format!("{{{}}}", of("w", "[1]", 0, 4)), 5),
            ["bytes after", "expected"],
        ),
        (file("{]", 0), ["byte 8", "column 2"]),
    ] {
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn arrays_read_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let floats = Array::f32([2, 3], vec![0.0, -1.5, f32::INFINITY, 3.0, 4.0, 5.0]);
    let single = Array::u32([], vec![u32::MAX]);
    let path = file_with(
        folder.path(),
        &[("floats", floats.clone()), ("single", single.clone())],
    );
    let mut read = Arrays::read(&path).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["floats", "single"]);
    let stored = read.get("single").unwrap();
    assert_eq!((stored.dtype(), stored.shape()), ("U32", &[][..]));
    assert_eq!(
        read.take_f32("floats").unwrap(),
        (floats.shape, vec![0.0, -1.5, f32::INFINITY, 3.0, 4.0, 5.0])
    );
    assert!(matches!(
        read.take_f32("floats"),
        Err(ArraysError::Missing { .. })
    ));
    assert!(
        matches!(read.take_f32("single"), Err(ArraysError::WrongType { found, .. }) if found == "U32")
    );
    assert_eq!(read.take_u32("single").unwrap(), (vec![], vec![u32::MAX]));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn an_array_that_contradicts_its_shape_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let wrong = BTreeMap::from([(
        "a".to_owned(),
        Array {
            shape: vec![2, 2],
            values: Values::F32(vec![1.0; 3]),
        },
    )]);
    assert!(matches!(
        arrays::write(&path, &wrong),
        Err(ArraysError::Inconsistent { found: 3, .. })
    ));
    assert!(!path.exists());
}

#[test]
fn files_that_are_no_arrays_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken");
    assert!(matches!(Arrays::read(&path), Err(ArraysError::Io { .. })));
    std::fs::write(&path, b"not at all").unwrap();
    assert!(matches!(
        Arrays::read(&path),
        Err(ArraysError::Malformed { .. })
    ));
    let bytes = stored(&[("x", "F32", "[1]", &1.0_f32.to_le_bytes())]);
    std::fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    let error = Arrays::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("\"x\"") && error.contains("after 2 of"),
        "{error}"
    );
}
