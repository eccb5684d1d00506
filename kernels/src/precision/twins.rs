//! f32 read and written two at a time, as a 64-bit word.
//!
//! The bytes are those of an array of f32. A software driver takes the values of a vector one after the other, each with its own
//! check and branch, so that half as many words are about half the time (`sonew tune`).

use cubecl::prelude::*;

use super::{Format, HostFormat, Native, Stochastic, Storage};

/// f32, two values in a u64 word: the first in the lower half.
pub struct Twins;

#[cube]
impl Storage for Twins {
    type Word = u64;
    const PER_WORD: usize = 2;
    const BYTES: usize = 4;

    fn load<N: Size>(
        from: &Array<Vector<u64, N>>,
        at: usize,
        #[comptime] width: usize,
    ) -> Sequence<f32> {
        let vector = from[at];
        let mut values = Sequence::<f32>::new();
        #[unroll]
        for word in 0..comptime!(width / 2) {
            values.push(f32::reinterpret(u32::cast_from(vector[word])));
            values.push(f32::reinterpret(u32::cast_from(vector[word] >> 32u64)));
        }
        values
    }

    fn store<N: Size>(
        to: &mut Array<Vector<u64, N>>,
        at: usize,
        values: &Sequence<f32>,
        #[comptime] width: usize,
    ) {
        let mut vector = Vector::<u64, N>::empty();
        #[unroll]
        for word in 0..comptime!(width / 2) {
            let low = u32::reinterpret(*values.index(comptime!(2 * word)));
            let high = u32::reinterpret(*values.index(comptime!(2 * word + 1)));
            vector[word] = u64::cast_from(low) | (u64::cast_from(high) << 32u64);
        }
        to[at] = vector;
    }

    fn largest() -> f32 {
        f32::new(3.402_823_5e38)
    }

    fn nearest(x: f32) -> f32 {
        x
    }
}

#[cube]
impl Stochastic for Twins {
    fn neighbour(x: f32, _random: u32) -> f32 {
        x
    }
}

impl HostFormat for Twins {
    const FORMAT: Format = <Native<f32> as HostFormat>::FORMAT;
    const NAME: &'static str = <Native<f32> as HostFormat>::NAME;
    const LEAST_EXPONENT: i32 = <Native<f32> as HostFormat>::LEAST_EXPONENT;
    const ROUNDOFF: f64 = <Native<f32> as HostFormat>::ROUNDOFF;

    fn encode(values: &[f32]) -> Vec<u8> {
        Native::<f32>::encode(values)
    }

    fn decode(bytes: &[u8]) -> Vec<f32> {
        Native::<f32>::decode(bytes)
    }

    fn rounded(x: f32) -> f32 {
        x
    }

    fn round_all(_: &mut [f32]) {}
}
