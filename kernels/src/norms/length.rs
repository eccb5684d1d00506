//! ‖x‖ of values whose squares f32 may not hold: Σ (x / 2ᵉ)², with e the exponent of the largest so far.
//!
//! Scaling by a power of two loses nothing, so that the sum has the digits of Σ x² wherever that neither overflows nor
//! underflows, and those of 2ᵏ x everywhere (Blue 1978, "A portable Fortran program to find the Euclidean norm of a
//! vector", with a running scale instead of three).
//!
//! The order in which a block of an arena is added up is fixed, so that its norm does not depend on who does it: the squares of each
//! [`PART`] of four values first, and those sums in their order. In what unit does not matter: the largest value of a block has
//! a square of at least 1 in the end, beside which what underflows is nothing.

use cubecl::prelude::*;

use crate::arena::BLOCK;
use crate::evidence::magnitude_bits;

/// The exponents of 2⁻¹²⁶ and 2¹²⁶ in the bits of f32: a scale and its reciprocal are both normal.
const LEAST: u32 = 1 << 23;
const MOST: u32 = 253 << 23;
const ONE: u32 = 127 << 23;

/// Values of a part.
pub(crate) const PART: usize = 4;

/// Parts of a block.
pub(crate) const PARTS: usize = BLOCK / PART;

/// A length in the making, in registers.
#[derive(CubeType)]
pub(crate) struct Length {
    pub squares: f32,
    /// The bits of 2ᵉ.
    pub unit: u32,
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

    /// The squares in a unit that is no smaller.
    pub(crate) fn in_unit(&self, unit: u32) -> f32 {
        // 0 once the old unit is nothing beside the new one.
        let shrink = f32::reinterpret(ONE - min(unit - self.unit, ONE));
        self.squares * shrink * shrink
    }
}

/// Adds a value.
#[cube]
pub(crate) fn add(length: &mut Length, value: f32) {
    let unit = max(length.unit, unit_of(magnitude_bits(value)));
    length.squares = length.in_unit(unit);
    let x = value * inverse(unit);
    length.squares += x * x;
    length.unit = unit;
}

/// Adds the sum of other squares.
#[cube]
pub(crate) fn merge(length: &mut Length, other: &Length) {
    let unit = max(length.unit, other.unit);
    length.squares = length.in_unit(unit) + other.in_unit(unit);
    length.unit = unit;
}

/// Adds `count` values from `first` on, whose squares are summed first.
#[cube]
fn extend(
    length: &mut Length,
    values: &Sequence<f32>,
    #[comptime] first: usize,
    #[comptime] count: usize,
) {
    let mut largest = 0u32;
    #[unroll]
    for i in 0..count {
        largest = max(largest, magnitude_bits(*values.index(comptime!(first + i))));
    }
    let unit = max(length.unit, unit_of(largest));
    let scale = inverse(unit);
    let mut squares = 0.0f32;
    #[unroll]
    for i in 0..count {
        let x = *values.index(comptime!(first + i)) * scale;
        squares += x * x;
    }
    length.squares = length.in_unit(unit) + squares;
    length.unit = unit;
}

/// The norm of a block in the making, by a unit that takes its vectors one after another.
#[derive(CubeType)]
pub(crate) struct BlockLength {
    part: Length,
    whole: Length,
}

#[cube]
impl BlockLength {
    /// Of nothing.
    pub(crate) fn new() -> BlockLength {
        BlockLength {
            part: Length::new(),
            whole: Length::new(),
        }
    }

    /// ‖x‖ of the parts so far.
    pub(crate) fn root(&self) -> f32 {
        self.whole.root()
    }
}

/// Adds the vector `at` of an arena, which may complete parts. Where the unit does not see all of a block, `each` part goes to
/// `norms`: its `channel` of `channels`, the sum of its squares and their unit.
#[cube]
pub(crate) fn measure_vector(
    length: &mut BlockLength,
    norms: &mut Array<f32>,
    values: &Sequence<f32>,
    at: usize,
    #[comptime] width: usize,
    #[comptime] each: bool,
    #[comptime] channel: usize,
    #[comptime] channels: usize,
) {
    if comptime!(width >= PART) {
        #[unroll]
        for half in 0..comptime!(width / PART) {
            if comptime!(each) {
                let mut part = Length::new();
                extend(&mut part, values, comptime!(half * PART), PART);
                let index = at * comptime!(width / PART) + half - PARTS;
                write_part(norms, index * channels + channel, &part);
            } else {
                extend(&mut length.whole, values, comptime!(half * PART), PART);
            }
        }
    } else {
        let per_part = comptime!(PART / width);
        #[unroll]
        for lane in 0..width {
            add(&mut length.part, *values.index(lane));
        }
        // Vectors of a part are a power of two.
        if (at + 1) & comptime!(PART / width - 1) == 0 {
            if comptime!(each) {
                let index = at / per_part - PARTS;
                write_part(norms, index * channels + channel, &length.part);
            } else {
                merge(&mut length.whole, &length.part);
            }
            length.part.squares = 0.0;
            length.part.unit = LEAST.runtime();
        }
    }
}

#[cube]
fn write_part(norms: &mut Array<f32>, index: usize, part: &Length) {
    norms[2 * index] = part.squares;
    norms[2 * index + 1] = f32::reinterpret(part.unit);
}

/// What [`measure_vector`] wrote of `each` part.
#[cube]
pub(crate) fn read_part(norms: &Array<f32>, index: usize) -> Length {
    Length {
        squares: norms[2 * index],
        unit: u32::reinterpret(norms[2 * index + 1]),
    }
}

/// Numbers of shared memory for the parts of so many blocks: their squares, then their units. The blocks lie in different banks.
pub(crate) const fn shared_parts(blocks: usize) -> usize {
    2 * blocks * (PARTS + 1)
}

/// Shows the parts of a unit's vector, the `position`-th of those that a cube has in whole `blocks`, from `first` on.
#[cube]
pub(crate) fn show_parts(
    shared: &mut SharedMemory<f32>,
    first: usize,
    position: usize,
    values: &Sequence<f32>,
    #[comptime] width: usize,
    #[comptime] blocks: usize,
) {
    #[unroll]
    for half in 0..comptime!(width / PART) {
        let mut part = Length::new();
        extend(&mut part, values, comptime!(half * PART), PART);
        let index = position * comptime!(width / PART) + half;
        let place = first + index + index / PARTS;
        shared[place] = part.squares;
        shared[place + comptime!(blocks * (PARTS + 1))] = f32::reinterpret(part.unit);
    }
}

/// The norm of the `block`-th of `blocks` blocks of a cube, from the parts that its units have shown; `of_arena` are those of the
/// arena.
#[cube]
pub(crate) fn of_block(
    shared: &SharedMemory<f32>,
    first: usize,
    block: usize,
    of_arena: usize,
    #[comptime] blocks: usize,
) -> f32 {
    let start = first + block * comptime!(PARTS + 1);
    let units = start + comptime!(blocks * (PARTS + 1));
    // A bound that no compiler knows: unrolled, all parts are in registers at once, and few units have room for that.
    let parts = min(of_arena * PARTS, PARTS);
    let mut whole = Length::new();
    for part in 0..parts {
        whole.unit = max(whole.unit, u32::reinterpret(shared[units + part]));
    }
    for part in 0..parts {
        let squares = Length {
            squares: shared[start + part],
            unit: u32::reinterpret(shared[units + part]),
        };
        whole.squares += squares.in_unit(whole.unit);
    }
    whole.root()
}
