//! Statistics and momentum of a gradient, in place:
//!
//! m ← β₁ m + (1−β₁) g,  H_ii ← ρ H_ii + ω g_i²,  H_{i,i+1+k} ← ρ H_{i,i+1+k} + ω g_i g_{i+1+k}
//!
//! (ρ, ω) = (β₂, 1−β₂) for the moving average that all published code uses, (1, 1/λ) for the sum of the theory
//! (docs/derivation.md, "Statistics": H_t = H_{t−1} + P(g gᵀ)/λ).
//!
//! Where rows are chains of their own ([`RowChains`]), H_{i,i+1+k} is 0 if the two lie in different rows.
//!
//! A product that overflows saturates at the largest finite value of the states' format, so one huge gradient leaves statistics that recover.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::rows::{RowChains, columns_after, within_row};
use crate::arena::{self, Arena, GAP, Slots};
use crate::context::Context;
use crate::error::{Error, require_decay};
use crate::evidence::{Found, magnitude_bits, note_non_finite};
use crate::first_order::{Average, average, moving_average};
use crate::launch::{Strategy, Sweep, run_start};
use crate::precision::{Precision, Storage, held, product, require, sum};

/// How old statistics and the new product are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Moving average with decay β₂ in [0, 1).
    Average(f64),
    /// Sum with step size λ > 0: H ← H + g gᵀ / λ.
    Sum(f64),
}

impl Decay {
    /// (ρ, ω).
    pub fn weights(self) -> (f64, f64) {
        match self {
            Self::Average(beta2) => (beta2, 1.0 - beta2),
            Self::Sum(lambda) => (1.0, 1.0 / lambda),
        }
    }
}

/// The arenas of [`statistics`].
#[derive(Clone, Copy)]
pub struct StatisticsBuffers<'a> {
    /// Gradients.
    pub grads: &'a Arena,
    /// First moment m, updated in place.
    pub moment: &'a Arena,
    /// Diagonal of H, updated in place.
    pub diagonal: &'a Arena,
    /// Off-diagonals of H, nearest first, updated in place; as many as the band is wide.
    pub edges: &'a [Arena],
    /// Which tensors have a chain for each row; otherwise each is one.
    pub rows: Option<&'a RowChains>,
    /// Non-finite gradients seen, one slot a unit.
    pub evidence: &'a Slots,
}

/// `old · ρ + ω · a b`, saturated to finite numbers of the states' format.
#[cube]
pub(super) fn accumulate<S: Precision>(old: f32, a: f32, b: f32, rho: f32, omega: f32) -> f32 {
    let largest = S::State::largest();
    let new = sum::<S::Math>(
        product::<S::Math>(rho, old),
        product::<S::Math>(product::<S::Math>(omega, a), b),
    );
    min(max(new, -largest), largest)
}

