//! What teams do beside the plain step, and the walks of single units: the same bits. Long, as every form has its
//! set-up here.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::evidence::PivotEvidence;
use sonew_kernels::graft::Graft;
use sonew_kernels::kronecker::{self, DescentBuffers, DescentRates, MeasureBuffers, measure};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::norms::{PerTensor, Reduction, norm_per_tensor};
use sonew_kernels::precision::{Bf16, F16, F32, HostFormat, Precision};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, FactorBuffers, Ghosts, GraftBuffers,
    StepBuffers, StepRates, UpdateBuffers, factor, largest_row_sum, step, update,
};

use crate::bench::*;
use crate::team::{GAMMA, LENGTHS, bits, gradient, team};

const GRAFTS: [Graft; 4] = [Graft::Sgd, Graft::Momentum, Graft::Adam, Graft::RmsProp];

/// Buffers of one precision.
struct Arenas<'a, P> {
    bench: &'a Bench,
    layout: Layout,
    precision: std::marker::PhantomData<P>,
}

impl<'a, P: Precision> Arenas<'a, P> {
    fn new(bench: &'a Bench) -> Self {
        Self {
            bench,
            layout: Layout::new(LENGTHS).unwrap(),
            precision: std::marker::PhantomData,
        }
    }

    fn arena<S: HostFormat>(&self, values: &[Vec<f64>]) -> Arena {
        self.bench.arena_in::<S>(&self.layout, values)
    }

    fn grads(&self, t: usize) -> Arena {
        self.arena::<P::Params>(&gradient(t))
    }

    fn zeros(&self) -> Arena {
        self.bench.zeros_in::<P::State>(&self.layout)
    }

    fn slots(&self, sweep: Sweep) -> Slots {
        Slots::new(&self.bench.context, sweep.total_units(&self.layout))
    }

    /// The bits of an arena, without ghosts.
    fn read(&self, arena: &Arena) -> Vec<u32> {
        arena.view(&self.bench.context, "test", bits).unwrap()
    }

    fn numbers(&self, values: &Handle) -> Vec<f32> {
        self.bench.context.download("test", values).unwrap()
    }

    /// Statistics of a band, made by a step of whatever form: moment, diagonal and edges.
    fn statistics(&self, band: usize) -> Vec<Arena> {
        let blueprint = Blueprint::infer::<P>(Profile::LLVMPIPE, band);
        let walk = Blueprint {
            sweep: Sweep {
                twins: false,
                ..blueprint.sweep
            },
            ..blueprint
        };
        let removal = EdgeRemoval::Outgoing;
        let ghosts = Ghosts::new(&self.layout, band, removal, walk);
        let bench = self.bench;
        let states = bench.states_in::<P::State>(2 + band, &self.layout, ghosts);
        for t in [1, 3] {
            let buffers = StepBuffers {
                params: &self.arena::<P::Params>(&gradient(1)),
                graft: None,
                rates: None,
                rows: None,
                grads: &self.grads(t),
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                non_finite: &self.slots(walk.sweep),
                cut: &self.slots(walk.sweep),
            };
            let forced = Strategy::Forced(walk);
            let context = &self.bench.context;
            step::<P>(context, buffers, RATES, GAMMA, removal, forced).unwrap();
        }
        // Without the ghosts.
        let context = &self.bench.context;
        let arena = |state: &Arena| {
            let tensors = state.tensors(context).unwrap();
            Arena::of(context, &self.layout, state.format(), &tensors).unwrap()
        };
        states.iter().map(arena).collect()
    }
}

const RATES: StepRates = StepRates {
    lr: 0.125,
    weight_decay: 0.25,
    beta1: 0.875,
    decay: Decay::Average(0.9375),
    epsilon: 1.0 / 1024.0,
    corrections: (1.5, 2.0),
};

/// What a staged launch leaves: u, d of the graft, and both norms of each tensor.
#[derive(Debug, PartialEq)]
struct Staged {
    direction: Vec<u32>,
    second: Option<Vec<u32>>,
    norms: Vec<u32>,
    pivots: PivotEvidence,
}

