//! A step by teams of units beside the walk of single ones: the same bits. What else teams do is in `team_forms.rs`.

use sonew_kernels::arena::{Arena, Layout, Slots};
use sonew_kernels::context::Profile;
use sonew_kernels::evidence::{Evidence, PivotEvidence};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Bf16, Bf16Compact, F16, F32, Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, Ghosts, StepBuffers, StepRates, Tolerance, step,
};

use crate::bench::*;

pub const LENGTHS: &[usize] = &[1, 7, 300, 257, 1000];
pub const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 1.0 / 64.0,
};

/// Teams of `own` vectors of `width` values.
pub fn team(width: usize, own: usize, cubes: u32, band: usize) -> Blueprint {
    let team = Blueprint::team(width, own, band, true);
    Blueprint {
        sweep: Sweep {
            cubes,
            ..team.sweep
        },
        ..team
    }
}

/// Parameters, the arenas of all states, and what was seen.
#[derive(Debug, PartialEq)]
struct After {
    params: Vec<f32>,
    states: Vec<Vec<f32>>,
    non_finite: Evidence,
    pivots: PivotEvidence,
}

/// Gradients of which some neighbours are the same, so that their pivots are too small, one is huge, and one is no number.
pub fn gradient(t: usize) -> Vec<Vec<f64>> {
    tensors(LENGTHS, |tensor, i| {
        if (t, tensor, i) == (2, 3, 100) {
            return f64::INFINITY;
        }
        let own = if i % 16 > 10 { i / 16 * 16 } else { i };
        (8.0 * noise(t + 50 * tensor, own)).round() / 8.0
    })
}

fn three_steps<P: Precision>(
    bench: &Bench,
    band: usize,
    removal: EdgeRemoval,
    blueprint: Blueprint,
) -> After {
    let layout = Layout::new(LENGTHS).unwrap();
    let arena = |values: &[Vec<f64>]| bench.arena_in::<P::Params>(&layout, values);
    let ghosts = Ghosts::new(&layout, band, removal, blueprint);
    let states = bench.states_in::<P::State>(2 + band, &layout, ghosts);
    let params = arena(&tensors(LENGTHS, |t, i| noise(t + 3, i)));
    let units = blueprint.sweep.total_units(&layout);
    let [non_finite, cut] = [0; 2].map(|_| Slots::new(&bench.context, units));
    for t in 1..=3 {
        let buffers = StepBuffers {
            params: &params,
            graft: None,
            rates: None,
            rows: None,
            grads: &arena(&gradient(t)),
            moment: &states[0],
            diagonal: &states[1],
            edges: &states[2..],
            non_finite: &non_finite,
            cut: &cut,
        };
        let rates = StepRates {
            lr: 0.125,
            weight_decay: 0.25,
            beta1: 0.875,
            decay: Decay::Average(0.9375),
            epsilon: 1.0 / 1024.0,
            corrections: (1.5, 2.0),
        };
        let forced = Strategy::Forced(blueprint);
        step::<P>(&bench.context, buffers, rates, GAMMA, removal, forced).unwrap();
    }
    let read = |arena: &Arena| -> Vec<f32> {
        arena.view(&bench.context, "test", <[f32]>::to_vec).unwrap()
    };
    After {
        params: read(&params),
        states: states.iter().map(read).collect(),
        non_finite: bench.evidence(&non_finite),
        pivots: PivotEvidence::read(&bench.context, "test", &cut).unwrap(),
    }
}

/// The bits, of which NaN has many.
pub fn bits(values: &[f32]) -> Vec<u32> {
    let canonical = |x: &f32| if x.is_nan() { f32::NAN } else { *x };
    values.iter().map(|x| canonical(x).to_bits()).collect()
}

/// Small teams, each of which takes several tiles; where `large`, those of the default too, and eight values of 16 bits at once.
fn is_a_walk<P: Precision>(bench: &Bench, bands: &[usize], removals: &[EdgeRemoval], large: bool) {
    for &band in bands {
        for &removal in removals {
            let mut walk = Blueprint::infer::<P>(Profile::LLVMPIPE, band);
            walk.sweep.twins = false;
            let walked = three_steps::<P>(bench, band, removal, walk);
            let small = team(4, 32, 2, band);
            let wide = team(8, 32, 2, band);
            let teams = match (large, P::State::BYTES == 2 && band == 1) {
                (true, _) => vec![small, team(4, 128, 64, band)],
                (false, true) => vec![small, wide],
                (false, false) => vec![small],
            };
            for blueprint in teams {
                let what = format!("{} band {band}, {removal:?}, {blueprint:?}", P::NAME);
                let found = three_steps::<P>(bench, band, removal, blueprint);
                assert_eq!(bits(&found.params), bits(&walked.params), "{what}");
                for (state, other) in found.states.iter().zip(&walked.states) {
                    assert_eq!(bits(state), bits(other), "{what}");
                }
                assert_eq!(found.non_finite, walked.non_finite, "{what}");
                assert_eq!(
                    found.non_finite.count, 0,
                    "{what}: the last gradient is finite"
                );
                assert_eq!(found.pivots, walked.pivots, "{what}");
                assert!(band == 0 || found.pivots.cut.count > 0, "{what}");
            }
        }
    }
}

#[test]
fn bands_that_no_tile_has_room_for_walk() {
    let walks = |band, shared| {
        !Blueprint::infer_for::<F32>(Profile::GPU, band, shared)
            .sweep
            .team
    };
    // What docs/kernels.md says of them.
    for (shared, first) in [(48 << 10, 19), (16 << 10, 9)] {
        for band in 0..=32 {
            assert_eq!(
                walks(band, shared),
                band >= first,
                "band {band}, {shared} bytes"
            );
        }
    }
}

#[test]
fn a_team_gives_the_bits_of_a_walk() {
    let bench = Bench::open();
    let all = EdgeRemoval::ALL.map(|(_, removal)| removal);
    is_a_walk::<F32>(&bench, &[0, 1, 4], &all, false);
    is_a_walk::<F32>(&bench, &[1, 2, 3, 5], &[EdgeRemoval::Incident], true);
}

#[test]
fn so_it_does_in_every_format() {
    let bench = Bench::open();
    let removals = [EdgeRemoval::Outgoing, EdgeRemoval::Incident];
    is_a_walk::<Bf16>(&bench, &[0, 1, 4], &removals, false);
    is_a_walk::<F16>(&bench, &[0, 1, 4], &removals, false);
    is_a_walk::<Bf16Compact>(&bench, &[0, 1, 4], &removals, false);
}
