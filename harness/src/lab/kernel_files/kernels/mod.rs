//! The declarations: one type a kernel, with its inputs as fields. To add one is a type and a line, here or in its file's `entries`.

mod banded;
mod coded;
mod first_order;
mod formats;
mod gradients;
mod graft_length;
mod inverse_root;
mod kronecker;
mod kronecker_descent;
mod matrix_units;
mod network;
mod norms;
mod product;
mod sonew_graft;
mod sonew_step;
mod statistics;
mod stochastic;

use super::table::Entry;

/// A switch.
const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];

/// All declarations, in the order of lists.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries = first_order::entries();
    entries.push(Entry::of::<statistics::Statistics>());
    entries.extend(banded::entries());
    entries.extend([
        Entry::of::<sonew_step::SonewStep>(),
        Entry::of::<sonew_graft::SonewGraft>(),
        Entry::of::<norms::Norms>(),
        Entry::of::<kronecker::KroneckerStatistics>(),
        Entry::of::<inverse_root::InverseRoot>(),
        Entry::of::<kronecker::KroneckerApply>(),
        Entry::of::<kronecker_descent::KroneckerDescent>(),
        Entry::of::<network::Dense>(),
        Entry::of::<coded::Table>(),
        Entry::of::<coded::Softmax>(),
        Entry::of::<product::Product>(),
        Entry::of::<matrix_units::MatrixUnits>(),
        Entry::of::<formats::Convert>(),
        Entry::of::<stochastic::StochasticRounding>(),
        Entry::of::<formats::Inspect>(),
        Entry::of::<formats::ArenaMove>(),
    ]);
    entries.extend(gradients::entries());
    entries
}
