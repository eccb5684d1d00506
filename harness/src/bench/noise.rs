//! What the benches compute on.

use sonew_optimizers::Segments;

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
        for at in tensor.clone() {
            values[at] = noise(at + seed);
        }
    }
    values
}
