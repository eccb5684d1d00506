//! One kernel on arrays from a file: for kernel developers, and for other languages that want to check one. Its oracle runs
//! on the same file, in f64 on the host, and writes the same arrays, rounded to f32.
//!
//! A kernel is declared once, in [`kernels`]: its name, inputs, outputs and options, how it runs on a device, and what its
//! oracle says.

mod descending;
mod error;
mod found;
mod inputs;
mod kernels;
mod settings;
mod spec;
mod table;
mod tensor;

use std::path::Path;

use sonew_kernels::context::Context;

use crate::arrays::Arrays;

pub use error::KernelFileError;
pub use found::Found;
pub use settings::Setting;
pub use spec::{Absent, Axis, Input, KernelSpec, Output};
pub use table::kernels;

use inputs::Inputs;
use kernels::entries;
use table::{Entry, Kernel};
use tensor::require_room;

/// A kernel and its input, read and checked as far as that goes without a device.
pub struct Prepared {
    name: &'static str,
    request: Box<dyn Kernel>,
    oracle: bool,
    /// Values of the largest array.
    largest: usize,
}

impl Prepared {
    /// The kernel `name`, or its oracle, on the arrays of `input`.
    ///
    /// # Errors
    /// Unknown names, options out of range or without effect, files that cannot be read, and arrays that are missing, of another
    /// shape or without use.
    pub fn new(
        name: &str,
        input: &Path,
        settings: &[(String, String)],
        oracle: bool,
    ) -> Result<Self, KernelFileError> {
        let Entry { spec, read } = entry(name)?;
        let name = spec.name;
        let mut inputs = Inputs::new(spec, Arrays::read(input)?, settings)?;
        let largest = inputs.largest();
        let request = read(&mut inputs)?;
        inputs.require_all_used()?;
        Ok(Self {
            name,
            request,
            oracle,
            largest,
        })
    }

    /// What there is to compute in host memory: the oracle, or a form of the kernel that needs no device. `None` if it does.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn on_host(&self) -> Result<Option<Found>, KernelFileError> {
        let found = if self.oracle {
            Some(self.request.oracle())
        } else {
            self.request.on_host()
        };
        let found = found.transpose()?;
        Ok(found.map(|found| found.of(self.name)))
    }

    /// Runs the kernel on a device.
    ///
    /// # Errors
    /// Whatever the kernel refuses, and failures of the device.
    pub fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        require_room(context, self.name, self.largest)?;
        Ok(self.request.run(context)?.of(self.name))
    }
}

/// The declaration of a kernel.
///
/// # Errors
/// [`KernelFileError::Unknown`] if there is no kernel of that name.
pub fn kernel(name: &str) -> Result<KernelSpec, KernelFileError> {
    Ok(entry(name)?.spec)
}

fn entry(name: &str) -> Result<Entry, KernelFileError> {
    let found = entries().into_iter().find(|entry| entry.spec.name == name);
    found.ok_or_else(|| {
        let known: Vec<_> = kernels().iter().map(|spec| spec.name).collect();
        KernelFileError::Unknown {
            found: name.into(),
            known: known.join(", "),
        }
    })
}
