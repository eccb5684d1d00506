//! How a kernel is laid out on a device, as values. From what a device is to what a unit does:
//!
//! | word | says | who makes it |
//! |---|---|---|
//! | [`Profile`](crate::context::Profile) | what a device is good at: few units or many, host memory, wide words | the runtime |
//! | blueprint | how a kernel is laid out: a [`Sweep`] alone where it goes over the arena value by value, [`sonew::Blueprint`] where it eliminates, [`product::Blueprint`] for matrix products | inferred from the profile, the precision and the sizes |
//! | [`Tuned`] | blueprints that were measured to be fast on a device; they stand in for inferred ones | `sonew tune`, through the [`Context`](crate::context::Context) |
//! | [`Strategy`] | whose choice a blueprint is: the device's, or the caller's | the caller of a launch function |
//! | [`Sweep`] | the runs that the units take: vectors of some width, so many in a row, by a unit alone or a team | part of a blueprint |
//! | [`Grid`] | the launch as the driver sees it: cubes, units, buffers | the launch function, from the blueprint and the layout |
//! | [`sonew::Form`] | what a launch of SONew does: makes statistics or reads them, stages u for a graft or descends | the optimizer |
//! | `Plan`, `Tile` | all of this that is fixed when a kernel is compiled, for a walk and for a team | the launch function |
//! | `Reach` | how many vectors before and behind its own a run needs | the band, the rule of removal and the sweep |
//!
//! docs/kernels.md has the reasons, docs/glossary.md the private words (run, walk, tile, window, ghost, held, mark).
//!
//! [`sonew::Blueprint`]: crate::sonew::Blueprint
//! [`product::Blueprint`]: crate::product::Blueprint
//! [`sonew::Form`]: crate::sonew::Form

mod binding;
mod checks;
mod grid;
mod runs;
mod strategy;
mod sweep;
mod tuned;

pub(crate) use binding::*;
pub use grid::Grid;
pub(crate) use runs::{first_run, offset_of_unit, run_start, steps_within, stride_of_runs};
pub use strategy::Strategy;
pub(crate) use sweep::has_twin;
pub use sweep::{GHOST_UNITS, Sweep};
pub use tuned::{TileSpeed, Tuned, Tuning};