/// Stages for a graft, by a step from nothing or by an update of statistics that are there.
fn staged<P: Precision>(
    bench: &Bench,
    band: usize,
    graft: Graft,
    accumulates: bool,
    blueprint: Blueprint,
) -> Staged {
    let arenas = Arenas::<P>::new(bench);
    let (context, layout) = (&bench.context, &arenas.layout);
    let (grads, sweep) = (arenas.grads(1), blueprint.sweep);
    let table = context.upload(&layout.tensor_of_block());
    let reduction = Reduction::new(context, layout);
    let (partials, of_gradients) = (
        bench.values(layout.blocks() - 2),
        bench.values(LENGTHS.len()),
    );
    norm_per_tensor::<P>(context, &reduction, &grads, &partials, &of_gradients).unwrap();
    let of_tensors = |values| PerTensor {
        values,
        tensor_of_block: &table,
    };
    let (direction, measured) = (arenas.zeros(), bench.values(sweep.norms(layout)));
    let rmsprop = graft == Graft::RmsProp;
    let second = rmsprop.then(|| arenas.zeros());
    let stage = GraftBuffers {
        graft,
        epsilon: 1.0 / 64.0,
        decay: 0.875,
        direction: &direction,
        norms: &measured,
        grads: (rmsprop || graft == Graft::Sgd).then_some(&grads),
        grad_norms: rmsprop.then_some(of_tensors(&of_gradients)),
        second: second.as_ref(),
    };
    let (removal, forced) = (EdgeRemoval::Incident, Strategy::Forced(blueprint));
    let cut = arenas.slots(sweep);
    if accumulates {
        let ghosts = Ghosts::new(layout, band, removal, blueprint);
        let states = bench.states_in::<P::State>(2 + band, layout, ghosts);
        let buffers = StepBuffers {
            params: &grads,
            graft: Some(stage),
            rates: None,
            rows: None,
            grads: &grads,
            moment: &states[0],
            diagonal: &states[1],
            edges: &states[2..],
            non_finite: &arenas.slots(sweep),
            cut: &cut,
        };
        step::<P>(context, buffers, RATES, GAMMA, removal, forced).unwrap();
    } else {
        let states = arenas.statistics(band);
        let row_sums = bench.values(LENGTHS.len());
        largest_row_sum::<P>(
            context,
            &reduction,
            &states[1],
            &states[2..],
            &partials,
            &row_sums,
        )
        .unwrap();
        let buffers = UpdateBuffers {
            moment: &states[0],
            diagonal: &states[1],
            edges: &states[2..],
            evidence: &cut,
        };
        let damping = Damping::Relative {
            epsilon: 1.0 / 1024.0,
            row_sums: of_tensors(&row_sums),
        };
        let descent = Descent::Stage(stage);
        update::<P>(
            context,
            buffers,
            descent,
            damping,
            GAMMA,
            removal,
            (1.5, 2.0),
            forced,
        )
        .unwrap();
    }
    let norms = bench.values(2 * LENGTHS.len());
    reduction
        .pairs_of_norms(context, &measured, sweep, &norms)
        .unwrap();
    Staged {
        direction: arenas.read(&direction),
        second: second.map(|it| arenas.read(&it)),
        norms: bits(&arenas.numbers(&norms)),
        pivots: PivotEvidence::read(context, "test", &cut).unwrap(),
    }
}

/// The walk of the software driver, and shorter ones, whose blocks are measured in parts.
fn walks<P: Precision>(band: usize) -> [Blueprint; 2] {
    let walk = Blueprint::infer::<P>(Profile::LLVMPIPE, band);
    [256, 16].map(|columns| Blueprint {
        sweep: Sweep {
            twins: false,
            run: columns / walk.sweep.width,
            ..walk.sweep
        },
        ..walk
    })
}

