//! bf16 on any device: two values in one u32 word, converted with integer operations.
//!
//! In memory that is what an array of bf16 is on a little-endian device, so nothing is lost where the device knows the
//! format, and the bits are the same where it does not. A value is the upper half of an f32; rounding is to nearest,
//! ties to even, overflow goes to infinity, NaN stays NaN.

use cubecl::prelude::*;

use super::{Arithmetic, Storage};

/// The bits of x rounded to bf16, in the lower half of the word.
#[cube]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = u32::reinterpret(x);
    let rounded = (bits + 0x7fffu32 + ((bits >> 16u32) & 1u32)) >> 16u32;
    // Rounding up the payload of a NaN could make it anything; it is made quiet instead.
    let quiet = (bits >> 16u32) | 0x40u32;
    select((bits & 0x7fff_ffffu32) > 0x7f80_0000u32, quiet, rounded)
}

/// x rounded to bf16.
#[cube]
fn to_bf16(x: f32) -> f32 {
    f32::reinterpret(bf16_bits(x) << 16u32)
}

/// bf16, two values in a u32 word: the first in the lower half.
pub struct Pairs;

#[cube]
impl Storage for Pairs {
    type Word = u32;
    const PER_WORD: usize = 2;
    const BYTES: usize = 2;

    fn load<N: Size>(
        from: &Array<Vector<u32, N>>,
        at: usize,
        #[comptime] width: usize,
    ) -> Sequence<f32> {
        let vector = from[at];
        let mut values = Sequence::<f32>::new();
        #[unroll]
        for word in 0..comptime!(width / 2) {
            values.push(f32::reinterpret(vector[word] << 16u32));
            values.push(f32::reinterpret(vector[word] & 0xffff_0000u32));
        }
        values
    }

    fn store<N: Size>(
        to: &mut Array<Vector<u32, N>>,
        at: usize,
        values: &Sequence<f32>,
        #[comptime] width: usize,
    ) {
        let mut vector = Vector::<u32, N>::empty();
        #[unroll]
        for word in 0..comptime!(width / 2) {
            let low = bf16_bits(*values.index(comptime!(2 * word)));
            let high = bf16_bits(*values.index(comptime!(2 * word + 1)));
            vector[word] = low | (high << 16u32);
        }
        to[at] = vector;
    }

    fn largest() -> f32 {
        f32::new(3.389_531_4e38)
    }

    fn nearest(x: f32) -> f32 {
        to_bf16(x)
    }
}

/// The result of each operation rounded to bf16.
pub struct RoundBf16;

#[cube]
impl Arithmetic for RoundBf16 {
    fn round(x: f32) -> f32 {
        to_bf16(x)
    }

    fn least_invertible() -> f32 {
        f32::new(1.175_494_4e-38)
    }

    fn largest_invertible() -> f32 {
        f32::new(8.507_059e37)
    }
}
