//! Gradients clipped and accumulated, and the average of the weights.

use super::{Ground, Kernel, Sample, SampleVisitor, bytes, outputs, proof};
use crate::first_order::average_weights;
use crate::gradients::{Clipping, accumulate, clip};
use crate::launch::{Strategy, Sweep};
use crate::precision::{Native, Precision};

pub(super) const KERNELS: [Kernel; 3] = [
    Kernel::new("clip"),
    Kernel::new("accumulate"),
    Kernel::new("average-weights"),
];

pub(super) fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    clipped::<P, V>(ground, visitor)?;
    accumulated::<P, V>(ground, visitor)?;
    averaged::<P, V>(ground, visitor)
}

/// By a factor on the device.
fn clipped<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "clip";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let grads = ground.filled::<P::Params>(2)?;
    let to = ground.zeros::<P::Params>();
    let global = context.upload(&[2.0f32, 0.5]);
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
    visitor.visit(Sample {
        kernel,
        case: "scaled".into(),
        bytes: bytes::<P>(2, 0),
        outputs: outputs([&to], []),
        proof: proof(kernel, ""),
        launch: Box::new(|| {
            let clipping = Clipping {
                bound: None,
                global: Some(&global),
            };
            clip(context, Some(&grads), &to, clipping, sweep)
        }),
    })
}

/// Added to a mean.
fn accumulated<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "accumulate";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let grads = ground.filled::<P::Params>(2)?;
    let mean = ground.zeros::<Native<f32>>();
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
    visitor.visit(Sample {
        kernel,
        case: String::new(),
        // The gradient is read, the mean read and written.
        bytes: bytes::<P>(1, 0) + 8,
        outputs: outputs([], [&mean]),
        proof: proof(kernel, ""),
        launch: Box::new(|| accumulate(context, &grads, &mean, 4, false, sweep)),
    })
}

/// Moved by the weights.
fn averaged<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "average-weights";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let weights = ground.filled::<P::Params>(1)?;
    let averages = ground.zeros::<Native<f32>>();
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
    visitor.visit(Sample {
        kernel,
        case: String::new(),
        bytes: bytes::<P>(1, 0) + 8,
        outputs: outputs([], [&averages]),
        proof: proof(kernel, ""),
        launch: Box::new(|| average_weights(context, &weights, &averages, 0.9, false, sweep)),
    })
}
