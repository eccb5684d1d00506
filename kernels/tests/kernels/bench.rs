//! The test bench: one device, arenas in and out, inputs and tolerances.

use cubecl::server::Handle;
use sonew_kernels::arena::Segments;
use sonew_kernels::arena::Slots;
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::evidence::Evidence;
use sonew_kernels::precision::HostFormat;

use crate::software::{self, Turn};

/// Half a unit in the last place of f32, 2⁻²⁴: the relative error of one rounding.
pub const ROUNDING: f64 = 5.960_464_477_539_063e-8;

/// The software driver, held by one test at a time.
pub struct Bench {
    pub context: Context,
    _turn: Turn,
}

impl Bench {
    pub fn open() -> Self {
        let (client, turn) = software::open();
        Self {
            context: Context::new(client, Profile::LLVMPIPE),
            _turn: turn,
        }
    }

    /// Tensors as an arena on the device.
    pub fn arena(&self, segments: &Segments, tensors: &[Vec<f64>]) -> Handle {
        let narrow: Vec<Vec<f32>> = tensors
            .iter()
            .map(|t| t.iter().map(|&x| x as f32).collect())
            .collect();
        let slices: Vec<&[f32]> = narrow.iter().map(Vec::as_slice).collect();
        self.context.upload(&segments.gather(&slices).unwrap())
    }

    pub fn values_in<S: HostFormat>(&self, count: usize) -> Handle {
        self.context.upload(&S::encode(&vec![0.0; count]))
    }

    pub fn zeros(&self, segments: &Segments) -> Handle {
        self.context.upload(&vec![0f32; segments.arena_len()])
    }

    pub fn values(&self, count: usize) -> Handle {
        self.context.upload(&vec![0f32; count])
    }

    /// Slots for any launch of these tests.
    pub fn slots(&self) -> Slots {
        Slots::new(&self.context, 1 << 15)
    }

    pub fn read(&self, segments: &Segments, arena: &Handle) -> Vec<Vec<f32>> {
        segments.scatter(&self.context.download::<f32>("test", arena).unwrap())
    }

    pub fn evidence(&self, slots: &Slots) -> Evidence {
        Evidence::read(&self.context, "test", slots).unwrap()
    }
}

/// Tensor lengths: 1, 2, b, b+1 for every band tested, round, prime, and around a block.
pub const LENGTHS: &[usize] = &[1, 2, 4, 5, 10, 11, 1000, 1009, 223, 224, 225, 256, 257];

/// Unstructured values in [−1, 1).
pub fn noise(seed: usize, i: usize) -> f64 {
    sonew_kernels::noise::noise(i + 1000 * seed)
}

/// Values that f32 holds exactly, so that oracle and kernel start from the same numbers.
pub fn exact(x: f64) -> f64 {
    f64::from(x as f32)
}

pub fn tensors(lengths: &[usize], f: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    lengths
        .iter()
        .enumerate()
        .map(|(t, &n)| (0..n).map(|i| exact(f(t, i))).collect())
        .collect()
}

/// Asserts |found − expected| ≤ tolerance · (|expected| + scale) everywhere.
#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, scale: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths differ");
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(f) - e).abs();
        assert!(
            error <= tolerance * (e.abs() + scale),
            "{what}: value {i} is {f:e}, expected {e:e}, error {error:e}"
        );
    }
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| most.max(x.abs()))
}