#[cube(launch_unchecked)]
fn statistics_kernel<S: Precision, NP: Size, NS: Size>(
    grads: &Array<Vector<<S::Params as Storage>::Word, NP>>,
    moment: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    diagonal: &mut Array<Vector<<S::State as Storage>::Word, NS>>,
    edges: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    rows: &Sequence<Array<u32>>,
    evidence: &mut Array<u32>,
    stamp: u32,
    beta1: &Average,
    rho: f32,
    omega: f32,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] band: usize,
    #[comptime] by_rows: bool,
) {
    let width = comptime!(sweep.width);
    let reach = comptime!(band.div_ceil(width));
    let mut run = ABSOLUTE_POS;
    let beta1 = beta1.held();
    let rho = held(rho);
    let omega = held(omega);
    let mut found = Found::new();
    // The gradient of the current vector and of the b values after it.
    let mut g = Array::<f32>::new(comptime!((reach + 1) * width));
    while run < runs as usize {
        let start = run_start(run, sweep);
        let mut largest = 0u32;
        #[unroll]
        for v in 0..reach {
            read_gradient::<S::Params, NP>(&mut g, grads, start + v, v, width);
        }
        for step in 0..sweep.run {
            let at = start + step;
            read_gradient::<S::Params, NP>(&mut g, grads, at + reach, reach, width);
            let old_moment = S::State::load::<NS>(moment, at, width);
            let old_diagonal = S::State::load::<NS>(diagonal, at, width);
            let mut new_moment = Sequence::<f32>::new();
            let mut new_diagonal = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..width {
                let gl = g[lane];
                let m = *old_moment.index(lane);
                let h = *old_diagonal.index(lane);
                new_moment.push(moving_average::<S::Math>(m, gl, &beta1));
                new_diagonal.push(accumulate::<S>(h, gl, gl, rho, omega));
                largest = max(largest, magnitude_bits(gl));
            }
            S::State::store::<NS>(moment, at, &new_moment, width);
            S::State::store::<NS>(diagonal, at, &new_diagonal, width);
            let after = columns_after(rows, start, step, width, by_rows);
            #[unroll]
            for k in 0..band {
                let old = S::State::load::<NS>(edges.index(k), at, width);
                let mut new = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..width {
                    let e = *old.index(lane);
                    let other = g[lane + k + 1];
                    let moved = accumulate::<S>(e, g[lane], other, rho, omega);
                    new.push(within_row(&after, moved, lane, k, by_rows));
                }
                S::State::store::<NS>(edges.index_mut(k), at, &new, width);
            }
            #[unroll]
            for c in 0..comptime!(reach * width) {
                g[c] = g[c + width];
            }
        }
        note_non_finite::<S::Params, NP>(&mut found, grads, start, largest, sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&found, evidence, stamp);
}

/// Reads the vector `at` into the `slot`-th vector of the window.
#[cube]
pub(super) fn read_gradient<S: Storage, N: Size>(
    window: &mut Array<f32>,
    grads: &Array<Vector<S::Word, N>>,
    at: usize,
    slot: usize,
    #[comptime] width: usize,
) {
    let values = S::load::<N>(grads, at, width);
    #[unroll]
    for lane in 0..width {
        window[slot * width + lane] = *values.index(lane);
    }
}

/// Updates momentum and statistics of the whole arena in one launch; the band is the number of off-diagonals.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format or rows of another layout, [`Error::Range`] for β₁, β₂ outside [0, 1), λ ≤ 0
/// or a band wider than [`GAP`]; launch errors as [`Context::launch`].
pub fn statistics<S: Precision>(
    context: &Context,
    buffers: StatisticsBuffers<'_>,
    beta1: f64,
    decay: Decay,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "sonew statistics";
    let band = buffers.edges.len();
    check_range(operation, beta1, decay, band)?;
    let layout = buffers.grads.layout();
    let states = [("moment", buffers.moment), ("diagonal", buffers.diagonal)];
    let states = states
        .into_iter()
        .chain(arena::named("edges", buffers.edges));
    arena::require::<S::Params>(operation, layout, [("grads", buffers.grads)])?;
    arena::require::<S::State>(operation, layout, states)?;
    if let Some(rows) = buffers.rows {
        rows.check(operation, layout)?;
    }
    let sweep = strategy.resolve(|| Sweep::of::<S>(context, "statistics", band));
    if sweep.twins {
        require::<S::Twin>(context)?;
        launch::<S::Twin>(context, buffers, beta1, decay, sweep)
    } else {
        launch::<S>(context, buffers, beta1, decay, sweep)
    }
}

/// Launches over arenas of one layout, with numbers in their ranges.
fn launch<S: Precision>(
    context: &Context,
    buffers: StatisticsBuffers<'_>,
    beta1: f64,
    decay: Decay,
    sweep: Sweep,
) -> Result<(), Error> {
    let operation = "sonew statistics";
    let band = buffers.edges.len();
    let layout = buffers.grads.layout();
    let width = sweep.width;
    sweep.check::<S>(operation)?;
    sweep.check_loops(operation, layout, context.profile(), 2 * (sweep.run + 1))?;
    let by_rows = buffers.rows.is_some();
    let grid = sweep.grid(layout, 4 + band + usize::from(by_rows));
    let evidence = buffers.evidence.claim(operation, grid)?;
    let (rho, omega) = decay.weights();
    let variant = (type_name::<S>(), sweep, band, by_rows);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas and the table of rows are of one layout; runs stop at its trailing pad, one block long,
        // and look at most GAP < BLOCK values ahead; the evidence has a slot for each unit of the grid.
        unsafe {
            statistics_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                width / S::Params::PER_WORD,
                width / S::State::PER_WORD,
                buffers.grads.vectors(width),
                buffers.moment.vectors(width),
                buffers.diagonal.vectors(width),
                arena::sequence(buffers.edges, width),
                RowChains::argument(buffers.rows),
                evidence.argument(),
                evidence.stamp,
                average(beta1),
                rho as f32,
                omega as f32,
                sweep.runs(layout) as u32,
                sweep,
                band,
                by_rows,
            );
        }
    })
}

pub(super) fn check_range(
    operation: &'static str,
    beta1: f64,
    decay: Decay,
    band: usize,
) -> Result<(), Error> {
    require_decay(operation, "beta1", beta1)?;
    let range = |argument, found, expected| {
        Err(Error::Range {
            operation,
            argument,
            found,
            expected,
        })
    };
    match decay {
        Decay::Average(beta2) => {
            require_decay(operation, "beta2", beta2)?;
        }
        Decay::Sum(lambda) if !(lambda > 0.0 && lambda.is_finite()) => {
            return range("lambda", lambda, "finite and > 0");
        }
        Decay::Sum(_) => {}
    }
    if band > GAP {
        return range("band", band as f64, "at most 32, the zeros between tensors");
    }
    Ok(())
}
