//! Every kernel against its f64 oracle, on the software driver.

/// Runs a generic function in every precision.
macro_rules! in_every_precision {
    ($run:ident($($argument:expr),*)) => {
        $run::<sonew_kernels::precision::F32>($($argument),*);
        $run::<sonew_kernels::precision::Bf16>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Mixed>($($argument),*);
        $run::<sonew_kernels::precision::F16>($($argument),*);
        $run::<sonew_kernels::precision::F16Mixed>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Compact>($($argument),*);
        $run::<sonew_kernels::precision::Bf16States>($($argument),*);
    };
}

#[path = "kernels/bench.rs"]
mod bench;
#[path = "kernels/contract.rs"]
mod contract;
#[path = "kernels/device_root.rs"]
mod device_root;
#[path = "kernels/extremes.rs"]
mod extremes;
#[path = "kernels/factor.rs"]
mod factor;
#[path = "kernels/failure.rs"]
mod failure;
#[path = "kernels/first_order.rs"]
mod first_order;
#[path = "kernels/formats.rs"]
mod formats;
#[path = "kernels/grouped.rs"]
mod grouped;
#[path = "kernels/identities.rs"]
mod identities;
#[path = "kernels/kronecker.rs"]
mod kronecker;
#[path = "kernels/matrices.rs"]
mod matrices;
#[path = "kernels/refusals.rs"]
mod refusals;
#[path = "kernels/statistics.rs"]
mod statistics;
#[path = "kernels/step.rs"]
mod step;
#[path = "kernels/update.rs"]
mod update;
