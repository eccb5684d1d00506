//! Values of a format in host memory: what a buffer of [`Storage`] holds, and back.

use half::{bf16, f16};

use super::{Format, Native, Pairs, Storage};
use crate::host::each_part;

/// A format that the host can write and read, value by value.
pub trait HostFormat: Storage {
    /// The format, as a value.
    const FORMAT: Format;
    /// The name of the format.
    const NAME: &'static str;
    /// u, the largest relative error of rounding to the format: 2⁻ᵖ with p significant bits.
    const ROUNDOFF: f64;
    /// The exponent of the least normal number.
    const LEAST_EXPONENT: i32;

    /// The bytes of `values`, each rounded to the format (to nearest, ties to even), in whole words of [`Storage::Word`]: an odd
    /// number of bf16 has a zero behind it.
    fn encode(values: &[f32]) -> Vec<u8>;

    /// The values of `bytes`, widened; behind an odd number of bf16 that which fills its word.
    fn decode(bytes: &[u8]) -> Vec<f32>;

    /// x rounded to the format.
    fn rounded(x: f32) -> f32;

    /// Rounds all values, shared between the threads of the machine with the feature `host`.
    fn round_all(values: &mut [f32]) {
        each_part(values, |part| {
            part.iter_mut().for_each(|x| *x = Self::rounded(*x));
        });
    }
}

impl HostFormat for Native<f32> {
    const FORMAT: Format = Format::F32;
    const NAME: &'static str = "f32";
    const ROUNDOFF: f64 = 1.0 / (1u64 << 24) as f64;
    const LEAST_EXPONENT: i32 = -126;

    fn encode(values: &[f32]) -> Vec<u8> {
        bytemuck::cast_slice(values).to_vec()
    }

    fn decode(bytes: &[u8]) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(bytes)
    }

    fn rounded(x: f32) -> f32 {
        x
    }

    fn round_all(_: &mut [f32]) {}
}

macro_rules! half_format {
    ($storage:ty, $half:ty, $format:ident, $digits:literal, $least:literal) => {
        impl HostFormat for $storage {
            const FORMAT: Format = Format::$format;
            const NAME: &'static str = stringify!($half);
            const ROUNDOFF: f64 = 1.0 / (1u64 << $digits) as f64;
            const LEAST_EXPONENT: i32 = $least;

            fn encode(values: &[f32]) -> Vec<u8> {
                let missing = (!values.len().is_multiple_of(Self::PER_WORD)).then_some(&0.0);
                let values = values.iter().chain(missing);
                let halves = values.map(|&x| <$half>::from_f32(x).to_le_bytes());
                halves.flatten().collect()
            }

            fn decode(bytes: &[u8]) -> Vec<f32> {
                let halves = bytes.as_chunks().0.iter();
                halves
                    .map(|&x| <$half>::from_le_bytes(x).to_f32())
                    .collect()
            }

            fn rounded(x: f32) -> f32 {
                <$half>::from_f32(x).to_f32()
            }
        }
    };
}

half_format!(Native<f16>, f16, F16, 11, -14);
half_format!(Pairs, bf16, Bf16, 8, -126);
