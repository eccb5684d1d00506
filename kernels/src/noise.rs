//! The inputs of tests, contract and benches, which are the same on every machine.

/// The `i`-th of unstructured numbers in [−1, 1), each of which f32 holds. (A smooth sequence would make the statistics of a band
/// singular.) Two rounds of multiplication and rotation scramble i.
pub fn noise(i: usize) -> f64 {
    let mixed = (i as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    mixed as f64 / (1u64 << 23) as f64 - 1.0
}
