//! Files of tuned blueprints.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};
use sonew_harness::lab::tune::{TunedFile, TunedFileError};

use crate::damage::Damage;
use crate::memory::peak;
use crate::{CASES, refill};

/// What an error and its file take whatever the file is.
const BASE: usize = 1 << 14;

fn tuned() -> Value {
    let blueprint = |width: u32| {
        json!({
            "sweep": {"width": width, "run": 16, "units": 64, "cubes": 4096, "twins": false},
            "unroll": true,
        })
    };
    let tuning = |kernel: &str, band: u32| json!({"kernel": kernel, "precision": "f32", "band": band, "blueprint": blueprint(4)});
    json!({"devices": [
        {
            "name": "a device",
            "backend": "wgpu",
            "driver": "1.0",
            "blueprints": [tuning("adam", 0), tuning("sonew-step", 4)],
        },
        {"name": "another", "backend": "cuda", "driver": "", "blueprints": []},
    ]})
}

fn read(path: &Path, file: &Value) -> Result<TunedFile, TunedFileError> {
    fs::write(path, file.to_string()).unwrap();
    TunedFile::read(path)
}

#[test]
fn a_damaged_file_of_blueprints_is_read_whole_or_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    let damaged = File::create(&path).unwrap();
    let again = folder.path().join("again.json");
    let (mut refused, mut read) = (0, 0);
    for case in 0..CASES {
        let mut damage = Damage::of_case(case);
        let mut bytes = serde_json::to_vec_pretty(&tuned()).unwrap();
        damage.bytes(&mut bytes);
        refill(&damaged, &bytes);
        let (found, most) = peak(|| TunedFile::read(&path));
        assert!(
            most <= BASE + 64 * bytes.len(),
            "case {case}: {most} bytes for a file of {}",
            bytes.len()
        );
        match found {
            Ok(file) => {
                read += 1;
                file.write(&again).unwrap();
                assert_eq!(TunedFile::read(&again).unwrap(), file, "case {case}");
            }
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                let after = text.strip_prefix(path.to_str().unwrap());
                let places = ["line", "/devices/", "the blueprint of"];
                assert!(
                    after.is_some_and(|it| places.iter().any(|place| it.contains(place))),
                    "case {case}: {text}"
                );
            }
        }
    }
    assert!(
        refused > CASES / 2 && read > CASES / 50,
        "{refused}, {read}"
    );
}

#[test]
fn what_no_kernel_asks_for_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    read(&path, &tuned()).unwrap();
    for (place, value, said) in [
        (
            "/devices/0/blueprints/0/kernel",
            json!("adamw"),
            "\"adamw\"",
        ),
        ("/devices/0/blueprints/0/kernel", json!("Adam"), "\"Adam\""),
        ("/devices/0/blueprints/0/precision", json!("F32"), "\"F32\""),
        (
            "/devices/0/blueprints/0/band",
            json!(1),
            "at most 0 for adam",
        ),
        (
            "/devices/0/blueprints/1/band",
            json!(33),
            "at most 32 for sonew-step",
        ),
        ("/devices/1", tuned()["devices"][0].clone(), "again"),
        (
            "/devices/0/blueprints/1",
            tuned()["devices"][0]["blueprints"][0].clone(),
            "again",
        ),
    ] {
        let mut file = tuned();
        *file.pointer_mut(place).unwrap() = value;
        let error = read(&path, &file).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(said), "{error}");
    }
    for place in [
        "/devices/0/blueprints/0",
        "/devices/0/blueprints/0/blueprint",
        "/devices/0/blueprints/1/blueprint/sweep",
    ] {
        let mut file = tuned();
        file.pointer_mut(place).unwrap()["Twins"] = true.into();
        let error = read(&path, &file).unwrap_err().to_string();
        assert!(error.contains(&format!("{place}/Twins")), "{error}");
    }
}

#[test]
fn units_that_no_device_has_are_refused_before_memory_is_laid_out_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    let mut file = tuned();
    for units in [0, 1025, u32::MAX] {
        file["devices"][0]["blueprints"][0]["blueprint"]["sweep"]["units"] = units.into();
        let error = read(&path, &file).unwrap_err().to_string();
        assert!(error.contains(&format!("{units} units")), "{error}");
    }
}

#[test]
fn a_file_of_blueprints_without_end_is_not_read_to_it() {
    let (found, most) = peak(|| TunedFile::read(Path::new("/dev/zero")));
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("/dev/zero") && error.contains("at most"),
        "{error}"
    );
    assert!(most < 1 << 26, "{most}");
}

#[test]
fn blueprints_are_added_to_a_file_and_to_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.json");
    let nothing = TunedFile::default();
    assert_eq!(TunedFile::read_or_new(&path).unwrap(), nothing);
    fs::write(&path, "").unwrap();
    assert_eq!(TunedFile::read_or_new(&path).unwrap(), nothing);
    assert_eq!(
        TunedFile::read_or_new(Path::new("/dev/null")).unwrap(),
        nothing
    );
    let file = read(&path, &tuned()).unwrap();
    assert_eq!(TunedFile::read_or_new(&path).unwrap(), file);
    fs::write(&path, "mine").unwrap();
    assert!(TunedFile::read_or_new(&path).is_err());
}
