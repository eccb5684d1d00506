//! Shampoo's statistics, and the application of its roots.

use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::kronecker::reference;
use sonew_kernels::launch::Strategy;
use sonew_kernels::product::{HostMatrix, Product, Products, Scale, View, host, multiply};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, M, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::require_room;

/// A gradient counts as at most this large, so that sums of its squares are finite.
const LARGEST: f32 = 1e16;

/// Statistics of a matrix from both sides.
pub(in crate::lab::kernel_files) struct KroneckerStatistics {
    shape: [usize; 2],
    g: Vec<f32>,
    l: Vec<f32>,
    r: Vec<f32>,
    /// What is kept of the old, and the weight of the new.
    keep: f64,
    weight: f64,
}

impl Kernel for KroneckerStatistics {
    fn spec() -> KernelSpec {
        let summary = "L ← β₂ L + (1−β₂) G Gᵀ, R ← β₂ R + (1−β₂) Gᵀ G, entries of G at most ±10¹⁶";
        KernelSpec::new("kronecker-statistics", summary)
            .needs("g", &[M, N])
            .state("l", &[M, M])
            .state("r", &[N, N])
            .gives("l", &[M, M])
            .gives("r", &[N, N])
            .set(Setting::decay_or_sum(
                "beta2",
                "0.999",
                "decay, or 1: a sum with weight 1",
            ))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let keep = inputs.settings.number("beta2");
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            g: inputs.take("g"),
            l: inputs.take("l"),
            r: inputs.take("r"),
            keep,
            weight: if keep < 1.0 { 1.0 - keep } else { 1.0 },
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, n] = self.shape;
        let bound = f64::from(LARGEST);
        let g: Vec<_> = wide(&self.g)
            .iter()
            .map(|x| x.clamp(-bound, bound))
            .collect();
        let gt = reference::transpose(&g, m, n);
        let moved = |old: &[f32], gram: Vec<f64>| -> Vec<f64> {
            let both = wide(old).into_iter().zip(gram);
            both.map(|(s, x)| self.keep * s + self.weight * x).collect()
        };
        let l = moved(&self.l, reference::multiply(&g, &gt, m, n, m));
        let r = moved(&self.r, reference::multiply(&gt, &g, n, m, n));
        Ok(Found::new().exact("l", [m, m], &l).exact("r", [n, n], &r))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, n] = self.shape;
        require_room(context, "kronecker-statistics", m.max(n) * m.max(n))?;
        let g = context.upload(&self.g);
        let own = View::rows(0, n);
        let gram = |a, b, size: usize, k: usize, old: &[f32]| -> Result<Vec<f32>, KernelError> {
            let product = Product {
                a,
                b,
                c: View::rows(0, size),
                m: size,
                n: size,
                k,
            };
            let products = Products::new(context, &[product], Strategy::Inferred)?;
            let s = context.upload(old);
            let scale = Scale {
                keep: self.keep,
                weight: self.weight,
                bound: Some(LARGEST),
            };
            multiply(context, &products, [&g, &g, &s], scale)?;
            context.download("kronecker-statistics", &s)
        };
        Ok(Found::new()
            .values("l", [m, m], gram(own, own.transposed(), m, n, &self.l)?)
            .values("r", [n, n], gram(own.transposed(), own, n, m, &self.r)?))
    }
}

/// Where the products are computed.
#[derive(Clone, Copy)]
enum Place {
    Device,
    Host,
}

const PLACES: [(&str, Place); 2] = [("device", Place::Device), ("host", Place::Host)];

/// A gradient and what it is multiplied with.
pub(in crate::lab::kernel_files) struct KroneckerApply {
    shape: [usize; 2],
    g: Vec<f32>,
    l: Vec<f32>,
    r: Option<Vec<f32>>,
    place: Place,
}

impl KroneckerApply {
    fn found(&self, d: Vec<f32>) -> Found {
        Found::new().values("d", self.shape, d)
    }

    fn in_host_memory(&self) -> Result<Found, KernelFileError> {
        let [m, n] = self.shape;
        let product = |a: &[f32], b: &[f32], k: usize| -> Result<Vec<f32>, KernelError> {
            let mut out = vec![0.0; m * n];
            let (a, b) = (
                HostMatrix::row_major(a, m, k)?,
                HostMatrix::row_major(b, k, n)?,
            );
            host(&mut out, a, b, false)?;
            Ok(out)
        };
        let mut d = product(&self.l, &self.g, m)?;
        if let Some(r) = &self.r {
            d = product(&d, r, n)?;
        }
        Ok(self.found(d))
    }
}

impl Kernel for KroneckerApply {
    fn spec() -> KernelSpec {
        KernelSpec::new("kronecker-apply", "D = L G R, or L G without r")
            .needs("g", &[M, N])
            .needs("l", &[M, M])
            .may_have("r", &[N, N])
            .gives("d", &[M, N])
            .set(Setting::choice("on", &PLACES, "where it is computed"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            shape: [inputs.size(M), inputs.size(N)],
            g: inputs.take("g"),
            l: inputs.take("l"),
            r: inputs.take_if_given("r"),
            place: inputs.settings.choice("on", &PLACES),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, n] = self.shape;
        let mut d = reference::multiply(&wide(&self.l), &wide(&self.g), m, m, n);
        if let Some(r) = &self.r {
            d = reference::multiply(&d, &wide(r), m, n, n);
        }
        Ok(Found::new().exact("d", [m, n], &d))
    }

    fn on_host(&self) -> Option<Result<Found, KernelFileError>> {
        match self.place {
            Place::Device => None,
            Place::Host => Some(self.in_host_memory()),
        }
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, n] = self.shape;
        let (l, mut d) = (context.upload(&self.l), context.upload(&self.g));
        let times = |a: &_, b: &_, k: usize| -> Result<_, KernelError> {
            let product = Product::row_major([m, k, n]);
            let products = Products::new(context, &[product], Strategy::Inferred)?;
            let out = context.upload(&vec![0f32; m * n]);
            multiply(context, &products, [a, b, &out], Scale::default())?;
            Ok(out)
        };
        d = times(&l, &d, m)?;
        if let Some(r) = &self.r {
            d = times(&d, &context.upload(r), n)?;
        }
        Ok(self.found(context.download("kronecker-apply", &d)?))
    }
}
