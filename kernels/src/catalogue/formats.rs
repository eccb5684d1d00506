//! What stands around a step: conversions, and the look at a gradient.

use super::{Ground, Kernel, Sample, SampleVisitor, bytes, outputs, proof};
use crate::launch::{Strategy, Sweep};
use crate::precision::{
    HostFormat, Native, Precision, Storage, convert, inspect, round_stochastically,
};

pub(super) const KERNELS: [Kernel; 3] = [
    Kernel::new("inspect"),
    Kernel::new("convert"),
    Kernel::new("stochastic-rounding"),
];

pub(super) fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    conversion::<P, V>(ground, visitor)?;
    draws::<P, V>(ground, visitor)?;
    inspection::<P, V>(ground, visitor)
}

/// From the format of the parameters to f32.
fn conversion<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "convert";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let format = <P::Params as HostFormat>::NAME;
    let context = ground.context;
    let from = ground.filled::<P::Params>(0)?;
    let to = ground.zeros::<Native<f32>>();
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
    visitor.visit(Sample {
        kernel,
        case: format!("{format} to f32"),
        bytes: bytes::<P>(1, 0) + 4,
        outputs: outputs([], [&to]),
        proof: proof(kernel, format),
        launch: Box::new(|| convert::<P::Params, Native<f32>>(context, &from, &to, sweep)),
    })
}

/// From f32 to the format of the parameters, to one of the neighbours of each value.
fn draws<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "stochastic-rounding";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let from = ground.filled::<Native<f32>>(0)?;
    let to = ground.zeros::<P::Params>();
    let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
    visitor.visit(Sample {
        kernel,
        case: format!("to {}", <P::Params as HostFormat>::NAME),
        bytes: <P::Params as Storage>::BYTES + 4,
        // What it draws depends on where a value lies.
        outputs: Vec::new(),
        proof: proof(kernel, ""),
        launch: Box::new(|| round_stochastically::<P::Params>(context, &from, &to, 5, 3, sweep)),
    })
}

/// A gradient looked at, widened and scaled.
fn inspection<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "inspect";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let grads = ground.filled::<P::Params>(2)?;
    let to = ground.zeros::<Native<f32>>();
    let sweep = Sweep::plain::<P>(context, kernel);
    let slots = ground.slots(sweep);
    let sweep = Strategy::Forced(sweep);
    visitor.visit(Sample {
        kernel,
        case: "scaled".into(),
        bytes: bytes::<P>(1, 0) + 4,
        outputs: outputs([], [&to]),
        proof: proof(kernel, ""),
        launch: Box::new(|| inspect::<P::Params>(context, &grads, Some(&to), 0.25, &slots, sweep)),
    })
}
