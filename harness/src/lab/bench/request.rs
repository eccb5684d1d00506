//! What is measured.

use std::time::Instant;

use sonew_kernels::catalogue::Kernel;
use sonew_kernels::contract::{Coverage, Formats};
use sonew_kernels::precision::PrecisionKind;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use super::BenchError;
use super::products::PRODUCT;
use super::stopwatch::Effort;
use crate::workloads::autoencoder::network::shapes;
use crate::workloads::autoencoder::weights::AUTOENCODER_SIZES;

/// What [`Request::kernels`] is for steps of the optimizers alone.
pub(super) const OPTIMIZER_STEP: &str = "optimizer-step";
/// What it is for steps of training alone.
pub(super) const TRAINING_STEP: &str = "training-step";

/// What it is for the first steps of the optimizers in a process alone.
pub const FIRST_USE: &str = "first-use";
/// What it is for the first step of training in this process, as `first-use` measures it in two of them.
pub const FIRST_STEP: &str = "first-step";
/// What it is for how a step of SONew grows with the number of parameters and with the band; part of a full measurement too.
pub(super) const SCALING: &str = "scaling";

/// What [`Request::kernels`] may be besides a kernel that can be tuned.
const OTHERS: [&str; 7] = [
    PRODUCT,
    "inverse-root",
    OPTIMIZER_STEP,
    TRAINING_STEP,
    FIRST_USE,
    FIRST_STEP,
    SCALING,
];

/// Names that [`Request::kernels`] may have.
pub fn names() -> Vec<&'static str> {
    [&Kernel::names()[..], &OTHERS].concat()
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Only these kernels, or steps of the optimizers, or of training; all if there are none.
    pub kernels: Vec<String>,
    /// In these precisions.
    pub precisions: Vec<PrecisionKind>,
    /// Lengths of the tensors, of each size.
    pub sizes: Vec<Vec<usize>>,
    /// Widths of SONew's band.
    pub bands: Vec<usize>,
    /// How long.
    pub effort: Effort,
    /// Whether kernels are held to their oracles first: always, where they are timed.
    pub proven: bool,
    /// Whether the step of SONew is measured with a graft too.
    pub grafts: bool,
    /// After which nothing more is begun, if ever.
    pub until: Option<Instant>,
}

impl Request {
    /// A look: the tensors of the autoencoder, and single tensors of other `sizes`.
    pub fn quick(precisions: Vec<PrecisionKind>, bands: Vec<usize>, sizes: Vec<usize>) -> Self {
        let others = sizes.into_iter().map(|n| vec![n]);
        Self {
            kernels: Vec::new(),
            precisions,
            sizes: std::iter::once(autoencoder()).chain(others).collect(),
            bands,
            effort: Effort::QUICK,
            proven: true,
            grafts: true,
            until: None,
        }
    }

    /// All that a device is known to have the memory for.
    pub fn full(context: &Context, info: &DeviceInfo) -> Self {
        let runs = |&precision: &PrecisionKind| {
            let coverage = Formats::from(precision).coverage(context);
            !matches!(coverage, Coverage::Unsupported { .. })
        };
        let mut sizes = vec![autoencoder(), vec![1 << 24]];
        // Twenty-six buffers of 512 MiB where the band is 10 wide.
        if info.memory_bytes.is_some_and(|bytes| bytes >= 24 << 30) {
            sizes.push(vec![1 << 27]);
        }
        Self {
            kernels: Vec::new(),
            precisions: PrecisionKind::ALL.into_iter().filter(runs).collect(),
            sizes,
            bands: vec![0, 1, 4, 10],
            effort: Effort::FULL,
            proven: true,
            grafts: true,
            until: None,
        }
    }

    /// Whether this is to be measured, and there is time to begin with it.
    pub fn asks(&self, kernel: &str) -> bool {
        let named = self.kernels.is_empty() || self.kernels.iter().any(|it| it == kernel);
        named && !self.is_late()
    }

    /// Whether its time is up.
    pub(super) fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Requires that there is such a kernel, and that the largest buffer is one that the device can have.
    ///
    /// # Errors
    /// [`BenchError::Unknown`] and [`BenchError::TooLarge`] if not.
    pub fn check(&self, info: &DeviceInfo) -> Result<(), BenchError> {
        let known = names();
        let unknown = |kernel: &&String| !known.contains(&kernel.as_str());
        if let Some(kernel) = self.kernels.iter().find(unknown) {
            return Err(BenchError::Unknown {
                kernel: kernel.clone(),
                known: known.join(", "),
            });
        }
        let values = self
            .sizes
            .iter()
            .map(|lengths| lengths.iter().sum::<usize>());
        let values = values.max().unwrap_or(0);
        // States hold some columns more than the tensors have values.
        let bytes = 5 * values as u64;
        if bytes <= info.max_buffer_bytes {
            return Ok(());
        }
        Err(BenchError::TooLarge {
            values,
            bytes,
            largest: info.max_buffer_bytes,
        })
    }
}

/// Lengths of the autoencoder's tensors.
pub fn autoencoder() -> Vec<usize> {
    let shapes = shapes(&AUTOENCODER_SIZES).into_iter();
    shapes.map(|shape| shape.iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_begun_after_the_time_is_up() {
        let mut request = Request::quick(vec![PrecisionKind::F32], vec![1], Vec::new());
        assert!(request.asks("adam"));
        request.kernels = vec!["sgd".into()];
        assert!(request.asks("sgd") && !request.asks("adam"));
        request.until = Some(Instant::now());
        assert!(!request.asks("sgd"));
    }
}
