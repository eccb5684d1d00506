//! Optimizers over one parameter arena: SONew of any band width, Shampoo, and the first-order baselines.
//!
//! An optimizer is made from its settings ([`Sonew`], [`Shampoo`] or [`FirstOrder`]) for a device ([`Context`]) and an arena
//! layout ([`Layout`]), owns its states, and moves parameters with [`Optimizer::step`]. The learning rate is an argument of the step, not a
//! state. The number of launches of a step does not depend on the number of tensors, and a step does not wait for the
//! device (Shampoo's does where its products or roots run on the host); [`Optimizer::report`] does, when somebody wants to know what
//! the last step saw.
//!
//! ```no_run
//! # use std::rc::Rc;
//! # use sonew_optimizers::{Arena, Context, Graft, PrecisionKind, Layout, Sonew};
//! # fn f(context: Rc<Context>, weights: &[f32]) -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::new(&[weights.len()])?;
//! let precision = PrecisionKind::F32;
//! let params = Arena::of(&context, &layout, precision.format(), &[weights])?;
//! let grads = Arena::filled(&context, &layout, precision.format(), 0.1);
//! let sonew = Sonew::tridiagonal().beta2(0.99).graft(Graft::Adam);
//! let mut optimizer = sonew.build(precision, context, &layout)?;
//! optimizer.step(&params, &grads, 1e-4)?;
//! println!("{:?}", optimizer.report()?);
//! # Ok(()) }
//! ```
//!
//! Without features everything runs that runs on the device. The feature `host` brings what Shampoo computes in host memory: on CPU
//! adapters, and wherever it is told to; without it such settings are [`Error::NotBuilt`].
//!
//! [`OptimizerConfig`] is any of them. It knows them by their names, and their settings by the keys of the command line:
//!
//! ```
//! # use sonew_optimizers::{Error, OptimizerConfig, Sonew};
//! let mut config = OptimizerConfig::named("tridiag-sonew")?;
//! config.set("beta2", "0.99")?;
//! assert_eq!(config, Sonew::tridiagonal().beta2(0.99).into());
//! # Ok::<(), Error>(())
//! ```
//!
//! A [`Recipe`] is an optimizer and what stands around its step: the mean of several gradients, clipping, the average of the weights, and
//! [`Group`]s of tensors with settings of their own.
//!
//! What a run needs to go on where it was are its weights and the optimizer's [`State`]:
//!
//! ```no_run
//! # use std::rc::Rc;
//! # use sonew_optimizers::{Context, FirstOrder, Group, Layout, Optimizer, PrecisionKind, Recipe, Sonew, State};
//! # fn f(context: Rc<Context>) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::from(Sonew::tridiagonal())
//!     .group(Group::named("b*").weight_decay(0.0).lr(0.5))
//!     .group(Group::named("embedding").optimizer(FirstOrder::adam()));
//! let tensors = [("embedding", vec![80, 24]), ("w0", vec![64, 24]), ("b0", vec![64])];
//! let layout = recipe.arrange(&Layout::named(tensors)?)?;
//! let mut optimizer = recipe.build(PrecisionKind::F32, context.clone(), &layout)?;
//! let bytes = optimizer.state()?.to_bytes()?;
//! let mut resumed = recipe.build(PrecisionKind::F32, context, &layout)?;
//! resumed.load_state(&State::of_bytes(&bytes)?)?;
//! # Ok(()) }
//! ```

mod averaged;
mod config;
mod error;
mod first_order;
mod gradients;
mod groups;
mod numerics;
mod recipe;
mod report;
mod settings;
mod shampoo;
mod sonew;
mod state;

