//! SONew: its parts, everything in one launch, and the descent of a graft.

use super::{Ground, Kernel, Proof, Sample, SampleVisitor, bytes, outputs, proof};
use crate::arena::{Arena, Slots};
use crate::context::Context;
use crate::error::Error;
use crate::graft::Graft;
use crate::launch::{Strategy, Sweep};
use crate::norms::Reduction;
use crate::precision::Precision;
use crate::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, Ghosts, GraftBuffers, PreconditionBuffers,
    StatisticsBuffers, StepBuffers, StepRates, Tolerance, apply_graft, factor, precondition,
    statistics, step,
};

pub(super) const KERNELS: [Kernel; 5] = [
    Kernel {
        banded: true,
        twins: true,
        ..Kernel::new("statistics")
    },
    Kernel {
        banded: true,
        eliminates: true,
        teams: true,
        ..Kernel::new("banded-ldl")
    },
    Kernel {
        banded: true,
        ..Kernel::new("precondition")
    },
    Kernel {
        banded: true,
        eliminates: true,
        teams: true,
        twins: true,
        ..Kernel::new("sonew-step")
    },
    Kernel::new("sonew-graft"),
];

const RATES: StepRates = StepRates {
    lr: 1e-6,
    weight_decay: 0.0,
    beta1: 0.9,
    decay: Decay::Average(0.99),
    epsilon: 1e-2,
    corrections: (1.0, 1.0),
};
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0078,
};

/// Those of one band.
pub(super) fn samples<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
    band: usize,
) -> Result<(), V::Error> {
    accumulation::<P, V>(ground, visitor, band)?;
    elimination::<P, V>(ground, visitor, band)?;
    one_launch::<P, V>(ground, visitor, band)?;
    if band == 1 && ground.grafts {
        grafted::<P, V>(ground, visitor, band)?;
    }
    Ok(())
}

fn of_band(kernel: &'static str, case: impl Into<String>, band: usize) -> Proof {
    Proof {
        band: Some(band),
        ..proof(kernel, case)
    }
}

/// Moment, diagonal and edges, as the statistics write them.
fn statistics_of<'a>(
    states: &'a [Arena],
    grads: &'a Arena,
    evidence: &'a Slots,
) -> StatisticsBuffers<'a> {
    StatisticsBuffers {
        grads,
        moment: &states[0],
        diagonal: &states[1],
        edges: &states[2..],
        rows: None,
        evidence,
    }
}

fn accumulation<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
    band: usize,
) -> Result<(), V::Error> {
    let kernel = "statistics";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let context = ground.context;
    let grads = ground.filled::<P::Params>(2)?;
    let states = ground.empty::<P::State>(2 + band);
    let evidence = ground.slots(Sweep::of::<P>(context, kernel, band));
    visitor.visit(Sample {
        kernel,
        case: format!("band {band}"),
        bytes: bytes::<P>(1, 2 * states.len()),
        outputs: outputs([], &states),
        proof: of_band(kernel, "", band),
        launch: Box::new(|| {
            let buffers = statistics_of(&states, &grads, &evidence);
            let (beta, decay) = (RATES.beta1, RATES.decay);
            statistics::<P>(context, buffers, beta, decay, Strategy::Inferred)
        }),
    })
}

/// The factor, and L D Lᵀ m by it.
fn elimination<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
    band: usize,
) -> Result<(), V::Error> {
    let wanted = ["banded-ldl", "precondition"].map(|kernel| visitor.wants(kernel));
    if wanted == [false, false] {
        return Ok(());
    }
    let context = ground.context;
    let (moment, grads) = (
        ground.filled::<P::State>(3)?,
        ground.filled::<P::Params>(2)?,
    );
    // Statistics of a gradient, which the first launch below damps.
    let h = ground.empty::<P::State>(2 + band);
    let evidence = ground.slots(Sweep::of::<P>(context, "statistics", band));
    let buffers = statistics_of(&h, &grads, &evidence);
    let decay = RATES.decay;
    statistics::<P>(context, buffers, 0.9, decay, Strategy::Inferred)?;
    let psi = ground.empty::<P::State>(band);
    let [d, direction] = [0; 2].map(|_| ground.zeros::<P::State>());
    let blueprint = Blueprint::of::<P>(context, "banded-ldl", band);
    let cut = ground.slots(blueprint.sweep);
    let proof = of_band("banded-ldl", "", band);
    let case = format!("band {band}");
    if wanted[0] {
        visitor.visit(Sample {
            kernel: "banded-ldl",
            case: case.clone(),
            bytes: bytes::<P>(0, 2 * (1 + band)),
            outputs: outputs([], psi.iter().chain([&d])),
            proof: proof.clone(),
            launch: Box::new(|| {
                let buffers = FactorBuffers {
                    diagonal: &h[1],
                    edges: &h[2..],
                    psi: &psi,
                    d: &d,
                    evidence: &cut,
                };
                let (removal, inferred) = (EdgeRemoval::of_band(band), Strategy::Inferred);
                factor::<P>(context, buffers, 1.0, 1e-2, GAMMA, removal, inferred)
            }),
        })?;
    }
    if wanted[1] {
        visitor.visit(Sample {
            kernel: "precondition",
            case,
            bytes: bytes::<P>(0, 3 + band),
            outputs: outputs([], [&direction]),
            proof,
            launch: Box::new(|| {
                let buffers = PreconditionBuffers {
                    psi: &psi,
                    d: &d,
                    moment: &moment,
                    direction: &direction,
                };
                precondition::<P>(context, buffers, Strategy::Inferred)
            }),
        })?;
    }
    Ok(())
}

