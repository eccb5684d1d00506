//! ‖x‖ of values whose squares f32 may not hold: Σ (x / 2ᵉ)², with e the exponent of the largest so far.
//!
//! Scaling by a power of two loses nothing, so that the sum has the digits of Σ x² wherever that neither overflows nor
//! underflows, and those of 2ᵏ x everywhere (Blue 1978, "A portable Fortran program to find the Euclidean norm of a
//! vector", with a running scale instead of three).

use cubecl::prelude::*;

use crate::evidence::magnitude_bits;

/// The exponents of 2⁻¹²⁶ and 2¹²⁶ in the bits of f32: a scale and its reciprocal are both normal.
const LEAST: u32 = 1 << 23;
const MOST: u32 = 253 << 23;
const ONE: u32 = 127 << 23;

/// A length in the making, in registers.
#[derive(CubeType)]
pub(crate) struct Length {
    squares: f32,
    /// The bits of 2ᵉ.
    unit: u32,
}

/// The bits of the unit for values of at most that magnitude. What is not finite stays so in any unit.
#[cube]
pub(crate) fn unit_of(largest: u32) -> u32 {
    clamp(largest & comptime!(0xffu32 << 23), LEAST, MOST)
}

/// 1 / 2ᵉ.
#[cube]
pub(crate) fn inverse(unit: u32) -> f32 {
    f32::reinterpret(comptime!(2 * ONE) - unit)
}

#[cube]
impl Length {
    /// Of nothing.
    pub(crate) fn new() -> Length {
        Length {
            squares: 0.0f32,
            unit: LEAST.runtime(),
        }
    }

    /// ‖x‖.
    pub(crate) fn root(&self) -> f32 {
        self.squares.sqrt() * f32::reinterpret(self.unit)
    }
}

/// Adds the values of a vector.
#[cube]
pub(crate) fn extend(length: &mut Length, values: &Sequence<f32>, #[comptime] width: usize) {
    let mut largest = 0u32;
    #[unroll]
    for lane in 0..width {
        largest = max(largest, magnitude_bits(*values.index(lane)));
    }
    let unit = max(length.unit, unit_of(largest));
    // 0 once the old unit is nothing beside the new one.
    let shrink = f32::reinterpret(ONE - min(unit - length.unit, ONE));
    length.squares = length.squares * shrink * shrink;
    let scale = inverse(unit);
    #[unroll]
    for lane in 0..width {
        let x = *values.index(lane) * scale;
        length.squares += x * x;
    }
    length.unit = unit;
}
