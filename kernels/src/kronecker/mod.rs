//! Shampoo (Gupta et al., arXiv 1802.09568; Anil et al., arXiv 2002.09018): a matrix gradient G is preconditioned from
//! both sides by inverse roots of its Kronecker statistics.
//!
//! * statistics ([`statistics`]): L ← β₂ L + ω G Gᵀ, R ← β₂ R + ω Gᵀ G, with ω = 1−β₂, or 1 where β₂ = 1;
//! * roots ([`inverse_root`]): A^{−1/p} of A = S + ridge · I, p twice the number of axes;
//! * direction ([`direction`]): L^{−1/4} G R^{−1/4} for a matrix, S^{−1/2} g for a vector;
//! * descent ([`measure`], [`descend`]): the direction takes over the length of a graft's update, both have a momentum of their own.
//!
//! Which tensor is a matrix, a vector or neither, and how a large one is cut into blocks, says [`Blocking`].
//!
//! On a CPU adapter statistics, roots and directions are computed in host memory, as the products of the network are;
//! elsewhere by grouped products on the device ([`DeviceBlocking`], [`DeviceRoots`]). The descent is a kernel everywhere.

pub mod accuracy;
mod blocking;
mod descend;
mod device_root;
mod direction;
mod graft;
mod host_root;
mod longest_step;
mod measure;
mod on_device;
#[cfg(feature = "contract")]
pub mod reference;
mod root;
mod statistics;

pub use blocking::{Assignment, Block, Blocking, Factor, Limits, Side};
pub use descend::{DescentBuffers, descend};
pub use device_root::{DeviceRoots, RootProblem};
pub use direction::{Workspace, direction};
pub use graft::DescentRates;
pub use host_root::inverse_root;
pub use measure::{MeasureBuffers, measure};
pub use on_device::DeviceBlocking;
pub use root::{LARGEST_ORDER, Method, Ridge, Root, RootEvidence, RootHistory, Stop};
pub use statistics::statistics;
