//! Tensors whose rows are chains of their own: what becomes of them is what becomes of rows that are tensors.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Profile;
use sonew_kernels::error::Error;
use sonew_kernels::evidence::PivotEvidence;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Bf16, F16, F32, Precision};
use sonew_kernels::sonew::reference::{Statistics, factor_rows};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, EdgeRemoval, Ghosts, RowChains, StatisticsBuffers,
    StepBuffers, StepRates, Tolerance, UpdateBuffers, statistics, step, update,
};

use crate::bench::*;
use crate::team::team;

const BETA: f64 = 0.875;
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 1.0 / 64.0,
};
const RATES: StepRates = StepRates {
    lr: 0.125,
    weight_decay: 0.25,
    beta1: BETA,
    decay: Decay::Average(0.9375),
    epsilon: 1.0 / 1024.0,
    corrections: (1.5, 2.0),
};

/// (rows, values of a row): a single value, an empty tensor, [1, n], rows of one value, shorter than any band, of a band and one
/// more, across blocks, and longer than one.
const SHAPES: &[[usize; 2]] = &[
    [1, 1],
    [0, 5],
    [1, 300],
    [70, 1],
    [41, 2],
    [60, 5],
    [25, 11],
    [7, 64],
    [3, 600],
];

fn lengths() -> Vec<usize> {
    SHAPES.iter().map(|[m, n]| m * n).collect()
}

/// Every row by itself.
fn rows_of<T: Clone>(tensors: &[Vec<T>]) -> Vec<Vec<T>> {
    let shapes = tensors.iter().zip(SHAPES);
    let rows = shapes.flat_map(|(tensor, [_, n])| tensor.chunks(*n));
    rows.map(<[T]>::to_vec).collect()
}

/// Some neighbours are the same, so that pivots are too small.
fn gradient(t: usize) -> Vec<Vec<f64>> {
    tensors(&lengths(), |tensor, i| {
        let own = if i % 16 > 10 { i / 16 * 16 } else { i };
        (8.0 * noise(t + 50 * tensor, own)).round() / 8.0
    })
}

/// What tensors, or rows of them, are after three steps.
#[derive(Debug, PartialEq)]
struct After {
    params: Vec<Vec<f32>>,
    states: Vec<Vec<Vec<f32>>>,
    cut: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum As {
    /// Tensors with a chain for each row.
    Chains,
    /// A tensor for each row.
    Tensors,
    /// Tensors that are one chain each, by a table or without.
    Whole(bool),
}

impl As {
    fn arrange(self, tensors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        match self {
            Self::Tensors => rows_of(&tensors),
            Self::Chains | Self::Whole(_) => tensors,
        }
    }

    fn rows(self, bench: &Bench, layout: &Layout) -> Option<RowChains> {
        let rows: Vec<usize> = match self {
            Self::Chains => SHAPES.iter().map(|[_, n]| *n).collect(),
            Self::Whole(true) => vec![0; SHAPES.len()],
            Self::Tensors | Self::Whole(false) => return None,
        };
        Some(RowChains::new(&bench.context, layout, &rows).unwrap())
    }

