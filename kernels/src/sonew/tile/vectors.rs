//! Vectors of memory in and out of a unit's registers.

use cubecl::prelude::*;

use crate::precision::Storage;

/// Fills the first `count` values with zeros.
#[cube]
pub(super) fn zero(values: &mut Array<f32>, #[comptime] count: usize) {
    #[unroll]
    for i in 0..count {
        values[i] = 0.0;
    }
}

/// Reads a vector, if it is this unit's to read.
#[cube]
pub(super) fn read_if<S: Storage, N: Size>(
    mine: bool,
    into: &mut Array<f32>,
    from: &Array<Vector<S::Word, N>>,
    at: usize,
    #[comptime] width: usize,
) {
    if mine {
        read::<S, N>(into, from, at, 0usize, width);
    }
}

/// Stores a vector, if it is this unit's to write.
#[cube]
pub(super) fn store_if<S: Storage, N: Size>(
    mine: bool,
    to: &mut Array<Vector<S::Word, N>>,
    at: usize,
    values: &Sequence<f32>,
    #[comptime] width: usize,
) {
    if mine {
        S::store::<N>(to, at, values, width);
    }
}

/// Reads a vector into the `slot`-th of `into`.
#[cube]
pub(super) fn read<S: Storage, N: Size>(
    into: &mut Array<f32>,
    from: &Array<Vector<S::Word, N>>,
    at: usize,
    #[comptime] slot: usize,
    #[comptime] width: usize,
) {
    let values = S::load::<N>(from, at, width);
    #[unroll]
    for lane in 0..width {
        into[comptime!(slot * width) + lane] = *values.index(lane);
    }
}
