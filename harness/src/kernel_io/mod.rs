//! One kernel on arrays from a file: for kernel developers and for other languages that want to check one.

mod matrices;
mod spec;
mod vectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cubecl::Runtime;
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;

use crate::arrays::{self, Array, Arrays, ArraysError};

pub use spec::{KERNELS, KernelSpec};

/// Why a kernel could not be run on a file.
#[derive(Debug, thiserror::Error)]
pub enum KernelIoError {
    /// No kernel has this name.
    #[error("no kernel is called `{found}`; `sonew kernel --list` shows them: {known}")]
    Unknown {
        /// The name found.
        found: String,
        /// The names there are.
        known: String,
    },
    /// An option is not one of the kernel's, or cannot be read.
    #[error("kernel {kernel}: option {found}: {expected}")]
    Option {
        /// The kernel.
        kernel: &'static str,
        /// What was given.
        found: String,
        /// What it expects.
        expected: String,
    },
    /// An array does not have the shape the others ask for.
    #[error("kernel {kernel}: array `{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The array.
        array: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape expected.
        expected: String,
    },
    /// The file.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A kernel, its options and its arrays.
struct Job {
    spec: &'static KernelSpec,
    options: BTreeMap<&'static str, String>,
    arrays: Arrays,
}

type Results = BTreeMap<String, Array>;

/// A kernel and its input, read and checked as far as that goes without a device.
pub struct Prepared {
    job: Job,
    output: PathBuf,
}

impl Prepared {
    /// The kernel `name` on the arrays of `input`; its outputs will be written to `output`.
    ///
    /// # Errors
    /// Unknown names and options, and files that cannot be read.
    pub fn new(
        name: &str,
        input: &Path,
        output: &Path,
        settings: &[(String, String)],
    ) -> Result<Self, KernelIoError> {
        let spec = KernelSpec::named(name)?;
        Ok(Self {
            job: Job {
                spec,
                options: spec.with_settings(settings)?,
                arrays: Arrays::read(input)?,
            },
            output: output.to_owned(),
        })
    }

    /// Whether the kernel runs in host memory and needs no device.
    pub fn needs_no_device(&self) -> bool {
        match self.job.spec.name {
            "inverse-root" => self.job.options["root"] != matrices::ON_DEVICE,
            name => name == "kronecker-apply",
        }
    }

    /// Runs a kernel that needs no device.
    ///
    /// # Errors
    /// Missing or misshapen arrays, and whatever the kernel refuses.
    pub fn run_on_host(self) -> Result<(), KernelIoError> {
        let results = match self.job.spec.name {
            "inverse-root" => matrices::inverse_root(self.job)?,
            _ => matrices::kronecker_apply(self.job)?,
        };
        Ok(arrays::write(self.output, &results)?)
    }

    /// Runs a kernel on a device.
    ///
    /// # Errors
    /// As [`Prepared::run_on_host`].
    pub fn run<R: Runtime>(self, context: &Context<R>) -> Result<(), KernelIoError> {
        if self.needs_no_device() {
            return self.run_on_host();
        }
        let results = match self.job.spec.name {
            "inverse-root" => matrices::inverse_root_on_device(context, self.job)?,
            _ => vectors::run(context, self.job)?,
        };
        Ok(arrays::write(self.output, &results)?)
    }
}

impl Job {
    fn number(&self, key: &'static str) -> Result<f64, KernelIoError> {
        let text = &self.options[key];
        text.parse()
            .map_err(|_| self.bad_option(key, text, "a number"))
    }

    fn bad_option(&self, key: &str, found: &str, expected: &str) -> KernelIoError {
        KernelIoError::Option {
            kernel: self.spec.name,
            found: format!("{key}={found}"),
            expected: format!("expected {expected}"),
        }
    }

    fn misshapen(
        &self,
        array: &'static str,
        found: Vec<usize>,
        expected: impl Into<String>,
    ) -> KernelIoError {
        KernelIoError::Shape {
            kernel: self.spec.name,
            array,
            found,
            expected: expected.into(),
        }
    }
}
