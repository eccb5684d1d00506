//! The file of tuned blueprints: JSON, for each device those of some kernels.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonew_kernels::segments::BLOCK;
use sonew_kernels::sweep::Sweep;
use sonew_kernels::tuned::{Tuned, Tuning};
use sonew_runtime::DeviceInfo;

use crate::replace_file::replace_file;

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
         width · run a divisor of {BLOCK}, and at least one unit and cube",
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
}

impl TunedFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TunedFileError::File`], [`TunedFileError::Format`], [`TunedFileError::Blueprint`].
    pub fn read(path: &Path) -> Result<Self, TunedFileError> {
        let text = fs::read_to_string(path).map_err(|source| TunedFileError::File {
            path: path.into(),
            source,
        })?;
        let file: Self = serde_json::from_str(&text).map_err(|source| TunedFileError::Format {
            path: path.into(),
            source,
        })?;
        let mut tunings = file.devices.iter().flat_map(|it| it.blueprints.tunings());
        match tunings.find(|it| !it.blueprint.sweep.is_whole()) {
            None => Ok(file),
            Some(it) => Err(TunedFileError::Blueprint {
                path: path.into(),
                kernel: it.kernel.clone(),
                precision: it.precision.clone(),
                sweep: it.blueprint.sweep,
            }),
        }
    }

    /// Reads a file if there is one.
    ///
    /// # Errors
    /// As [`TunedFile::read`], but for a file that is not there.
    pub fn read_or_new(path: &Path) -> Result<Self, TunedFileError> {
        match Self::read(path) {
            Err(TunedFileError::File { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            other => other,
        }
    }

    /// What it has for a device; `path` is where it was read.
    ///
    /// # Errors
    /// [`TunedFileError::OtherDevice`].
    pub fn of(&self, path: &Path, info: &DeviceInfo) -> Result<&Tuned, TunedFileError> {
        let same = |it: &&OfDevice| it.is(info);
        let found = self.devices.iter().find(same);
        found.map(|it| &it.blueprints).ok_or_else(|| {
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

    /// Adds a blueprint for a device.
    pub fn put(&mut self, info: &DeviceInfo, tuning: Tuning) {
        let at = match self.devices.iter().position(|it| it.is(info)) {
            Some(at) => at,
            None => {
                self.devices.push(OfDevice {
                    name: info.name.clone(),
                    backend: info.backend.to_string(),
                    driver: String::new(),
                    blueprints: Tuned::default(),
                });
                self.devices.len() - 1
            }
        };
        self.devices[at].driver = info.driver.clone();
        self.devices[at].blueprints.put(tuning);
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
        write().map_err(|source| TunedFileError::File {
            path: path.into(),
            source,
        })
    }
}

impl OfDevice {
    fn is(&self, info: &DeviceInfo) -> bool {
        (&self.name, &self.backend) == (&info.name, &info.backend.to_string())
    }
}
