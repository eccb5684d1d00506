//! The kernels of SONew, Shampoo and the first-order optimizers, and what the autoencoder needs, written once in CubeCL
//! and generic over how a number is stored ([`precision::Storage`]) and computed with ([`precision::Arithmetic`]).
//!
//! * All tensors of a model lie in one buffer, the [`arena`], which knows its layout and format; a launch covers all of them.
//! * A launch function first checks that its arenas belong together and its numbers are in range, then launches unchecked; the
//!   first launch of each variant is proven ([`context`]).
//! * How a kernel is laid out on a device is a value ([`launch`]): inferred, or forced by a test. What a tuner found takes the
//!   place of what is inferred where the context was given it.
//! * A kernel is declared once ([`catalogue`]), with launches that show what it costs and the checks that hold it to its oracle.
//! * What a kernel noticed stays on the device until somebody reads it ([`evidence`]).
//! * Each family has an oracle, plain f64 loops from the formulas, in its `reference` module.
//!
//! Without features the library has the kernels and their launches, which is what trains on a GPU. `host` brings what CPU
//! adapters compute in host memory instead ([`host`]); `contract` the contract, the catalogue and the oracles, which verify.

pub mod arena;
#[cfg(feature = "contract")]
pub mod catalogue;
pub mod context;
#[cfg(feature = "contract")]
pub mod contract;
pub mod error;
pub mod evidence;
pub mod first_order;
pub mod gradients;
pub mod graft;
pub mod host;
pub mod kronecker;
pub mod launch;
pub mod network;
pub mod noise;
pub mod norms;
pub mod precision;
pub mod product;
pub mod sonew;