    /// By rows, where they are chains.
    fn read(self, bench: &Bench, arena: &Arena) -> Vec<Vec<f32>> {
        let tensors = arena.tensors(&bench.context).unwrap();
        match self {
            Self::Chains => rows_of(&tensors),
            Self::Tensors | Self::Whole(_) => tensors,
        }
    }
}

fn three_steps<P: Precision>(
    bench: &Bench,
    arranged: As,
    band: usize,
    removal: EdgeRemoval,
    blueprint: Blueprint,
    whole: bool,
) -> After {
    let weights = arranged.arrange(tensors(&lengths(), |t, i| noise(t + 3, i)));
    let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
    let layout = Layout::new(&lengths).unwrap();
    let rows = arranged.rows(bench, &layout);
    let params = bench.arena_in::<P::Params>(&layout, &weights);
    let states = if whole {
        let ghosts = Ghosts::new(&layout, band, removal, blueprint);
        bench.states_in::<P::State>(2 + band, &layout, ghosts)
    } else {
        let state = |_| bench.zeros_in::<P::State>(&layout);
        (0..2 + band).map(state).collect()
    };
    let [non_finite, cut] = [0; 2].map(|_| bench.slots());
    let mut count = 0;
    for t in 1..=3 {
        let grads = bench.arena_in::<P::Params>(&layout, &arranged.arrange(gradient(t)));
        let forced = Strategy::Forced(blueprint);
        let context = &bench.context;
        if whole {
            let buffers = StepBuffers {
                params: &params,
                graft: None,
                rates: None,
                rows: rows.as_ref(),
                grads: &grads,
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                non_finite: &non_finite,
                cut: &cut,
            };
            step::<P>(context, buffers, RATES, GAMMA, removal, forced).unwrap();
        } else {
            let buffers = StatisticsBuffers {
                grads: &grads,
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                rows: rows.as_ref(),
                evidence: &non_finite,
            };
            let sweep = Strategy::Forced(Sweep {
                team: false,
                ..Blueprint::infer::<P>(Profile::LLVMPIPE, band).sweep
            });
            statistics::<P>(context, buffers, BETA, RATES.decay, sweep).unwrap();
            let buffers = UpdateBuffers {
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                evidence: &cut,
            };
            let descent = Descent::Apply {
                params: &params,
                lr: RATES.lr,
                weight_decay: RATES.weight_decay,
                rates: None,
            };
            let damping = Damping::Absolute(RATES.epsilon);
            let corrections = RATES.corrections;
            update::<P>(
                context,
                buffers,
                descent,
                damping,
                GAMMA,
                removal,
                corrections,
                forced,
            )
            .unwrap();
        }
        count += PivotEvidence::read(context, "test", &cut)
            .unwrap()
            .cut
            .count;
    }
    After {
        params: arranged.read(bench, &params),
        states: states.iter().map(|it| arranged.read(bench, it)).collect(),
        cut: count,
    }
}

fn walk(width: usize, columns: usize, twins: bool) -> Blueprint {
    Blueprint {
        sweep: Sweep {
            width,
            run: columns / width,
            units: 16,
            cubes: 3,
            twins,
            team: false,
        },
        unroll: true,
    }
}

/// Runs shorter than rows and longer, vectors of every width, words of 64 bits, teams.
fn blueprints(band: usize) -> Vec<Blueprint> {
    let mut all = vec![
        walk(4, 64, false),
        walk(1, 8, false),
        walk(4, 16, true),
        team(4, 32, 2, band),
    ];
    // Wide bands take long to compile.
    if band < 4 {
        let more = [walk(4, 256, false), walk(2, 64, false), walk(8, 256, true)];
        all.extend(more);
        all.push(team(8, 64, 3, band));
    }
    all
}

fn are_tensors<P: Precision>(bench: &Bench, cases: &[(usize, EdgeRemoval)], own: &[Blueprint]) {
    for &(band, removal) in cases {
        let blueprint = walk(4, 256, false);
        let expected = three_steps::<P>(bench, As::Tensors, band, removal, blueprint, true);
        assert!(band == 0 || expected.cut > 0, "band {band}, {removal:?}");
        for &blueprint in own {
            for whole in [true, false] {
                if blueprint.sweep.twins && !whole {
                    continue;
                }
                let found = three_steps::<P>(bench, As::Chains, band, removal, blueprint, whole);
                let what = format!(
                    "{} band {band}, {removal:?}, {whole}, {blueprint:?}",
                    P::NAME
                );
                assert!(found == expected, "{what}");
            }
        }
    }
}

#[test]
fn rows_that_are_chains_have_the_bits_of_rows_that_are_tensors() {
    let bench = Bench::open();
    for (band, removal) in [
        (0, EdgeRemoval::Outgoing),
        (1, EdgeRemoval::Outgoing),
        (1, EdgeRemoval::Incident),
        (2, EdgeRemoval::Reweight),
        (4, EdgeRemoval::Clamp),
        (4, EdgeRemoval::Incident),
    ] {
        are_tensors::<F32>(&bench, &[(band, removal)], &blueprints(band));
    }
}

#[test]
fn so_they_have_in_every_format() {
    let bench = Bench::open();
    let case = [(4, EdgeRemoval::Incident)];
    let forms = [walk(4, 64, false), team(4, 32, 2, 4)];
    are_tensors::<Bf16>(&bench, &case, &forms);
    are_tensors::<F16>(&bench, &case, &forms);
}

#[test]
fn tensors_that_a_table_calls_one_chain_have_the_bits_of_those_without() {
    let bench = Bench::open();
    for (band, removal) in [(1, EdgeRemoval::Outgoing), (4, EdgeRemoval::Incident)] {
        for blueprint in [walk(4, 256, false), walk(1, 8, false), team(4, 32, 2, band)] {
            let [found, expected] = [true, false].map(|table| {
                three_steps::<F32>(&bench, As::Whole(table), band, removal, blueprint, true)
            });
            assert!(found == expected, "band {band}, {blueprint:?}");
        }
    }
}

#[test]
fn ghost_columns_of_chains_stay_copies_and_what_couples_rows_stays_0() {
    let bench = Bench::open();
    let (band, removal) = (2, EdgeRemoval::Incident);
    let layout = Layout::new(&lengths()).unwrap();
    let rows = As::Chains.rows(&bench, &layout);
    for blueprint in [walk(4, 8, false), walk(1, 8, false), team(4, 32, 2, band)] {
        let ghosts = Ghosts::new(&layout, band, removal, blueprint);
        let states = bench.states_in::<<F32 as Precision>::State>(2 + band, &layout, ghosts);
        let params = bench.zeros(&layout);
        for t in 1..=3 {
            let buffers = StepBuffers {
                params: &params,
                graft: None,
                rates: None,
                rows: rows.as_ref(),
                grads: &bench.arena(&layout, &gradient(t)),
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                non_finite: &bench.slots(),
                cut: &bench.slots(),
            };
            let forced = Strategy::Forced(blueprint);
            step::<F32>(&bench.context, buffers, RATES, GAMMA, removal, forced).unwrap();
        }
        for (k, state) in states[2..].iter().enumerate() {
            let values: Vec<f32> = bench.context.download("test", state.handle()).unwrap();
            let (copies, owned): (Vec<f32>, Vec<f64>) = ghosts
                .copies()
                .map(|(ghost, column)| (values[ghost], f64::from(values[column])))
                .unzip();
            // A compiler may contract the two places of the same formula differently.
            assert_close(&copies, &owned, 4.0 * ROUNDING, 1.0, "copies");
            for (copy, column) in copies.iter().zip(&owned) {
                assert_eq!(*copy == 0.0, *column == 0.0, "{blueprint:?}");
            }
            for (tensor, [_, n]) in bench.read(state).iter().zip(SHAPES) {
                for (i, edge) in tensor.iter().enumerate() {
                    let inside = i % n + k + 1 < *n;
                    assert!(inside || *edge == 0.0, "edge {k} of {i} in rows of {n}");
                }
            }
        }
    }
}

#[test]
fn a_step_by_rows_follows_its_oracle() {
    let bench = Bench::open();
    for (band, removal) in [(1, EdgeRemoval::Outgoing), (4, EdgeRemoval::Incident)] {
        let found = three_steps::<F32>(
            &bench,
            As::Chains,
            band,
            removal,
            team(4, 32, 2, band),
            true,
        );
        let mut weights = tensors(&lengths(), |t, i| noise(t + 3, i));
        for (tensor, [_, n]) in SHAPES.iter().enumerate() {
            let w = &mut weights[tensor];
            let mut h = Statistics::zeros(w.len(), band);
            for t in 1..=3 {
                h.accumulate_rows(*n, &gradient(t)[tensor], BETA, RATES.decay);
                let moment: Vec<f64> = h.moment.iter().map(|m| 1.5 * m).collect();
                let damped = h.damped(2.0, RATES.epsilon);
                let u = factor_rows(&damped, *n, GAMMA, removal).precondition(&moment);
                for (w, u) in w.iter_mut().zip(&u) {
                    *w -= 0.125 * (u + 0.25 * *w);
                }
            }
        }
        for (found, w) in found.params.iter().zip(rows_of(&weights)) {
            // Pivots are a 64th of their diagonal at least.
            assert_close(found, &w, 1e-3, 1.0_f64.max(largest(&w)), "weights");
        }
    }
}

#[test]
fn rows_that_do_not_divide_their_tensor_are_refused_and_so_is_another_layout() {
    let bench = Bench::open();
    let layout = Layout::new(&[12, 0, 5]).unwrap();
    let refused = |rows: &[usize]| RowChains::new(&bench.context, &layout, rows).unwrap_err();
    for rows in [&[5, 0, 0][..], &[24, 0, 0], &[3, 0], &[3, 0, 5, 5]] {
        let error = refused(rows);
        let shape = matches!(
            error,
            Error::Shape {
                argument: "rows",
                ..
            }
        );
        assert!(shape, "{rows:?}: {error}");
    }
    let rows = RowChains::new(&bench.context, &layout, &[3, 7, 5]).unwrap();
    let other = Layout::new(&[12, 5]).unwrap();
    let state = || bench.zeros(&other);
    let buffers = StatisticsBuffers {
        grads: &state(),
        moment: &state(),
        diagonal: &state(),
        edges: &[state()],
        rows: Some(&rows),
        evidence: &bench.slots(),
    };
    let inferred = Strategy::Inferred;
    let error = statistics::<F32>(&bench.context, buffers, BETA, RATES.decay, inferred);
    let error = error.unwrap_err();
    let shape = matches!(
        error,
        Error::Shape {
            argument: "rows",
            ..
        }
    );
    assert!(shape, "{error}");
}
