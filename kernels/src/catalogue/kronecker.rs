//! The descent of Shampoo; its products and roots do not stream over the arena.

use super::{Ground, Kernel, Sample, SampleVisitor, bytes, outputs, proof};
use crate::graft::Graft;
use crate::kronecker::{DescentBuffers, DescentRates, MeasureBuffers, descend, measure};
use crate::launch::{Strategy, Sweep};
use crate::precision::Precision;

pub(super) const KERNELS: [Kernel; 1] = [Kernel {
    teams: true,
    ..Kernel::new("kronecker-descent")
}];

const RATES: DescentRates = DescentRates {
    lr: 1e-6,
    weight_decay: 0.0,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-3,
    correction: 1.0,
};

/// Graft, momenta and descent: two launches.
pub(super) fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = KERNELS[0].name;
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let Ground {
        context, layout, ..
    } = ground;
    let (params, grads) = (
        ground.filled::<P::Params>(1)?,
        ground.filled::<P::Params>(2)?,
    );
    let direction = ground.filled::<P::State>(3)?;
    let [second, momentum, graft_momentum] = [0; 3].map(|_| ground.zeros::<P::State>());
    let sweep = Sweep::measuring::<P>(context, kernel);
    let of_blocks = context.upload(&vec![0f32; sweep.norms(layout)]);
    let evidence = ground.slots(sweep);
    let tensors = layout.tensors().len();
    let norms = context.upload(&vec![1f32; 2 * tensors]);
    let preconditioned = context.upload(&vec![1u32; tensors]);
    let table = context.upload(&layout.tensor_of_block());
    visitor.visit(Sample {
        kernel,
        case: "adam".into(),
        // The gradient, the direction and the second moment twice, the latter written once; momenta and parameters.
        bytes: bytes::<P>(4, 9),
        outputs: outputs([&params], [&second, &momentum, &graft_momentum]),
        proof: proof(kernel, "adam"),
        launch: Box::new(|| {
            let strategy = Strategy::Forced(sweep);
            let buffers = MeasureBuffers {
                grads: &grads,
                direction: &direction,
                second: Some(&second),
                grad_norms: None,
                norms: &of_blocks,
                tensor_of_block: &table,
                evidence: &evidence,
            };
            measure::<P>(context, buffers, Graft::Adam, RATES, strategy)?;
            let buffers = DescentBuffers {
                params: &params,
                grads: &grads,
                direction: &direction,
                second: Some(&second),
                grad_norms: None,
                norms: &norms,
                tensor_of_block: &table,
                preconditioned: &preconditioned,
                rates: None,
                momentum: &momentum,
                graft_momentum: &graft_momentum,
            };
            let graft = Graft::Adam;
            descend::<P>(context, buffers, graft, false, RATES, strategy)
        }),
    })
}
