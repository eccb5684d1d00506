//! The first-order rules.

use std::marker::PhantomData;

use super::{Ground, Kernel, Sample, SampleVisitor, bytes, outputs, proof};
use crate::first_order::{Buffers, FirstOrder, Hyper, NAMES, RuleVisitor, descend, each_rule};
use crate::launch::{Strategy, Sweep};
use crate::precision::Precision;

pub(super) fn kernels() -> Vec<Kernel> {
    let of = |name: &&'static str| Kernel {
        twins: true,
        ..Kernel::new(name)
    };
    NAMES.iter().map(of).collect()
}

const HYPER: Hyper = Hyper {
    lr: 1e-6,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-3,
    weight_decay: 0.0,
    step: 10,
};

pub(super) fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    struct Each<'a, 'g, P, V: SampleVisitor> {
        ground: &'a Ground<'g>,
        visitor: &'a mut V,
        so_far: Result<(), V::Error>,
        precision: PhantomData<P>,
    }
    impl<P: Precision, V: SampleVisitor> RuleVisitor for Each<'_, '_, P, V> {
        type Output = ();
        fn visit<L: FirstOrder>(&mut self) {
            if self.so_far.is_ok() {
                self.so_far = sample::<L, P, V>(self.ground, self.visitor);
            }
        }
    }
    let mut each = Each::<P, V> {
        ground,
        visitor,
        so_far: Ok(()),
        precision: PhantomData,
    };
    each_rule(&mut each);
    each.so_far
}

fn sample<L: FirstOrder, P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    if !visitor.wants(L::NAME) {
        return Ok(());
    }
    let (params, grads) = (
        ground.filled::<P::Params>(1)?,
        ground.filled::<P::Params>(2)?,
    );
    let states = ground.empty::<P::State>(L::STATES.len());
    let evidence = ground.slots(Sweep::of::<P>(ground.context, L::NAME, 0));
    visitor.visit(Sample {
        kernel: L::NAME,
        case: String::new(),
        // Gradients are read, parameters and states read and written.
        bytes: bytes::<P>(3, 2 * states.len()),
        outputs: outputs([&params], &states),
        proof: proof(L::NAME, ""),
        launch: Box::new(|| {
            let buffers = Buffers {
                params: &params,
                grads: &grads,
                states: &states,
                rates: None,
                evidence: &evidence,
            };
            descend::<L, P>(ground.context, buffers, HYPER, Strategy::Inferred)
        }),
    })
}
