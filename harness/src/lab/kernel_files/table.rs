//! All kernels that run on a file. A line here and a [`Kernel`] are what it takes to add one.

use sonew_kernels::context::Context;
use sonew_kernels::first_order::{Adagrad, Adam, Momentum, Nesterov, RmsProp, Sgd};

use super::KernelFileError;
use super::found::Found;
use super::inputs::Inputs;
use super::kernels::{
    BandedLdl, Convert, Dense, Descent, Inspect, InverseRoot, KroneckerApply, KroneckerDescent,
    KroneckerStatistics, MatrixUnits, Norms, Precondition, Product, SonewGraft, SonewStep,
    Statistics, StochasticRounding,
};
use super::spec::KernelSpec;

/// A kernel with its inputs, as a file and the options have them.
pub(super) trait Kernel: Sized {
    /// Name, inputs, outputs and options.
    fn spec() -> KernelSpec;

    /// Takes what it needs. What is left over is refused.
    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError>;

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
    pub read: fn(&mut Inputs) -> Result<Request, KernelFileError>,
}

macro_rules! table {
    ($($name:ident: $kernel:ty,)*) => {
        /// One of the kernels, ready to run.
        pub(super) enum Request {
            $($name(Box<$kernel>),)*
        }

        /// All declarations.
        pub(super) fn entries() -> Vec<Entry> {
            vec![$(Entry {
                spec: <$kernel>::spec(),
                read: |inputs| Ok(Request::$name(Box::new(<$kernel>::read(inputs)?))),
            },)*]
        }

        impl Request {
            pub fn oracle(&self) -> Result<Found, KernelFileError> {
                match self {
                    $(Self::$name(kernel) => kernel.oracle(),)*
                }
            }

            pub fn on_host(&self) -> Option<Result<Found, KernelFileError>> {
                match self {
                    $(Self::$name(kernel) => kernel.on_host(),)*
                }
            }

            pub fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
                match self {
                    $(Self::$name(kernel) => kernel.run(context),)*
                }
            }
        }
    };
}

table! {
    Sgd: Descent<Sgd>,
    Momentum: Descent<Momentum>,
    Nesterov: Descent<Nesterov>,
    Adagrad: Descent<Adagrad>,
    RmsProp: Descent<RmsProp>,
    Adam: Descent<Adam>,
    Statistics: Statistics,
    BandedLdl: BandedLdl,
    Precondition: Precondition,
    SonewStep: SonewStep,
    SonewGraft: SonewGraft,
    Norms: Norms,
    KroneckerStatistics: KroneckerStatistics,
    InverseRoot: InverseRoot,
    KroneckerApply: KroneckerApply,
    KroneckerDescent: KroneckerDescent,
    Dense: Dense,
    Product: Product,
    MatrixUnits: MatrixUnits,
    Convert: Convert,
    StochasticRounding: StochasticRounding,
    Inspect: Inspect,
}

/// The kernels that run on a file; of those on vectors: n values in one tensor, b off-diagonals, entry i of the k-th couples i
/// and i+1+k.
pub fn kernels() -> Vec<KernelSpec> {
    entries().into_iter().map(|entry| entry.spec).collect()
}
