//! The precisions that are tested.

/// Runs a generic function in every precision, its first parameter.
macro_rules! in_every_precision {
    ($run:ident($($argument:expr),*)) => {
        in_every_precision!($run<>($($argument),*));
    };
    ($run:ident<$($more:ty),*>($($argument:expr),*)) => {
        $run::<sonew_kernels::precision::F32, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::Bf16, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Mixed, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::F16, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::F16Mixed, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::Bf16Compact, $($more),*>($($argument),*);
        $run::<sonew_kernels::precision::Bf16States, $($more),*>($($argument),*);
    };
}
