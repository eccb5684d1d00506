//! The declarations: one type a kernel, with its inputs as fields.

mod banded_ldl;
mod first_order;
mod formats;
mod graft_length;
mod inverse_root;
mod kronecker;
mod kronecker_descent;
mod matrix_units;
mod network;
mod norms;
mod precondition;
mod product;
mod sonew_graft;
mod sonew_step;
mod statistics;
mod stochastic;

pub(super) use banded_ldl::BandedLdl;
pub(super) use first_order::Descent;
pub(super) use formats::{Convert, Inspect};
pub(super) use inverse_root::InverseRoot;
pub(super) use kronecker::{KroneckerApply, KroneckerStatistics};
pub(super) use kronecker_descent::KroneckerDescent;
pub(super) use matrix_units::MatrixUnits;
pub(super) use network::Dense;
pub(super) use norms::Norms;
pub(super) use precondition::Precondition;
pub(super) use product::Product;
pub(super) use sonew_graft::SonewGraft;
pub(super) use sonew_step::SonewStep;
pub(super) use statistics::Statistics;
pub(super) use stochastic::StochasticRounding;

/// A switch.
const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];
