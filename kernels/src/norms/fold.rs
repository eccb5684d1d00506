//! What the units of a cube find together, in a fixed order.

use cubecl::prelude::*;

/// The sum of a value over the `units` units of a cube, a power of two of them.
#[cube]
pub(crate) fn cube_sum(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: usize,
) -> f32 {
    let unit = UNIT_POS as usize;
    // What was read of an earlier sum has been read by all.
    sync_cube();
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}

/// The largest of a value over the `units` units of a cube, a power of two of them.
#[cube]
pub(crate) fn cube_max(
    value: u32,
    shared: &mut SharedMemory<u32>,
    #[comptime] units: usize,
) -> u32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = max(shared[unit], other);
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}
