//! Conversions on the device, bit for bit against the `half` crate.

use cubecl::prelude::*;
use half::{bf16, f16};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::launch::{Grid, Strategy};
use sonew_kernels::precision::{
    Format, HostFormat, Native, Pairs, Stochastic, Storage, round_stochastically,
};
use sonew_runtime::{Client, Gpu};

use crate::bench::Bench;

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
    let launch = |client: &Client, cubes, units| {
        // SAFETY: both buffers hold `vectors` vectors, and units beyond them do nothing.
        unsafe {
            widen_kernel::launch_unchecked::<S, Gpu>(
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
    let launch = |client: &Client, cubes, units| {
        // SAFETY: both buffers hold `vectors` vectors, and units beyond them do nothing.
        unsafe {
            round_kernel::launch_unchecked::<S, Gpu>(
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
        let rounded = bf16::from_f32(value).to_f32();
        let bytes = Pairs::encode(&[value, value]);
        assert_eq!(Pairs::decode(&bytes), [rounded, rounded]);
        // Half a word is none.
        assert_eq!(Pairs::decode(&Pairs::encode(&[value])), [rounded, 0.0]);
        assert_eq!(Pairs::rounded(value), bf16::from_f32(value).to_f32());
        let bytes = Native::<f16>::encode(&[value]);
        assert_eq!(
            Native::<f16>::decode(&bytes),
            [f16::from_f32(value).to_f32()]
        );
    }
}

fn neighbours_are_drawn_without_bias<S: HostFormat + Stochastic>(bench: &Bench) {
    let n = 4000;
    let layout = Layout::new(&[n]).unwrap();
    let round = |value: f32, step: u64| -> Vec<f32> {
        let from = Arena::filled(&bench.context, &layout, Format::F32, value);
        let to = bench.zeros_in::<S>(&layout);
        let inferred = Strategy::Inferred;
        round_stochastically::<S>(&bench.context, &from, &to, 5, step, inferred).unwrap();
        bench.read(&to).concat()
    };
    // Between two values of the format, at a fraction of 1/4, 1/2 and 0.9, above and below 0, and among the denormals of f16.
    for value in [
        1.000_976_6f32,
        1.003_906_3 / 3.0,
        -1.7,
        0.123_456,
        3e-6,
        -4.1e-7,
    ] {
        let held = S::rounded(value);
        let drawn = round(value, 1);
        let mut seen: Vec<f32> = drawn.clone();
        seen.sort_by(f32::total_cmp);
        seen.dedup();
        let (low, high) = (f64::from(seen[0]), f64::from(seen[seen.len() - 1]));
        let exact = f64::from(value);
        assert!(seen.contains(&held) && seen.len() <= 2, "{value}: {seen:?}");
        assert!(
            low <= exact && exact <= high,
            "{value} not in {low} to {high}"
        );
        let mean = drawn.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        // Five deviations of a mean of coins.
        assert!(
            (mean - exact).abs() <= 5.0 * 0.5 * (high - low) / (n as f64).sqrt(),
            "{value}: {mean}"
        );
        if seen.len() == 2 {
            assert!(
                round(value, 2) != drawn,
                "another step draws other neighbours"
            );
        }
    }
    let kept = [
        0.0,
        1.0,
        -0.5,
        1.0 / 65536.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e38,
        -65504.0,
    ];
    for value in kept.into_iter().filter(|x| S::rounded(*x) == *x) {
        assert!(round(value, 3).iter().all(|&x| x == value), "{value}");
    }
    for bits in [0x7fc0_0000, 0x7f80_0001, 0x7fff_ffff, 0xffff_ffff] {
        let rounded = round(f32::from_bits(bits), 3);
        assert!(rounded.iter().all(|x| x.is_nan()), "{bits:#x}");
    }
    // Beyond the largest value: whatever nearest makes of it.
    let beyond = if S::rounded(65519.0) == 65504.0 {
        65519.0
    } else {
        f32::MAX
    };
    assert!(
        round(beyond, 3).iter().all(|&x| x == S::rounded(beyond)),
        "{beyond}"
    );
}

#[test]
fn stochastic_rounding_draws_neighbours_without_bias() {
    let bench = Bench::open();
    neighbours_are_drawn_without_bias::<Pairs>(&bench);
    neighbours_are_drawn_without_bias::<Native<f16>>(&bench);
    neighbours_are_drawn_without_bias::<Native<f32>>(&bench);
}
