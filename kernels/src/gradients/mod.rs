//! What becomes of gradients between the backward pass and the step: their mean over several batches, and clipping by value and
//! by the global norm ([`crate::norms::global_norm`]).
//!
//! Shapes: arenas of one [`crate::arena::Layout`]. A launch covers all tensors, and nothing waits for the device. Formats are values
//! here, those of the arenas: nothing else of a precision matters to a gradient.

mod accumulate;
mod clip;
pub mod reference;

pub use accumulate::accumulate;
pub use clip::{Clipping, clip};

/// The same expression of a format's type.
macro_rules! of_format {
    ($format:expr, $storage:ident => $expression:expr) => {
        match $format {
            $crate::precision::Format::F32 => {
                type $storage = $crate::precision::Native<f32>;
                $expression
            }
            $crate::precision::Format::Bf16 => {
                type $storage = $crate::precision::Pairs;
                $expression
            }
            $crate::precision::Format::F16 => {
                type $storage = $crate::precision::Native<half::f16>;
                $expression
            }
        }
    };
}

pub(crate) use of_format;
