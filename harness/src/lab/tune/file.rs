//! The file of tuned blueprints: JSON, for each device those of some kernels.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sonew_kernels::arena::BLOCK;
use sonew_kernels::launch::{Sweep, TileSpeed, Tuned, Tuning};
use sonew_runtime::DeviceInfo;

use super::meaning::{MOST_UNITS, check_tiles, check_tunings, unknown_field};
use crate::replace_file::replace_file;

/// The most bytes of a file: hundreds of devices, tuned for everything.
const MOST_BYTES: u64 = 1 << 24;

/// Why a file of blueprints cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TunedFileError {
    /// Reading or writing it.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no file of blueprints: {source}; `sonew tune` writes one")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: serde_json::Error,
    },
    /// A blueprint that no kernel takes.
    #[error(
        "{path}: the blueprint of {kernel} in {precision} is width {}, run {}, {} units and {} cubes, expected width 1, 2, 4 or 8, \
         width · run a divisor of {BLOCK}, 1 to {MOST_UNITS} units, and at least one cube",
        sweep.width, sweep.run, sweep.units, sweep.cubes
    )]
    Blueprint {
        /// The file.
        path: PathBuf,
        /// The kernel.
        kernel: String,
        /// The precision.
        precision: String,
        /// The sweep that was found.
        sweep: Sweep,
    },
    /// Something in it has no meaning, so that what was meant would not be used.
    #[error("{path}: {place}: expected {expected}, found {found}")]
    Meaning {
        /// The file.
        path: PathBuf,
        /// Where, as a JSON pointer.
        place: String,
        /// What may be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// It has nothing for this device.
    #[error("{path} has blueprints for {found}, none for {wanted}; `sonew tune` adds some")]
    OtherDevice {
        /// The file.
        path: PathBuf,
        /// The device.
        wanted: String,
        /// The devices of the file.
        found: String,
    },
}

/// The file that comes with the program.
const SHIPPED: &str = include_str!("../../../tuned.json");

/// Blueprints of devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedFile {
    devices: Vec<OfDevice>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfDevice {
    name: String,
    backend: String,
    /// When it was tuned; another version is used as well.
    driver: String,
    blueprints: Tuned,
    /// Of matrix products.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tiles: Vec<TileSpeed>,
}

