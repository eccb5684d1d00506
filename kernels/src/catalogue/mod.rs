//! Every kernel that streams over the arena, declared once: its name, in which forms it can be laid out, and a launch of it on
//! unstructured values with the least that it has to move. Benches, tuning, inspection and lists enumerate it.
//!
//! A family is a file here: its [`Kernel`]s, and their [`Sample`]s.

mod first_order;
mod formats;
mod gradients;
mod kronecker;
mod sonew;

use crate::arena::{Arena, Layout, Slots};
use crate::context::Context;
use crate::error::Error;
use crate::launch::Sweep;
use crate::precision::{HostFormat, Precision, Storage};
use crate::sonew::{Blueprint, Ghosts};

/// A kernel, and the forms that it can be laid out in. Its [`Strategy::Inferred`](crate::launch::Strategy::Inferred), or its caller,
/// asks for a tuned blueprint first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As the contract calls it.
    pub name: &'static str,
    /// Whether it is laid out for each band apart.
    pub banded: bool,
    /// Whether it eliminates, so that its blueprint says more than its sweep.
    pub eliminates: bool,
    /// Whether a team of units may take a run together ([`Sweep::team`]).
    pub teams: bool,
    /// Whether it reads f32 in 64-bit words too ([`Sweep::twins`]).
    pub twins: bool,
}

impl Kernel {
    /// One that walks over the arena, in one form.
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            banded: false,
            eliminates: false,
            teams: false,
            twins: false,
        }
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = first_order::kernels();
        all.extend(sonew::KERNELS);
        all.extend(kronecker::KERNELS);
        all.extend(formats::KERNELS);
        all.extend(gradients::KERNELS);
        all
    }

    /// The kernel of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|it| it.name == name)
    }

    /// Their names.
    pub fn names() -> Vec<&'static str> {
        Self::all().into_iter().map(|it| it.name).collect()
    }

    /// How it is laid out where nothing else is asked for: as tuned, or the default of the device. Without an elimination the
    /// sweep alone counts.
    pub fn blueprint<S: Precision>(self, context: &Context, band: usize) -> Blueprint {
        let mut blueprint = if self.eliminates {
            Blueprint::of::<S>(context, self.name, band)
        } else {
            let sweep = if self.teams {
                Sweep::measuring::<S>(context, self.name)
            } else if self.twins || self.banded {
                Sweep::of::<S>(context, self.name, band)
            } else {
                Sweep::plain::<S>(context, self.name)
            };
            Blueprint {
                sweep,
                unroll: true,
            }
        };
        // A default that others share may have a form that this kernel has not.
        blueprint.sweep.twins &= self.twins;
        blueprint
    }
}

/// Which checks of the contract hold a sample to its oracle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Those of this kernel,
    pub kernel: &'static str,
    /// whose case begins like this,
    pub case: String,
    /// among those of one band, if it is one of them.
    pub band: Option<usize>,
}

/// Launches of a kernel on unstructured values, one like the other.
pub struct Sample<'a> {
    /// The kernel.
    pub kernel: &'static str,
    /// Its variant.
    pub case: String,
    /// The least bytes that it has to read and write for each value of a tensor.
    pub bytes: usize,
    /// What it writes and depends on nothing but the values around.
    pub outputs: Vec<Arena>,
    /// How it is proven.
    pub proof: Proof,
    /// Launches it once.
    pub launch: Box<dyn FnMut() -> Result<(), Error> + 'a>,
}

/// What is done with each sample.
pub trait SampleVisitor {
    /// Why that fails.
    type Error: From<Error>;

    /// Whether the samples of a kernel are wanted: buffers are made for those only.
    fn wants(&self, kernel: &str) -> bool;

    /// Does it.
    ///
    /// # Errors
    /// Whatever it says.
    fn visit(&mut self, sample: Sample<'_>) -> Result<(), Self::Error>;
}

/// What samples are made on.
pub struct Ground<'a> {
    /// The device.
    pub context: &'a Context,
    /// The tensors.
    pub layout: &'a Layout,
    /// An arena of unstructured values in [−1, 1) for a seed, zeros between tensors.
    pub values: &'a dyn Fn(usize) -> Vec<f32>,
    /// Bands of the banded kernels.
    pub bands: &'a [usize],
    /// Whether the step of SONew is wanted with a graft too.
    pub grafts: bool,
}

/// Makes the samples of all kernels in a precision, one after the other.
///
/// # Errors
/// As the visitor, and what launches refuse.
pub fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    formats::samples::<P, V>(ground, visitor)?;
    gradients::samples::<P, V>(ground, visitor)?;
    first_order::samples::<P, V>(ground, visitor)?;
    sonew::graft::<P, V>(ground, visitor)?;
    kronecker::samples::<P, V>(ground, visitor)?;
    for &band in ground.bands {
        sonew::samples::<P, V>(ground, visitor, band)?;
    }
    Ok(())
}

impl Ground<'_> {
    fn filled<S: HostFormat>(&self, seed: usize) -> Result<Arena, Error> {
        let values = (self.values)(seed);
        Arena::from_values(self.context, self.layout, S::FORMAT, &values)
    }

    fn zeros<S: HostFormat>(&self) -> Arena {
        Arena::zeros(self.context, self.layout, S::FORMAT)
    }

    fn empty<S: HostFormat>(&self, count: usize) -> Vec<Arena> {
        (0..count).map(|_| self.zeros::<S>()).collect()
    }

    fn with_ghosts<S: HostFormat>(
        &self,
        count: usize,
        ghosts: Ghosts,
    ) -> Result<Vec<Arena>, Error> {
        let zeros = |_| Arena::zeros_with_ghosts(self.context, self.layout, S::FORMAT, ghosts);
        (0..count).map(zeros).collect()
    }

    fn slots(&self, sweep: Sweep) -> Slots {
        Slots::of(self.context, self.layout, sweep)
    }
}

/// What a launch writes.
fn outputs<'a>(
    params: impl IntoIterator<Item = &'a Arena>,
    states: impl IntoIterator<Item = &'a Arena>,
) -> Vec<Arena> {
    params.into_iter().chain(states).cloned().collect()
}

/// Bytes of `params` values of the parameters' format and `states` of the states'.
fn bytes<P: Precision>(params: usize, states: usize) -> usize {
    params * <P::Params as Storage>::BYTES + states * <P::State as Storage>::BYTES
}

/// The checks of `kernel` whose case begins with `case`, among those of all bands.
fn proof(kernel: &'static str, case: impl Into<String>) -> Proof {
    Proof {
        kernel,
        case: case.into(),
        band: None,
    }
}
