//! What can go wrong in configuring or stepping an optimizer.

use sonew_kernels::precision::PrecisionKind;

use crate::OptimizerConfig;
use crate::state::StateError;

/// An error of an optimizer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// No optimizer has this name.
    #[error(
        "no optimizer is called `{found}`; the names are {} and band-N-sonew with N from 0 to 32",
        names_without_bands()
    )]
    UnknownOptimizer {
        /// The name found.
        found: String,
    },
    /// The optimizer has no such setting.
    #[error("{optimizer} has no setting `{key}`; it has {known}")]
    UnknownSetting {
        /// The optimizer.
        optimizer: String,
        /// The key found.
        key: String,
        /// The keys it has.
        known: String,
    },
    /// A setting has a value of the wrong kind.
    #[error("{optimizer}: {key} = {found} cannot be read: {reason}")]
    Unreadable {
        /// The optimizer.
        optimizer: String,
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// What was expected.
        reason: String,
    },
    /// A setting lies outside its range.
    #[error("{optimizer}: {key} = {found:?} is out of range, expected {expected}")]
    Range {
        /// The optimizer.
        optimizer: String,
        /// The key.
        key: &'static str,
        /// The value found.
        found: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// A setting asks for what the library was built without.
    #[error(
        "{optimizer}: {found} needs the feature `{feature}` of sonew-optimizers, and this program was built without it; build it with `features = [\"{feature}\"]`, or set {instead}"
    )]
    NotBuilt {
        /// The optimizer.
        optimizer: String,
        /// What asks for it.
        found: String,
        /// The feature.
        feature: &'static str,
        /// Which settings do not need it.
        instead: &'static str,
    },
    /// The root of one factor failed more often in a row than is tolerated.
    #[error(
        "shampoo: tensor {tensor}, block {block}, {side} factor: {failures} failed roots in a row, the last with residual {residual:e} ({reason}); raise epsilon or tolerated-failures, or look for non-finite gradients"
    )]
    Root {
        /// The tensor.
        tensor: usize,
        /// The block within the tensor.
        block: usize,
        /// left or right.
        side: &'static str,
        /// Failures in a row.
        failures: u32,
        /// Why the last computation ended.
        reason: String,
        /// The last residual.
        residual: f64,
    },
    /// A group of tensors that is none.
    #[error("the group of tensors `{group}`: {reason}")]
    Group {
        /// The group, as far as it is known.
        group: String,
        /// What is wrong.
        reason: String,
    },
    /// A precision and a setting that does not go with it.
    #[error("{found} does not go with {precision}; expected {expected}")]
    Numerics {
        /// The precision.
        precision: PrecisionKind,
        /// The setting.
        found: String,
        /// What it needs.
        expected: &'static str,
    },
    /// A gradient was not finite, and the step was not taken.
    #[error(
        "step {step}: {count} gradients are NaN or infinite, the first in tensor {tensor} at {index}; try a smaller learning rate, or the policy that skips such steps (`NonFinite::Skip`)"
    )]
    NonFinite {
        /// The step, from 0 on.
        step: u64,
        /// The tensor of the first.
        tensor: usize,
        /// Its index there.
        index: usize,
        /// How many.
        count: u64,
    },
    /// A state cannot be read, or is not one of this optimizer.
    #[error(transparent)]
    State(#[from] StateError),
    /// A kernel refused or failed.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
}

/// The names but for the last, which stands for any band.
fn names_without_bands() -> String {
    match &OptimizerConfig::NAMES[..] {
        [names @ .., _] => names.join(", "),
        [] => String::new(),
    }
}
