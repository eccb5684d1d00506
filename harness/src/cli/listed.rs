//! Help texts that list what there is.

use sonew_kernels::catalogue::Kernel;
use sonew_optimizers::OptimizerConfig;

/// What `train` takes.
pub(super) fn optimizers() -> String {
    let [named @ .., _] = OptimizerConfig::NAMES;
    // The last stands for any band.
    format!("{} or band-N-sonew", named.join(", "))
}

/// What `tune` takes.
pub(super) fn tunable() -> String {
    let names = Kernel::names();
    let (last, others) = names.split_last().unwrap_or((&"none", &[]));
    format!(
        "The kernel: {} or {last}; or product, on a GPU: how fast it is with tiles of each form; or all of them, the important ones \
         first, each stored once it is found",
        others.join(", ")
    )
}