/// What a step in one launch goes over.
struct Step {
    removal: EdgeRemoval,
    blueprint: Blueprint,
    params: Arena,
    grads: Arena,
    states: Vec<Arena>,
    non_finite: Slots,
    cut: Slots,
}

const STEP: &str = "sonew-step";

impl Step {
    fn new<P: Precision>(ground: &Ground<'_>, band: usize) -> Result<Self, Error> {
        let removal = EdgeRemoval::of_band(band);
        let blueprint = Blueprint::of::<P>(ground.context, STEP, band);
        let ghosts = Ghosts::new(ground.layout, band, removal, blueprint);
        let slots = || ground.slots(blueprint.sweep);
        Ok(Self {
            removal,
            blueprint,
            params: ground.filled::<P::Params>(1)?,
            grads: ground.filled::<P::Params>(2)?,
            states: ground.with_ghosts::<P::State>(2 + band, ghosts)?,
            non_finite: slots(),
            cut: slots(),
        })
    }

    fn launch<P: Precision>(
        &self,
        context: &Context,
        graft: Option<GraftBuffers<'_>>,
    ) -> Result<(), Error> {
        let buffers = StepBuffers {
            params: &self.params,
            graft,
            rates: None,
            rows: None,
            grads: &self.grads,
            moment: &self.states[0],
            diagonal: &self.states[1],
            edges: &self.states[2..],
            non_finite: &self.non_finite,
            cut: &self.cut,
        };
        let forced = Strategy::Forced(self.blueprint);
        step::<P>(context, buffers, RATES, GAMMA, self.removal, forced)
    }
}

/// Everything in one launch.
fn one_launch<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
    band: usize,
) -> Result<(), V::Error> {
    if !visitor.wants(STEP) {
        return Ok(());
    }
    let step = Step::new::<P>(ground, band)?;
    let proven = format!("band {band}, {:?}, unstructured", step.removal).to_lowercase();
    visitor.visit(Sample {
        kernel: STEP,
        case: format!("band {band}"),
        bytes: bytes::<P>(3, 2 * step.states.len()),
        outputs: outputs([&step.params], &step.states),
        proof: of_band(STEP, proven, band),
        launch: Box::new(|| step.launch::<P>(ground.context, None)),
    })
}

/// A step with the length of Adam's: everything up to u and the norms, the norms of tensors, the descent.
fn grafted<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
    band: usize,
) -> Result<(), V::Error> {
    if !visitor.wants(STEP) {
        return Ok(());
    }
    let Ground {
        context, layout, ..
    } = ground;
    let step = Step::new::<P>(ground, band)?;
    let sweep = step.blueprint.sweep;
    let direction = ground.zeros::<P::State>();
    let zeros = |count: usize| context.upload(&vec![0f32; count]);
    let of_blocks = zeros(sweep.norms(layout));
    let of_tensors = zeros(2 * layout.tensors().len());
    let reduction = Reduction::new(context, layout);
    let table = context.upload(&layout.tensor_of_block());
    visitor.visit(Sample {
        kernel: STEP,
        case: format!("band {band}, adam"),
        // Beside a plain step u, written and read once norms are known.
        bytes: bytes::<P>(3, 2 * (step.states.len() + 1)),
        // Not the parameters: how far they go depends on the whole tensor.
        outputs: outputs([], step.states.iter().chain([&direction])),
        proof: proof("sonew-graft", format!("band {band}, adam, in one launch")),
        launch: Box::new(|| {
            let graft = GraftBuffers {
                graft: Graft::Adam,
                epsilon: 1e-3,
                decay: 0.0,
                direction: &direction,
                norms: &of_blocks,
                grads: None,
                grad_norms: None,
                second: None,
            };
            step.launch::<P>(context, Some(graft))?;
            reduction.pairs_of_norms(context, &of_blocks, sweep, &of_tensors)?;
            let (lr, inferred) = (RATES.lr, Strategy::Inferred);
            let (params, norms) = (&step.params, &of_tensors);
            apply_graft::<P>(
                context, params, &direction, norms, &table, lr, 0.0, None, inferred,
            )
        }),
    })
}

/// The descent along a direction that was staged for a graft.
pub(super) fn graft<P: Precision, V: SampleVisitor>(
    ground: &Ground<'_>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let kernel = "sonew-graft";
    if !visitor.wants(kernel) {
        return Ok(());
    }
    let Ground {
        context, layout, ..
    } = ground;
    let (params, direction) = (
        ground.filled::<P::Params>(1)?,
        ground.filled::<P::State>(3)?,
    );
    let norms = context.upload(&vec![1f32; 2 * layout.tensors().len()]);
    let table = context.upload(&layout.tensor_of_block());
    visitor.visit(Sample {
        kernel,
        case: "descent".into(),
        bytes: bytes::<P>(2, 1),
        outputs: outputs([&params], []),
        proof: proof(kernel, ""),
        launch: Box::new(|| {
            let (lr, inferred) = (RATES.lr, Strategy::Inferred);
            apply_graft::<P>(
                context, &params, &direction, &norms, &table, lr, 0.0, None, inferred,
            )
        }),
    })
}
