//! Sparsified Online Newton (Devvrit et al., arXiv 2311.10085): a preconditioner X = L D Lᵀ whose inverse agrees with
//! the gradient statistics H on a band, found column by column in closed form. docs/derivation.md derives the formulas.
//!
//! Band width b ≥ 0: b = 0 is diagonal, b = 1 tridiagonal. Per tensor, flattened, with I_j = {j+1, …, min(j+b, n)}:
//!
//! * statistics ([`statistics`]): H ← ρ H + ω P(g gᵀ), P keeping the diagonal and the b diagonals above it, and of a tensor
//!   whose rows are chains of their own ([`RowChains`]) nothing that couples two rows;
//! * factor ([`factor`]): ψ_j = H_{I_j I_j}⁻¹ H_{I_j j}, L_{I_j j} = −ψ_j, D_j⁻¹ = S_j = H_jj − ψ_jᵀ H_{I_j j}, the
//!   minimiser of −log det X + tr(X H) over matrices with that pattern (so X⁻¹ = H on the band and X = 0 off it), with
//!   edges cut where S_j is too small to trust (Algorithm 3);
//! * precondition ([`precondition`]): u = L D Lᵀ m̂, three elementwise sweeps and no recurrence.
//!
//! [`update`] does the last two and the descent in one launch over the whole arena without storing the factor, [`step`]
//! the statistics as well.
//!
//! Shapes: the diagonal of H, each of its b off-diagonals (entry i of the k-th couples i and i+1+k), the moment m, the
//! gradient and the parameters are arenas of one [`crate::arena::Layout`] layout.

mod blueprint;
mod elimination;
mod factor;
mod ghosts;
mod graft;
mod launch;
mod precondition;
mod rates;
#[cfg(feature = "contract")]
pub mod reference;
mod row_sum;
mod rows;
mod statistics;
mod step;
mod tables;
mod tile;
mod update;
mod walk;
mod window;

pub use blueprint::{Blueprint, EdgeRemoval, Form, Tolerance};
pub use factor::{FactorBuffers, factor};
pub use ghosts::Ghosts;
pub use graft::{GraftBuffers, apply_graft};
pub use precondition::{PreconditionBuffers, precondition};
pub use row_sum::largest_row_sum;
pub use rows::RowChains;
pub use statistics::{Decay, StatisticsBuffers, statistics};
pub use step::{StepBuffers, StepRates, step};
pub use update::{Damping, Descent, UpdateBuffers, update};
