//! What the benches compute on.

use rayon::prelude::*;
use sonew_optimizers::Segments;

/// Values that a thread makes at once.
const PART: usize = 1 << 16;

/// Unstructured values in [−1, 1).
pub fn noise(i: usize) -> f32 {
    let mixed = (i as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    mixed as f32 / (1u64 << 23) as f32 - 1.0
}

/// Tensors of such values in an arena.
pub fn arena(segments: &Segments, seed: usize) -> Vec<f32> {
    let mut values = vec![0f32; segments.arena_len()];
    for tensor in segments.tensors() {
        let parts = values[tensor.clone()].par_chunks_mut(PART).enumerate();
        parts.for_each(|(part, values)| {
            let first = tensor.start + part * PART + seed;
            for (at, value) in values.iter_mut().enumerate() {
                *value = noise(first + at);
            }
        });
    }
    values
}
