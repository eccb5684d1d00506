//! Stochastic rounding: x becomes one of its two neighbours in the format, each with the probability that makes x the mean.
//! So a weight that receives updates below half a unit in its last place moves in expectation, where rounding to nearest
//! leaves it.
//!
//! The random numbers come from a counter: a hash of the seed, the step and the index of the value, in integer operations,
//! so that every backend and every launch geometry draws the same.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use half::f16;

use super::{Native, Pairs, Storage};
use crate::buffers::{array, require_arena};
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::evidence::magnitude_bits;
use crate::segments::Segments;

const WIDTH: usize = 4;
/// Vectors of a unit: an arena is a whole number of blocks, and a unit takes one.
const RUN: usize = 64;
const UNITS: usize = 64;

/// A format to which values are rounded at random.
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
fn random_bits(index: u32, key: u32, step: u32) -> u32 {
    mixed(mixed(index ^ key) + step)
}

#[cube]
fn mixed(x: u32) -> u32 {
    let x = (x ^ (x >> 16u32)) * 0x7feb_352du32;
    let x = (x ^ (x >> 15u32)) * 0x846c_a68bu32;
    x ^ (x >> 16u32)
}

#[cube(launch_unchecked)]
fn round_kernel<B: Stochastic, N: Size, W: Size>(
    from: &Array<Vector<f32, W>>,
    to: &mut Array<Vector<B::Word, N>>,
    runs: u32,
    key: u32,
    step: u32,
) {
    let run = ABSOLUTE_POS;
    if run < runs as usize {
        for vector in 0..RUN {
            let at = run * RUN + vector;
            let values = <Native<f32> as Storage>::load::<W>(from, at, WIDTH);
            let mut rounded = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..WIDTH {
                let random = random_bits((at * WIDTH + lane) as u32, key, step);
                rounded.push(B::neighbour(*values.index(lane), random));
            }
            B::store::<N>(to, at, &rounded, WIDTH);
        }
    }
}

/// `to` ← `from`, an arena of f32, each value rounded to one of its neighbours; which, follows from `seed`, `step` and the
/// value's index alone.
///
/// # Errors
/// [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
pub fn round_stochastically<B: Stochastic, R: Runtime>(
    context: &Context<R>,
    segments: &Segments,
    from: &Handle,
    to: &Handle,
    seed: u64,
    step: u64,
) -> Result<(), Error> {
    let operation = "stochastic rounding";
    let n = segments.arena_len();
    require_arena::<Native<f32>>(operation, "from", from, n)?;
    require_arena::<B>(operation, "to", to, n)?;
    let (vectors, runs) = (n / WIDTH, n / (WIDTH * RUN));
    let grid = Grid {
        cubes: runs.div_ceil(UNITS) as u32,
        units: UNITS as u32,
        buffers: 3,
    };
    let key = (seed ^ (seed >> 32)) as u32;
    context.launch(operation, type_name::<B>(), grid, |client, cubes, units| {
        // SAFETY: both buffers were checked to hold the arena, and units beyond the last run do nothing.
        unsafe {
            round_kernel::launch_unchecked::<B, R>(
                client,
                cubes,
                units,
                WIDTH / B::PER_WORD,
                WIDTH,
                array::<R>(from, vectors),
                array::<R>(to, vectors),
                runs as u32,
                key,
                step as u32,
            );
        }
    })
}
