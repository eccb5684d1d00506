//! Conversions on the device, bit for bit against the `half` crate.

use cubecl::prelude::*;
use half::{bf16, f16};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sonew_kernels::context::Grid;
use sonew_kernels::precision::{HostFormat, Native, Pairs, Storage};

use crate::bench::{Bench, R};

const WIDTH: usize = 4;
const UNITS: usize = 64;

#[cube(launch_unchecked)]
fn widen_kernel<S: Storage, N: Size, W: Size>(
    from: &Array<Vector<S::Word, N>>,
    to: &mut Array<Vector<f32, W>>,
    vectors: u32,
) {
    if ABSOLUTE_POS < vectors as usize {
        let values = S::load::<N>(from, ABSOLUTE_POS, WIDTH);
        let mut vector = Vector::<f32, W>::empty();
        #[unroll]
        for lane in 0..WIDTH {
            vector[lane] = *values.index(lane);
        }
        to[ABSOLUTE_POS] = vector;
    }
}

#[cube(launch_unchecked)]
fn round_kernel<S: Storage, N: Size, W: Size>(
    from: &Array<Vector<f32, W>>,
    to: &mut Array<Vector<S::Word, N>>,
    vectors: u32,
) {
    if ABSOLUTE_POS < vectors as usize {
        let vector = from[ABSOLUTE_POS];
        let mut values = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..WIDTH {
            values.push(vector[lane]);
        }
        S::store::<N>(to, ABSOLUTE_POS, &values, WIDTH);
    }
}

/// The bits of `values` (16 each) widened on the device.
fn widened<S: HostFormat>(bench: &Bench, bits: &[u16]) -> Vec<u32> {
    let vectors = bits.len() / WIDTH;
    let (from, to) = (bench.context.upload(bits), bench.values(bits.len()));
    let grid = Grid {
        cubes: vectors.div_ceil(UNITS) as u32,
        units: UNITS as u32,
        buffers: 3,
    };
    let launch = |client: &ComputeClient<R>, cubes, units| {
        // SAFETY: both buffers hold `vectors` vectors, and units beyond them do nothing.
        unsafe {
            widen_kernel::launch_unchecked::<S, R>(
                client,
                cubes,
                units,
                WIDTH / S::PER_WORD,
                WIDTH,
                ArrayArg::from_raw_parts(from.clone(), vectors),
                ArrayArg::from_raw_parts(to.clone(), vectors),
                vectors as u32,
            );
        }
    };
    let name = core::any::type_name::<S>();
    bench.context.launch("widen", name, grid, launch).unwrap();
    bench.context.download("test", &to).unwrap()
}

/// `values` rounded on the device; 16 bits each.
fn rounded<S: HostFormat>(bench: &Bench, values: &[f32]) -> Vec<u16> {
    let vectors = values.len() / WIDTH;
    let (from, to) = (bench.context.upload(values), bench.values(values.len() / 2));
    let grid = Grid {
        cubes: vectors.div_ceil(UNITS) as u32,
        units: UNITS as u32,
        buffers: 3,
    };
    let launch = |client: &ComputeClient<R>, cubes, units| {
        // SAFETY: both buffers hold `vectors` vectors, and units beyond them do nothing.
        unsafe {
            round_kernel::launch_unchecked::<S, R>(
                client,
                cubes,
                units,
                WIDTH / S::PER_WORD,
                WIDTH,
                ArrayArg::from_raw_parts(from.clone(), vectors),
                ArrayArg::from_raw_parts(to.clone(), vectors),
                vectors as u32,
            );
        }
    };
    let name = core::any::type_name::<S>();
    bench.context.launch("round", name, grid, launch).unwrap();
    bench.context.download("test", &to).unwrap()
}

/// 10⁶ f32 of any bits, then those on which rounding is decided: zeros, infinities, NaN, denormals, and around every tie.
fn inputs() -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut values: Vec<f32> = (0..1_000_000)
        .map(|_| f32::from_bits(random.random()))
        .collect();
    for bits in 0..=u16::MAX {
        let upper = u32::from(bits) << 16;
        // The tie of bf16 and its neighbours.
        values.extend([0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(upper | low)));
    }
    for bits in 0..0x7c00u16 {
        // The tie between two f16 and its neighbours.
        let (low, high) = (
            f16::from_bits(bits).to_f32(),
            f16::from_bits(bits + 1).to_f32(),
        );
        let tie = 0.5 * (low + high.min(65536.0));
        values.extend([tie, tie.next_down(), -tie, -tie.next_up()]);
    }
    values.truncate(values.len() / WIDTH * WIDTH);
    values
}

#[test]
fn every_bf16_is_widened_exactly_and_rounded_back_to_itself() {
    let bench = Bench::open();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let wide = widened::<Pairs>(&bench, &all);
    for (bits, found) in all.iter().zip(&wide) {
        assert_eq!(u32::from(*bits) << 16, *found, "{bits:#06x}");
    }
    let values: Vec<f32> = wide.iter().map(|&bits| f32::from_bits(bits)).collect();
    for (bits, found) in all.iter().zip(rounded::<Pairs>(&bench, &values)) {
        // A NaN comes back quiet.
        let expected = if bf16::from_bits(*bits).is_nan() {
            bits | 0x40
        } else {
            *bits
        };
        assert_eq!(expected, found, "{bits:#06x}");
    }
}

#[test]
fn f32_is_rounded_to_the_nearest_bf16_bit_for_bit() {
    let bench = Bench::open();
    let values = inputs();
    for (value, found) in values.iter().zip(rounded::<Pairs>(&bench, &values)) {
        let expected = bf16::from_f32(*value).to_bits();
        assert_eq!(expected, found, "{value:e} ({:#010x})", value.to_bits());
    }
}

#[test]
fn every_f16_is_widened_exactly_and_f32_is_rounded_to_the_nearest() {
    let bench = Bench::open();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for (bits, found) in all.iter().zip(widened::<Native<f16>>(&bench, &all)) {
        let expected = f16::from_bits(*bits).to_f32();
        let found = f32::from_bits(found);
        assert!(
            found == expected || (found.is_nan() && expected.is_nan()),
            "{bits:#06x}: {found:e}"
        );
    }
    let values = inputs();
    for (value, found) in values.iter().zip(rounded::<Native<f16>>(&bench, &values)) {
        let (expected, found) = (f16::from_f32(*value), f16::from_bits(found));
        let same = expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan());
        assert!(same, "{value:e}: {found:e} instead of {expected:e}");
    }
}

#[test]
fn the_host_rounds_as_the_device_does() {
    let values = [
        0.0,
        -0.0,
        1.0,
        1.003_906_3,
        1.0039,
        3.4e38,
        -1e-40,
        65519.0,
        f32::INFINITY,
    ];
    for value in values {
        let bytes = Pairs::encode(&[value]);
        assert_eq!(Pairs::decode(&bytes), [bf16::from_f32(value).to_f32()]);
        assert_eq!(Pairs::rounded(value), bf16::from_f32(value).to_f32());
        let bytes = Native::<f16>::encode(&[value]);
        assert_eq!(
            Native::<f16>::decode(&bytes),
            [f16::from_f32(value).to_f32()]
        );
    }
}