impl TunedFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TunedFileError::File`], [`TunedFileError::Format`], [`TunedFileError::Blueprint`], [`TunedFileError::Meaning`].
    pub fn read(path: &Path) -> Result<Self, TunedFileError> {
        Self::parse(path, &Self::content(path)?)
    }

    /// What comes with the program for devices that are known.
    ///
    /// # Errors
    /// As [`TunedFile::read`].
    pub fn shipped() -> Result<Self, TunedFileError> {
        Self::parse(Path::new("harness/tuned.json"), SHIPPED.as_bytes())
    }

    /// Reads a file if there is one, and requires that there can be one. Where something else than a file stands, such as a
    /// pipe, nothing is read.
    ///
    /// # Errors
    /// As [`TunedFile::read`], but for a file that is not there, or is empty.
    pub fn read_or_new(path: &Path) -> Result<Self, TunedFileError> {
        let is_file = match fs::metadata(path) {
            Ok(metadata) => metadata.is_file(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
                fs::metadata(folder.unwrap_or(Path::new("."))).map_err(|it| failed(path, it))?;
                false
            }
            Err(source) => return Err(failed(path, source)),
        };
        if path.is_dir() {
            return Err(failed(path, io::ErrorKind::IsADirectory.into()));
        }
        if !is_file {
            return Ok(Self::default());
        }
        match Self::content(path)?.as_slice() {
            [] => Ok(Self::default()),
            content => Self::parse(path, content),
        }
    }

    fn content(path: &Path) -> Result<Vec<u8>, TunedFileError> {
        let mut content = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut content))
            .map_err(|source| failed(path, source))?;
        if content.len() as u64 > MOST_BYTES {
            let reason = format!("expected at most {MOST_BYTES} bytes, found more");
            return Err(failed(path, io::Error::other(reason)));
        }
        Ok(content)
    }

    fn parse(path: &Path, content: &[u8]) -> Result<Self, TunedFileError> {
        let wrong = |source| TunedFileError::Format {
            path: path.into(),
            source,
        };
        let mut file: Self = serde_json::from_slice(content).map_err(wrong)?;
        let found: Value = serde_json::from_slice(content).map_err(wrong)?;
        let known = serde_json::to_value(&file).map_err(wrong)?;
        if let Some(place) = unknown_field(&found, &known, "") {
            return Err(TunedFileError::Meaning {
                path: path.into(),
                place,
                expected: "a field of a blueprint".into(),
                found: "one of an unknown name".into(),
            });
        }
        let mut devices = BTreeSet::new();
        for (
            at,
            OfDevice {
                name,
                backend,
                blueprints,
                tiles,
                ..
            },
        ) in file.devices.iter().enumerate()
        {
            let place = format!("/devices/{at}");
            if !devices.insert((name, backend)) {
                return Err(TunedFileError::Meaning {
                    path: path.into(),
                    place,
                    expected: "each device once".into(),
                    found: format!("{name:?} through {backend:?} again"),
                });
            }
            check_tunings(path, &format!("{place}/blueprints"), blueprints.tunings())?;
            check_tiles(path, &format!("{place}/tiles"), tiles)?;
        }
        for device in &mut file.devices {
            device.take_up_tiles();
        }
        Ok(file)
    }

    /// What it has for a device; `path` is where it was read.
    ///
    /// # Errors
    /// [`TunedFileError::OtherDevice`].
    pub fn of(&self, path: &Path, info: &DeviceInfo) -> Result<&Tuned, TunedFileError> {
        self.known(info).ok_or_else(|| {
            let names = self.devices.iter();
            let names: Vec<String> = names
                .map(|it| format!("{} through {}", it.name, it.backend))
                .collect();
            TunedFileError::OtherDevice {
                path: path.into(),
                wanted: format!("{} through {}", info.name, info.backend),
                found: if names.is_empty() {
                    "no device".into()
                } else {
                    names.join(", ")
                },
            }
        })
    }

    /// What it has for a device, if anything.
    pub fn known(&self, info: &DeviceInfo) -> Option<&Tuned> {
        let found = self.devices.iter().find(|it| it.is(info));
        found.map(|it| &it.blueprints)
    }

    /// Adds a blueprint for a device.
    pub fn put(&mut self, info: &DeviceInfo, tuning: Tuning) {
        self.device(info).blueprints.put(tuning);
    }

    /// Puts the speeds of tiles of a device in the place of those that it has.
    pub fn put_tiles(&mut self, info: &DeviceInfo, tiles: Vec<TileSpeed>) {
        let device = self.device(info);
        device.tiles = tiles;
        device.take_up_tiles();
    }

    /// The device's part, which is tuned now.
    fn device(&mut self, info: &DeviceInfo) -> &mut OfDevice {
        let at = match self.devices.iter().position(|it| it.is(info)) {
            Some(at) => at,
            None => {
                self.devices.push(OfDevice {
                    name: info.name.clone(),
                    backend: info.backend.to_string(),
                    driver: String::new(),
                    blueprints: Tuned::default(),
                    tiles: Vec::new(),
                });
                self.devices.len() - 1
            }
        };
        let device = &mut self.devices[at];
        device.driver = info.driver.clone();
        device
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`TunedFileError::File`].
    pub fn write(&self, path: &Path) -> Result<(), TunedFileError> {
        let write = || {
            let text = serde_json::to_string_pretty(self)?;
            replace_file(path, (text + "\n").as_bytes())
        };
        write().map_err(|source| failed(path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> TunedFileError {
    TunedFileError::File {
        path: path.into(),
        source,
    }
}

impl OfDevice {
    fn take_up_tiles(&mut self) {
        let blueprints = std::mem::take(&mut self.blueprints);
        self.blueprints = blueprints.with_tiles(self.tiles.clone());
    }

    fn is(&self, info: &DeviceInfo) -> bool {
        (&self.name, &self.backend) == (&info.name, &info.backend.to_string())
    }
}

#[cfg(test)]
mod tests {
    use sonew_kernels::product::{Blueprint, Factors};

    use super::*;

    fn of_tiles(tiles: &str) -> Result<TunedFile, TunedFileError> {
        let text = format!(
            r#"{{"devices": [{{"name": "a", "backend": "b", "driver": "c", "blueprints": [], "tiles": [{tiles}]}}]}}"#
        );
        TunedFile::parse(Path::new("file"), text.as_bytes())
    }

    #[test]
    fn speeds_of_tiles_are_read_back_and_those_of_none_are_refused() {
        let tile = |factors: &str, rows: usize, speed: f64| {
            format!(
                r#"{{"factors": {factors}, "rows": {rows}, "columns": 64, "slices": 4, "speed": {speed}}}"#
            )
        };
        let plain = tile(r#""whole""#, 64, 0.9);
        let file = of_tiles(&plain).unwrap();
        let blueprint = Blueprint::all(Factors::Whole).nth(1).unwrap();
        assert_eq!(file.devices[0].blueprints.tile_speed(blueprint), Some(0.9));
        let written = serde_json::to_string(&file).unwrap();
        assert_eq!(
            TunedFile::parse(Path::new("file"), written.as_bytes()).unwrap(),
            file
        );
        for wrong in [
            tile(r#""whole""#, 63, 0.9),
            tile(r#""whole""#, 64, 0.0),
            tile(r#""whole""#, 64, 1.5),
            tile(r#"{"matrix": "bf17"}"#, 64, 0.9),
            format!("{plain}, {plain}"),
            plain.replace("slices", "slice"),
        ] {
            assert!(of_tiles(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_comes_with_the_program_is_a_file_that_it_takes_as_its_tuner_writes_it() {
        let shipped = TunedFile::shipped().unwrap();
        let written = serde_json::to_string_pretty(&shipped).unwrap() + "\n";
        assert_eq!(SHIPPED, written);
    }
}
