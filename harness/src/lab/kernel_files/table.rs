//! What every kernel that runs on a file can do.

use sonew_kernels::context::Context;

use super::KernelFileError;
use super::found::Found;
use super::inputs::Inputs;
use super::kernels::entries;
use super::spec::KernelSpec;

/// A kernel with its inputs, as a file and the options have them.
pub(super) trait Kernel {
    /// Name, inputs, outputs and options.
    fn spec() -> KernelSpec
    where
        Self: Sized;

    /// Takes what it needs. What is left over is refused.
    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError>
    where
        Self: Sized;

    /// What its oracle says, in f64 on the host.
    fn oracle(&self) -> Result<Found, KernelFileError>;

    /// What the kernel says.
    fn run(&self, context: &Context) -> Result<Found, KernelFileError>;

    /// What it says in host memory, if it was asked for a form of it that needs no device.
    fn on_host(&self) -> Option<Result<Found, KernelFileError>> {
        None
    }
}

/// A declaration, and how a request is read.
pub(super) struct Entry {
    pub spec: KernelSpec,
    pub read: fn(&mut Inputs) -> Result<Box<dyn Kernel>, KernelFileError>,
}

impl Entry {
    /// That of a kernel.
    pub fn of<K: Kernel + 'static>() -> Self {
        Self {
            spec: K::spec(),
            read: |inputs| Ok(Box::new(K::read(inputs)?)),
        }
    }
}

/// The kernels that run on a file; of those on vectors: n values in one tensor, b off-diagonals, entry i of the k-th couples i
/// and i+1+k.
pub fn kernels() -> Vec<KernelSpec> {
    entries().into_iter().map(|entry| entry.spec).collect()
}
