//! Matrix products, by each kernel that there is for them.

use sonew_kernels::context::Context;
use sonew_kernels::kronecker::reference;
use sonew_kernels::launch::Strategy;
use sonew_kernels::product::{self, Blueprint, HostMatrix, Products, Scale, Sums};
use sonew_kernels::product::{host, multiply};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{K, KernelSpec, M, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::require_room;

/// Which kernel multiplies.
#[derive(Clone, Copy)]
enum Way {
    /// The one that the device's products take.
    Tiled,
    /// In small tiles, whose sums take the terms in order.
    Small(Sums),
    Host,
}

const WAYS: [(&str, Way); 4] = [
    ("tiled", Way::Tiled),
    ("small", Way::Small(Sums::Plain)),
    ("compensated", Way::Small(Sums::Compensated)),
    ("host", Way::Host),
];

/// Two matrices.
pub(in crate::lab::kernel_files) struct Product {
    /// m, k, n.
    sides: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    way: Way,
}

impl Product {
    fn found(&self, c: Vec<f32>) -> Found {
        let [m, _, n] = self.sides;
        Found::new().values("c", [m, n], c)
    }

    fn in_host_memory(&self) -> Result<Found, KernelFileError> {
        let [m, k, n] = self.sides;
        let mut c = vec![0.0; m * n];
        let (a, b) = (
            HostMatrix::row_major(&self.a, m, k)?,
            HostMatrix::row_major(&self.b, k, n)?,
        );
        host(&mut c, a, b, false)?;
        Ok(self.found(c))
    }
}

impl Kernel for Product {
    fn spec() -> KernelSpec {
        KernelSpec::new("product", "C = A B")
            .needs("a", &[M, K])
            .needs("b", &[K, N])
            .gives("c", &[M, N])
            .set(Setting::choice("by", &WAYS, "the kernel"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            sides: [M, K, N].map(|axis| inputs.size(axis)),
            a: inputs.take("a"),
            b: inputs.take("b"),
            way: inputs.settings.choice("by", &WAYS),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, k, n] = self.sides;
        let c = reference::multiply(&wide(&self.a), &wide(&self.b), m, k, n);
        Ok(Found::new().exact("c", [m, n], &c))
    }

    fn on_host(&self) -> Option<Result<Found, KernelFileError>> {
        match self.way {
            Way::Host => Some(self.in_host_memory()),
            Way::Tiled | Way::Small(_) => None,
        }
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, k, n] = self.sides;
        require_room(context, "product", m * n)?;
        let (a, b) = (context.upload(&self.a), context.upload(&self.b));
        let out = context.upload(&vec![0f32; m * n]);
        let strategy = match self.way {
            Way::Host => return self.in_host_memory(),
            Way::Tiled => Strategy::Inferred,
            Way::Small(sums) => Strategy::Forced(Blueprint {
                sums,
                ..Blueprint::SMALL
            }),
        };
        let product = product::Product::row_major([m, k, n]);
        let products = Products::new(context, &[product], strategy)?;
        multiply(context, &products, [&a, &b, &out], Scale::default())?;
        Ok(self.found(context.download("product", &out)?))
    }
}