fn grafts_alike<P: Precision>(bench: &Bench, bands: &[usize], grafts: &[Graft], width: usize) {
    for &band in bands {
        for &graft in grafts {
            for accumulates in [true, false] {
                let [whole, short] = walks::<P>(band);
                let walked = staged::<P>(bench, band, graft, accumulates, whole);
                assert!(walked.norms.iter().all(|&norm| f32::from_bits(norm) > 0.0));
                let others = [short, team(width, 256 / width, 2, band)];
                for blueprint in others {
                    let found = staged::<P>(bench, band, graft, accumulates, blueprint);
                    let what = format!(
                        "{} band {band}, {graft:?}, accumulates {accumulates}, {blueprint:?}",
                        P::NAME
                    );
                    assert_eq!(found, walked, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_graft_is_staged_and_measured_alike_by_walks_and_teams() {
    let bench = Bench::open();
    grafts_alike::<F32>(&bench, &[1], &GRAFTS, 4);
    grafts_alike::<F32>(&bench, &[0, 4], &[Graft::Adam], 4);
    grafts_alike::<Bf16>(&bench, &[1], &[Graft::Adam, Graft::RmsProp], 8);
    grafts_alike::<F16>(&bench, &[1], &[Graft::Momentum], 4);
}

/// Weights after an update of statistics that are there.
fn updated<P: Precision>(
    bench: &Bench,
    band: usize,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> (Vec<u32>, PivotEvidence) {
    let arenas = Arenas::<P>::new(bench);
    let states = arenas.statistics(band);
    let params = arenas.arena::<P::Params>(&tensors(LENGTHS, |t, i| noise(t + 3, i)));
    let cut = arenas.slots(blueprint.sweep);
    let buffers = UpdateBuffers {
        moment: &states[0],
        diagonal: &states[1],
        edges: &states[2..],
        evidence: &cut,
    };
    let descent = Descent::Apply {
        params: &params,
        lr: 0.125,
        weight_decay: 0.25,
        rates: None,
    };
    update::<P>(
        &bench.context,
        buffers,
        descent,
        Damping::Absolute(1.0 / 1024.0),
        GAMMA,
        removal,
        (1.5, 2.0),
        Strategy::Forced(blueprint),
    )
    .unwrap();
    let pivots = PivotEvidence::read(&bench.context, "test", &cut).unwrap();
    (arenas.read(&params), pivots)
}

#[test]
fn an_update_of_statistics_that_are_there_is_alike() {
    let bench = Bench::open();
    for (band, removal) in [
        (0, EdgeRemoval::Outgoing),
        (1, EdgeRemoval::Outgoing),
        (4, EdgeRemoval::Incident),
    ] {
        let walked = updated::<F32>(&bench, band, removal, walks::<F32>(band)[0]);
        assert!(band == 0 || walked.1.cut.count > 0);
        let found = updated::<F32>(&bench, band, removal, team(4, 32, 2, band));
        assert_eq!(found, walked, "band {band}");
    }
}

/// D, then ψ, and what the pivots show.
fn factored<P: Precision>(
    bench: &Bench,
    band: usize,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> (Vec<Vec<u32>>, PivotEvidence) {
    let arenas = Arenas::<P>::new(bench);
    let states = arenas.statistics(band);
    let psi: Vec<Arena> = (0..band).map(|_| arenas.zeros()).collect();
    let (d, cut) = (arenas.zeros(), arenas.slots(blueprint.sweep));
    let buffers = FactorBuffers {
        diagonal: &states[1],
        edges: &states[2..],
        psi: &psi,
        d: &d,
        evidence: &cut,
    };
    factor::<P>(
        &bench.context,
        buffers,
        2.0,
        1.0 / 1024.0,
        GAMMA,
        removal,
        Strategy::Forced(blueprint),
    )
    .unwrap();
    let all = std::iter::once(&d).chain(&psi);
    let pivots = PivotEvidence::read(&bench.context, "test", &cut).unwrap();
    (all.map(|it| arenas.read(it)).collect(), pivots)
}

fn factors_alike<P: Precision>(bench: &Bench, bands: &[usize], removals: &[EdgeRemoval]) {
    for &band in bands {
        for &removal in removals {
            let walked = factored::<P>(bench, band, removal, walks::<P>(band)[0]);
            assert!(band == 0 || walked.1.cut.count > 0);
            let found = factored::<P>(bench, band, removal, team(4, 32, 2, band));
            assert_eq!(found, walked, "{} band {band}, {removal:?}", P::NAME);
        }
    }
}

#[test]
fn a_factor_is_alike() {
    let bench = Bench::open();
    let all = EdgeRemoval::ALL.map(|(_, removal)| removal);
    factors_alike::<F32>(&bench, &[1, 4], &all);
    factors_alike::<F32>(&bench, &[0, 2, 5], &[EdgeRemoval::Incident]);
    factors_alike::<Bf16>(&bench, &[1], &all[..2]);
}

/// ‖x‖ and ‖H‖₁ of each tensor, as a processor lays them out.
fn norms<P: Precision>(bench: &Bench, profile: Profile) -> Vec<u32> {
    let arenas = Arenas::<P>::new(bench);
    let states = arenas.statistics(2);
    // The layout of a graphics processor runs on the software driver as well.
    let context = Context::new(bench.context.client().clone(), profile);
    let layout = &arenas.layout;
    let reduction = Reduction::new(&context, layout);
    let partials = bench.values(layout.blocks() - 2);
    let [of_gradient, row_sums] = [0; 2].map(|_| bench.values(LENGTHS.len()));
    let grads = arenas.grads(1);
    norm_per_tensor::<P>(&context, &reduction, &grads, &partials, &of_gradient).unwrap();
    let mut found = arenas.numbers(&partials);
    let (diagonal, edges) = (&states[1], &states[2..]);
    largest_row_sum::<P>(&context, &reduction, diagonal, edges, &partials, &row_sums).unwrap();
    found.extend(arenas.numbers(&partials));
    bits(&found)
}

#[test]
fn the_norms_of_blocks_are_alike() {
    let bench = Bench::open();
    let walked = norms::<F32>(&bench, Profile::LLVMPIPE);
    // A block at the end of a tensor may hold its gap alone.
    let some = walked.iter().filter(|&&norm| f32::from_bits(norm) > 0.0);
    assert!(some.count() >= 2 * LENGTHS.len());
    assert_eq!(norms::<F32>(&bench, Profile::GPU), walked);
    let walked = norms::<Bf16>(&bench, Profile::LLVMPIPE);
    assert_eq!(norms::<Bf16>(&bench, Profile::GPU), walked);
}

/// Weights and states after a descent of Shampoo.
fn descended<P: Precision>(bench: &Bench, graft: Graft, sweep: Sweep) -> Vec<Vec<u32>> {
    let arenas = Arenas::<P>::new(bench);
    let (context, layout) = (&bench.context, &arenas.layout);
    let params = arenas.arena::<P::Params>(&tensors(LENGTHS, |t, i| noise(t + 3, i)));
    let grads = arenas.grads(1);
    let direction = arenas.arena::<P::State>(&tensors(LENGTHS, |t, i| noise(t + 7, i)));
    let [momentum, graft_momentum, second] = [0; 3].map(|_| arenas.zeros());
    let second = (graft == Graft::Adam).then_some(&second);
    let measured = bench.values(sweep.norms(layout));
    let of_tensors = bench.values(2 * LENGTHS.len());
    let table = context.upload(&layout.tensor_of_block());
    let preconditioned = context.upload(&[1u32, 0, 1, 1, 0]);
    let rates = DescentRates {
        lr: 0.125,
        weight_decay: 0.25,
        beta1: 0.875,
        beta2: 0.9375,
        epsilon: 1.0 / 64.0,
        correction: 2.0,
    };
    let forced = Strategy::Forced(sweep);
    let buffers = MeasureBuffers {
        grads: &grads,
        direction: &direction,
        second,
        grad_norms: None,
        norms: &measured,
        tensor_of_block: &table,
        evidence: &arenas.slots(sweep),
    };
    measure::<P>(context, buffers, graft, rates, forced).unwrap();
    let reduction = Reduction::new(context, layout);
    reduction
        .pairs_of_norms(context, &measured, sweep, &of_tensors)
        .unwrap();
    let buffers = DescentBuffers {
        params: &params,
        grads: &grads,
        direction: &direction,
        second,
        grad_norms: None,
        norms: &of_tensors,
        tensor_of_block: &table,
        preconditioned: &preconditioned,
        rates: None,
        momentum: &momentum,
        graft_momentum: &graft_momentum,
    };
    kronecker::descend::<P>(context, buffers, graft, true, rates, forced).unwrap();
    let states = [&momentum, &graft_momentum].into_iter().chain(second);
    let mut found: Vec<_> = states.map(|it| arenas.read(it)).collect();
    found.push(arenas.read(&params));
    found.push(bits(&arenas.numbers(&of_tensors)));
    found
}

#[test]
fn a_descent_of_shampoo_is_alike() {
    let bench = Bench::open();
    let walk = Sweep::infer(Profile::LLVMPIPE);
    let short = Sweep { run: 4, ..walk };
    for graft in [Graft::Sgd, Graft::Adam] {
        let walked = descended::<F32>(&bench, graft, walk);
        for sweep in [short, team(4, 64, 2, 0).sweep, team(4, 128, 3, 0).sweep] {
            assert_eq!(
                descended::<F32>(&bench, graft, sweep),
                walked,
                "{graft:?}, {sweep:?}"
            );
        }
    }
    let walked = descended::<Bf16>(&bench, Graft::Adam, walk);
    let wide = team(8, 32, 2, 0).sweep;
    assert_eq!(descended::<Bf16>(&bench, Graft::Adam, wide), walked);
}
