//! Stochastic rounding: x becomes one of its two neighbours in the format, each with the probability that makes x the mean.
//! So a weight that receives updates below half a unit in its last place moves in expectation, where rounding to nearest
//! leaves it.
//!
//! The random numbers come from a counter: a hash of the seed, the step and the index of the value, in integer operations,
//! so that every backend and every launch geometry draws the same.

use cubecl::prelude::*;
use half::f16;

use super::{Native, Pairs, Storage};
use crate::evidence::magnitude_bits;

/// A format to which values are rounded at random.
// The macro adds functions to a trait that no comment reaches.
#[allow(missing_docs)]
#[cube]
pub trait Stochastic: Storage {
    /// A neighbour of x in the format, from 32 random bits; x itself if the format holds it. Infinities and NaN stay, and
    /// nothing finite becomes infinite that rounding to nearest would not make so.
    fn neighbour(x: f32, random: u32) -> f32;
}

#[cube]
impl Stochastic for Native<f32> {
    fn neighbour(x: f32, _random: u32) -> f32 {
        x
    }
}

/// |x| moved up by less than a unit of the digits that `mask` keeps, then cut off to them: in expectation |x|.
#[cube]
fn cut(x: f32, random: u32, #[comptime] mask: u32) -> f32 {
    let bits = u32::reinterpret(x);
    let moved = (bits + (random & mask)) & (u32::MAX - mask);
    // What is not finite, or would no longer be, is left to the rounding of the store. Both are looked at: the largest NaN
    // wraps around to 0.
    let infinity = 0x7f80_0000u32;
    let largest = max(magnitude_bits(x), moved & 0x7fff_ffffu32);
    f32::reinterpret(select(largest < infinity, moved, bits))
}

#[cube]
impl Stochastic for Pairs {
    fn neighbour(x: f32, random: u32) -> f32 {
        cut(x, random, 0xffffu32)
    }
}

#[cube]
impl Stochastic for Native<f16> {
    fn neighbour(x: f32, random: u32) -> f32 {
        // Below 2⁻¹⁴ the neighbours are 2⁻²⁴ apart, above they have 11 digits.
        let size = f32::abs(x);
        // 13 random bits, for a whole number of units and a fraction of these are exact in f32: what is less than 2⁻¹³ of
        // a unit is lost.
        let fraction = f32::cast_from(random >> 19u32) / 8192.0f32;
        let units = f32::floor(size * 16_777_216.0f32 + fraction);
        let small = units / 16_777_216.0f32;
        let signed = select(x < 0.0, -small, small);
        let cut = cut(x, random, 0x1fffu32);
        let beyond = f32::abs(cut) > 65504.0f32;
        // Overflow is left to the rounding of the store.
        let large = select(beyond, x, cut);
        select(size < 6.103_515_6e-5f32, signed, large)
    }
}

/// 32 bits that look random, of a counter: Ellis's "lowbias32" finaliser, twice.
#[cube]
pub(super) fn random_bits(index: u32, key: u32, step: u32) -> u32 {
    mixed(mixed(index ^ key) + step)
}

#[cube]
fn mixed(x: u32) -> u32 {
    let x = (x ^ (x >> 16u32)) * 0x7feb_352du32;
    let x = (x ^ (x >> 15u32)) * 0x846c_a68bu32;
    x ^ (x >> 16u32)
}
