//! Why nothing was timed.

/// Why nothing was timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A kernel computes something else than its oracle, so its time is of no interest.
    #[error(
        "{} in {precision} is wrong, so it is not timed: {what} is off by {error:.1e}, of {allowed:.1e} allowed; \
         `sonew verify --kernel {kernel}` says more",
        named(kernel, case)
    )]
    Wrong {
        /// The kernel.
        kernel: &'static str,
        /// Its variant.
        case: String,
        /// The precision.
        precision: &'static str,
        /// Which value.
        what: String,
        /// |found − expected|.
        error: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// A kernel computes something else in a large arena than in a window of it alone.
    #[error(
        "{} in {precision} is wrong on a large arena, so nothing is said of it: value {at} of the arena {output} that it writes has other bits than where it sees {window} values around that one alone",
        named(kernel, case)
    )]
    Window {
        /// The kernel.
        kernel: String,
        /// Its variant.
        case: String,
        /// The precision.
        precision: &'static str,
        /// Which arena, counted from 1.
        output: usize,
        /// Which value of the tensor, from 0.
        at: usize,
        /// Values of a window.
        window: usize,
    },
    /// A kernel that no check covers is not timed.
    #[error("no check of the contract covers {}", named(kernel, case))]
    Unproven {
        /// The kernel.
        kernel: &'static str,
        /// Its variant.
        case: String,
    },
    /// A process that was to take the first step of training did not.
    #[error("the first step of training in a process of its own was not taken: {reason}")]
    FirstStep {
        /// What it said.
        reason: String,
    },
    /// No such kernel is timed.
    #[error("no kernel that is called `{kernel}` is timed; those that are: {known}")]
    Unknown {
        /// What was asked for.
        kernel: String,
        /// What there is.
        known: String,
    },
    /// No blueprint of a kernel runs.
    #[error("no blueprint of {kernel} runs on this device; the first was refused: {reason}")]
    NoCandidate {
        /// The kernel.
        kernel: &'static str,
        /// Why the first of them does not.
        reason: String,
    },
    /// Tiles of products were to be timed where there are none.
    #[error(
        "beside a software driver products run in host memory, not in tiles; `sonew tune product` wants a GPU (--device)"
    )]
    NoTiles,
    /// A buffer would be larger than the device's largest.
    #[error(
        "{values} values need buffers of {bytes} bytes, and the largest of this device has {largest}; ask for a smaller --size"
    )]
    TooLarge {
        /// Values in one arena.
        values: usize,
        /// What its buffers need.
        bytes: u64,
        /// What the device has.
        largest: u64,
    },
    /// A kernel.
    #[error(transparent)]
    Kernel(#[from] sonew_kernels::error::Error),
    /// An optimizer.
    #[error(transparent)]
    Optimizer(#[from] sonew_optimizers::Error),
    /// The network.
    #[error(transparent)]
    Network(#[from] crate::workloads::autoencoder::network::NetworkError),
    /// Following a run in f64.
    #[error(transparent)]
    Training(#[from] crate::train::TrainError),
}

/// A kernel and its variant, if it has any.
fn named(kernel: &str, case: &str) -> String {
    format!("{kernel} {case}").trim_end().into()
}
