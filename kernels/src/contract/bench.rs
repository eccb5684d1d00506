//! Inputs of the checks, and arenas to run them on.

use cubecl::server::Handle;

use super::outcome::Outcome;
use crate::arena::{Arena, Layout, Slots};
use crate::context::Context;
use crate::error::Error;
use crate::evidence::Evidence;
use crate::launch::Sweep;
use crate::noise;
use crate::precision::HostFormat;
use crate::sonew::Ghosts;

/// A device, and tensors in one arena.
pub(super) struct Bench<'a> {
    pub context: &'a Context,
    pub layout: Layout,
    lengths: Vec<usize>,
}

impl<'a> Bench<'a> {
    pub fn new(context: &'a Context, lengths: &[usize]) -> Result<Self, Error> {
        Ok(Self {
            context,
            layout: Layout::new(lengths)?,
            lengths: lengths.to_vec(),
        })
    }

    /// One value for each entry of each tensor.
    pub fn tensors(&self, value: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
        let fill = |(t, &n): (usize, &usize)| (0..n).map(|i| value(t, i)).collect();
        self.lengths.iter().enumerate().map(fill).collect()
    }

    /// Unstructured tensors that every format holds.
    pub fn dyadic(&self, seed: usize) -> Vec<Vec<f64>> {
        self.tensors(|t, i| dyadic(seed + t, i))
    }

    /// Tensors as an arena, each value rounded to the format.
    pub fn arena<S: HostFormat>(&self, tensors: &[Vec<f64>]) -> Result<Arena, Error> {
        let narrow: Vec<Vec<f32>> = tensors
            .iter()
            .map(|t| t.iter().map(|&x| x as f32).collect())
            .collect();
        Arena::of(self.context, &self.layout, S::FORMAT, &narrow)
    }

    /// An arena of zeros.
    pub fn empty<S: HostFormat>(&self) -> Arena {
        Arena::zeros(self.context, &self.layout, S::FORMAT)
    }

    /// Zeros with ghost columns.
    pub fn with_ghosts<S: HostFormat>(&self, ghosts: Ghosts) -> Result<Arena, Error> {
        Arena::zeros_with_ghosts(self.context, &self.layout, S::FORMAT, ghosts)
    }

    /// f32 zeros.
    pub fn values(&self, count: usize) -> Handle {
        self.context.upload(&vec![0f32; count])
    }

    /// Slots of evidence for a sweep over this arena.
    pub fn slots(&self, sweep: Sweep) -> Slots {
        Slots::of(self.context, &self.layout, sweep)
    }

    /// The tensors of an arena.
    pub fn read(&self, arena: &Arena) -> Result<Vec<Vec<f32>>, Error> {
        arena.tensors(self.context)
    }

    /// What was noted of values that are not finite: nothing, where all is right.
    pub fn nothing_noted(&self, slots: &Slots) -> Result<Outcome, Error> {
        let seen = Evidence::read(self.context, "contract", slots)?;
        let mut outcome = Outcome::named("values that are not finite");
        outcome.add(&[seen.count as f32], &[0.0], |_| 0.0);
        Ok(outcome)
    }
}

/// Unstructured values in [−1, 1).
pub(super) fn noise(seed: usize, i: usize) -> f64 {
    noise::noise(i + 1000 * seed)
}

/// Unstructured values of either sign from ¼ to 1, of seven binary digits: every format holds them, and squares of smaller
/// ones would underflow in f16.
pub(super) fn dyadic(seed: usize, i: usize) -> f64 {
    let x = noise(seed, i);
    x.signum() * (32.0 + (95.0 * x.abs()).floor()) / 128.0
}
