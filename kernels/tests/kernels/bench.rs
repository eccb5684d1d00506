//! The test bench: one device, arenas in and out, inputs and tolerances.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::evidence::Evidence;
use sonew_kernels::precision::{HostFormat, Native};
use sonew_kernels::sonew::Ghosts;

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

    /// Tensors as an arena of f32 on the device.
    pub fn arena(&self, layout: &Layout, tensors: &[Vec<f64>]) -> Arena {
        self.arena_in::<Native<f32>>(layout, tensors)
    }

    /// Tensors as an arena in a format.
    pub fn arena_in<S: HostFormat>(&self, layout: &Layout, tensors: &[Vec<f64>]) -> Arena {
        let narrow: Vec<Vec<f32>> = tensors
            .iter()
            .map(|t| t.iter().map(|&x| x as f32).collect())
            .collect();
        Arena::of(&self.context, layout, S::FORMAT, &narrow).unwrap()
    }

    pub fn zeros_in<S: HostFormat>(&self, layout: &Layout) -> Arena {
        Arena::zeros(&self.context, layout, S::FORMAT)
    }

    /// So many states of a step in one launch.
    pub fn states_in<S: HostFormat>(
        &self,
        count: usize,
        layout: &Layout,
        ghosts: Ghosts,
    ) -> Vec<Arena> {
        let state = |_| Arena::zeros_with_ghosts(&self.context, layout, S::FORMAT, ghosts);
        (0..count).map(state).collect::<Result<_, _>>().unwrap()
    }

    pub fn zeros(&self, layout: &Layout) -> Arena {
        self.zeros_in::<Native<f32>>(layout)
    }

    pub fn values(&self, count: usize) -> Handle {
        self.context.upload(&vec![0f32; count])
    }

    /// Slots for any launch of these tests.
    pub fn slots(&self) -> Slots {
        Slots::new(&self.context, 1 << 15)
    }

    pub fn read(&self, arena: &Arena) -> Vec<Vec<f32>> {
        arena.tensors(&self.context).unwrap()
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
