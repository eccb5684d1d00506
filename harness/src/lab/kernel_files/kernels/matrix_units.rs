//! Matrix products by matrix units, of the parts that they take.

use half::f16;
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::reference;
use sonew_kernels::launch::Strategy;
use sonew_kernels::product::{Blueprint, Parts, Product, Products, Scale, multiply};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::Found;
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{K, KernelSpec, M, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::require_room;

const PARTS: [(&str, Parts); 4] = [
    ("three", Parts::Three),
    ("bf16", Parts::Bf16),
    ("f16", Parts::F16),
    ("tf32", Parts::Tf32),
];

/// Two matrices, and what of them is multiplied.
pub(in crate::lab::kernel_files) struct MatrixUnits {
    /// m, k, n.
    sides: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    parts: Parts,
}

/// What the parts of x are together.
fn held(x: f32, parts: Parts) -> f64 {
    let bits = x.to_bits();
    let held = match parts {
        Parts::Three => x,
        Parts::Bf16 => f32::from_bits(bits & 0xffff_0000),
        Parts::F16 => f16::from_f32(x).to_f32(),
        // Eleven bits of the significand, the nearest; a carry goes to the exponent.
        Parts::Tf32 if x.is_finite() => f32::from_bits((bits + 0x1000) & 0xffff_e000),
        Parts::Tf32 => x,
    };
    held.into()
}

impl Kernel for MatrixUnits {
    fn spec() -> KernelSpec {
        KernelSpec::new("matrix-units", "C = A B of the parts of A and B that matrix units take")
            .needs("a", &[M, K])
            .needs("b", &[K, N])
            .gives("c", &[M, N])
            .set(Setting::choice(
                "parts",
                &PARTS,
                "three bf16 of each entry, which have all its digits, or one factor: bf16 (the rest is cut off), f16 or tf32 (the nearest)",
            ))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            sides: [M, K, N].map(|axis| inputs.size(axis)),
            a: inputs.take("a"),
            b: inputs.take("b"),
            parts: inputs.settings.choice("parts", &PARTS),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let [m, k, n] = self.sides;
        let of =
            |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| held(x, self.parts)).collect() };
        let c = reference::multiply(&of(&self.a), &of(&self.b), m, k, n);
        Ok(Found::new().exact("c", [m, n], &c))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let [m, k, n] = self.sides;
        require_room(context, "matrix-units", m * n)?;
        let blueprint = Blueprint::choose(context, Some(self.parts), [[m, n]]);
        let product = Product::row_major([m, k, n]);
        let products = Products::new(context, &[product], Strategy::Forced(blueprint))?;
        let buffers = [&self.a, &self.b].map(|it| context.upload(it));
        let out = context.upload(&vec![0f32; m * n]);
        multiply(
            context,
            &products,
            [&buffers[0], &buffers[1], &out],
            Scale::default(),
        )?;
        let c = context.download("matrix-units", &out)?;
        Ok(Found::new().values("c", [m, n], c))
    }
}
