//! tanh, as the 13/6 rational minimax approximation that Eigen uses, as on the host: drivers differ in how they compute tanh, and
//! some overflow for large arguments.

use cubecl::prelude::*;

#[cube]
pub(crate) fn rational_tanh(x: f32) -> f32 {
    // Comparisons, not `clamp`: NaN passes through.
    let x = select(x > 7.905_311f32, 7.905_311f32, x);
    let x = select(x < -7.905_311f32, -7.905_311f32, x);
    let s = x * x;
    let p = -2.760_768_5e-16f32 * s + 2.000_188e-13f32;
    let p = p * s - 8.604_672e-11f32;
    let p = p * s + 5.122_297e-8f32;
    let p = p * s + 1.485_722_4e-5f32;
    let p = p * s + 6.372_619_3e-4f32;
    let p = p * s + 4.893_524_6e-3f32;
    let q = 1.198_258_4e-6f32 * s + 1.185_347_1e-4f32;
    let q = q * s + 2.268_434_6e-3f32;
    let q = q * s + 4.893_525e-3f32;
    x * p / q
}