pub use config::OptimizerConfig;
pub use error::Error;
pub use first_order::{FirstOrder, FirstOrderKind};
pub use gradients::Gradients;
pub use groups::{Chains, Group, Pattern};
pub use numerics::{LossScale, NonFinite, Numerics, StateFormat, WeightRounding};
pub use recipe::Recipe;
pub use report::{RootsReport, StepReport};
pub use settings::Setting;
pub use shampoo::{FactorFormat, ProductsPlace, RidgeForm, RootChoice, Shampoo};
pub use sonew::{PrecisionGamma, RelativeGamma, Sonew, StatisticsForm};
pub use sonew_kernels::arena::{Arena, Layout};
pub use sonew_kernels::context::{Context, Profile, Units};
pub use sonew_kernels::error::Error as KernelError;
pub use sonew_kernels::graft::Graft;
pub use sonew_kernels::kronecker::Method;
pub use sonew_kernels::launch::Grid;
pub use sonew_kernels::precision::{Format, Precision, PrecisionKind, PrecisionVisitor};
pub use sonew_kernels::sonew::EdgeRemoval;
pub use state::{Archive, Keeper, State, StateArray, StateError};

use std::time::Duration;

/// Moves the parameters of one arena.
pub trait Optimizer {
    /// Takes one step with learning rate `lr` ≥ 0: updates the states from `grads` and `params` from the states, both of
    /// the layout and in the format that the optimizer was built for.
    ///
    /// Only enqueues work, but for Shampoo with products or roots on the host. Non-finite gradients are counted
    /// ([`StepReport`]) and spoil the tensor they belong to, no other; Shampoo stops when a root fails too often because of
    /// them.
    ///
    /// # Errors
    /// An arena of another layout or format, or a learning rate that is negative or not finite, before anything has moved. The
    /// failure of a kernel's first launch, and [`Error::Root`] of Shampoo: states may have moved by then, so the
    /// optimizer is of no further use. Later failures of launches come out where results are read.
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error>;

    /// What the last step saw. Waits for the device.
    ///
    /// # Errors
    /// The failure of any launch since the last check; [`Error::Root`] of Shampoo with roots on the device.
    fn report(&self) -> Result<StepReport, Error>;

    /// Steps taken.
    fn steps(&self) -> u64;

    /// Tells `keeper` every state by its name, in the same order each time: how an optimizer declares them.
    ///
    /// # Errors
    /// Those of the keeper.
    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error>;

    /// The state after the last step, from which another optimizer of the same settings and tensors goes on with the same
    /// bits. Waits for the device, and changes nothing.
    ///
    /// # Errors
    /// The failure of any launch since the last check.
    fn state(&mut self) -> Result<State, Error> {
        let mut state = State::default();
        self.keep(&mut Keeper::taking(&mut state))?;
        Ok(state)
    }

    /// Goes on from a state, of any device, backend and blueprint.
    ///
    /// # Errors
    /// [`Error::State`] with what is missing, too much, of another shape or found with another setting; nothing has changed then.
    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let mut keeper = Keeper::comparing(state);
        self.keep(&mut keeper)?;
        keeper.require_all_met()?;
        self.keep(&mut Keeper::loading(state))
    }

    /// Gradients that were gathered for a step that is yet to come. A call that adds to them moves neither weights nor states.
    fn pending(&self) -> u64 {
        0
    }

    /// Gradients whose mean a step takes: a call that has this many with those that are pending takes one.
    fn gradients_per_step(&self) -> u64 {
        1
    }

    /// The moving average of the weights in the format of the parameters, if one is kept and a step was taken: of the f32 weights where
    /// steps are taken on such. In f32 the average itself, which the next step moves; otherwise a copy. Does not wait.
    ///
    /// # Errors
    /// The failure of a launch that rounds it.
    fn averages(&self) -> Result<Option<Arena>, Error> {
        Ok(None)
    }

    /// What the loss is to be multiplied by before its gradient is taken; the next step divides by it.
    fn loss_scale(&self) -> f64 {
        1.0
    }

    /// Bytes of state per parameter of the model: what a checkpoint would have to hold, pads, gaps and ghost columns not
    /// counted.
    fn state_bytes_per_parameter(&self) -> f64;

    /// Bytes of scratch per parameter beside the states; what is smaller than the model itself is not counted.
    fn scratch_bytes_per_parameter(&self) -> f64;

    /// Host time spent so far in the parts of a step, for optimizers that wait between them.
    fn parts(&self) -> Vec<(&'static str, Duration)> {
        Vec::new()
    }

    /// How each tensor is treated, in words, for optimizers that tell tensors apart.
    fn assignments(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles those of the chapter on the library.
#[cfg(doctest)]
#[doc = include_str!("../../docs/library.md")]
struct Chapter;
