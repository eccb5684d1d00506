//! u = L D Lᵀ m with a stored factor: y = D (Lᵀ m), u = L y, where L_{j+1+k, j} = −ψ_k(j).
//!
//! One column per unit and access: this is the plain form for callers that keep the factor. Training uses
//! [`super::update`].

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::buffers::{array, require_arena};
use crate::context::Context;
use crate::error::Error;
use crate::precision::{Precision, Storage, difference, product};
use crate::segments::{GAP, Segments};
use crate::sweep::{Strategy, Sweep, run_start};

/// The arenas of [`precondition`], all in the state's format.
#[derive(Clone, Copy)]
pub struct PreconditionBuffers<'a> {
    /// ψ, one arena for each off-diagonal.
    pub psi: &'a [Handle],
    /// D.
    pub d: &'a Handle,
    /// m.
    pub moment: &'a Handle,
    /// u, written.
    pub direction: &'a Handle,
}

/// y_j = D_j (m_j − Σ_k ψ_k[j] m_{j+1+k}).
#[cube]
fn scaled<S: Precision, N: Size>(
    psi: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d: &Array<Vector<<S::State as Storage>::Word, N>>,
    moment: &Array<Vector<<S::State as Storage>::Word, N>>,
    j: usize,
    #[comptime] band: usize,
) -> f32 {
    let own = S::State::load::<N>(moment, j, 1usize);
    let pivot = S::State::load::<N>(d, j, 1usize);
    let mut y = *own.index(0usize);
    #[unroll]
    for k in 0..band {
        let coupling = S::State::load::<N>(psi.index(k), j, 1usize);
        let other = S::State::load::<N>(moment, j + k + 1, 1usize);
        y = difference::<S::Math>(
            y,
            product::<S::Math>(*coupling.index(0usize), *other.index(0usize)),
        );
    }
    product::<S::Math>(*pivot.index(0usize), y)
}

#[cube(launch_unchecked)]
fn precondition_kernel<S: Precision, N: Size>(
    psi: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d: &Array<Vector<<S::State as Storage>::Word, N>>,
    moment: &Array<Vector<<S::State as Storage>::Word, N>>,
    direction: &mut Array<Vector<<S::State as Storage>::Word, N>>,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] band: usize,
) {
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let y = scaled::<S, N>(psi, d, moment, at, band);
            let mut u = y;
            #[unroll]
            for k in 0..band {
                let before = scaled::<S, N>(psi, d, moment, at - k - 1, band);
                let coupling = S::State::load::<N>(psi.index(k), at - k - 1, 1usize);
                u = difference::<S::Math>(u, product::<S::Math>(*coupling.index(0usize), before));
            }
            let mut out = Sequence::<f32>::new();
            out.push(u);
            S::State::store::<N>(direction, at, &out, 1usize);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Preconditions the whole arena in one launch.
///
/// # Errors
/// [`Error::Length`] if a buffer does not have the arena's length, [`Error::Range`] if the band is wider than
/// [`GAP`], [`Error::Unsupported`] for a storage format with more than one value a word; launch errors as
/// [`Context::launch`].
pub fn precondition<S: Precision, R: Runtime>(
    context: &Context<R>,
    segments: &Segments,
    buffers: PreconditionBuffers<'_>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "sonew precondition";
    let band = buffers.psi.len();
    if band > GAP {
        return Err(Error::Range {
            operation,
            argument: "band",
            found: band as f64,
            expected: "at most 32, the zeros between tensors",
        });
    }
    if S::State::PER_WORD != 1 {
        return Err(Error::Unsupported {
            operation,
            reason: "it reads single values, and this format packs several into a word".into(),
        });
    }
    let n = segments.arena_len();
    for psi in buffers.psi {
        require_arena::<S::State>(operation, "psi", psi, n)?;
    }
    require_arena::<S::State>(operation, "d", buffers.d, n)?;
    require_arena::<S::State>(operation, "moment", buffers.moment, n)?;
    require_arena::<S::State>(operation, "direction", buffers.direction, n)?;
    let sweep = strategy.resolve(|| Sweep {
        width: 1,
        run: 4 * Sweep::infer(context.processor()).run,
        ..Sweep::infer(context.processor())
    });
    sweep.check::<S>(operation)?;
    sweep.check_loops(operation, segments, context.processor(), sweep.run + 1)?;
    if sweep.width != 1 {
        return Err(Error::Shape {
            operation,
            argument: "blueprint",
            found: format!("width {}", sweep.width),
            expected: "width 1: it reads one column at a time".into(),
        });
    }
    let grid = sweep.grid(segments, 3 + band);
    let variant = (type_name::<S>(), band, sweep);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let mut psi = SequenceArg::new();
        for handle in buffers.psi {
            psi.push(array::<R>(handle, n));
        }
        // SAFETY: every arena was checked to hold n values; runs stay between the pads and read at most GAP < BLOCK
        // values before and after their own.
        unsafe {
            precondition_kernel::launch_unchecked::<S, R>(
                client,
                cubes,
                units,
                1,
                psi,
                array::<R>(buffers.d, n),
                array::<R>(buffers.moment, n),
                array::<R>(buffers.direction, n),
                sweep.runs(segments) as u32,
                sweep,
                band,
            );
        }
    })
}
