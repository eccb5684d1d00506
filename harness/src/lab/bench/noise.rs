//! What the benches compute on.

use rayon::prelude::*;
use sonew_kernels::noise;
use sonew_optimizers::Layout;

/// Values that a thread makes at once.
const PART: usize = 1 << 16;

/// Unstructured values in [−1, 1).
pub fn noise(i: usize) -> f32 {
    noise::noise(i) as f32
}

/// Tensors of such values in an arena.
pub fn arena(layout: &Layout, seed: usize) -> Vec<f32> {
    let mut values = vec![0f32; layout.arena_len()];
    for tensor in layout.tensors() {
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
