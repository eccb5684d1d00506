//! What the benches compute on.

/// Unstructured values in [−1, 1).
pub fn noise(i: usize) -> f32 {
    let mixed = (i as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    mixed as f32 / (1u64 << 23) as f32 - 1.0
}
