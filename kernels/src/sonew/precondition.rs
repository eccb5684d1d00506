//! u = L D Lᵀ m with a stored factor: y = D (Lᵀ m), u = L y, where L_{j+1+k, j} = −ψ_k(j).
//!
//! One column at a time: this is the plain form for callers that keep the factor. Training uses
//! [`super::update`].

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use crate::arena::{self, Arena, GAP};
use crate::context::{Context, Units};
use crate::error::Error;
use crate::launch::{Strategy, Sweep, run_start};
use crate::precision::{Precision, Storage, difference, product};

/// The arenas of [`precondition`], all in the state's format.
#[derive(Clone, Copy)]
pub struct PreconditionBuffers<'a> {
    /// ψ, one arena for each off-diagonal.
    pub psi: &'a [Arena],
    /// D.
    pub d: &'a Arena,
    /// m.
    pub moment: &'a Arena,
    /// u, written.
    pub direction: &'a Arena,
}

/// The value of column `j`, in a word of `width` values.
#[cube]
fn column<S: Storage, N: Size>(
    from: &Array<Vector<S::Word, N>>,
    j: usize,
    #[comptime] width: usize,
) -> f32 {
    let values = S::load::<N>(from, j / width, width);
    let mut value = *values.index(0usize);
    if comptime!(width > 1) {
        value = select(j / width * width == j, value, *values.index(1usize));
    }
    value
}

/// y_j = D_j (m_j − Σ_k ψ_k[j] m_{j+1+k}).
#[cube]
fn scaled<S: Precision, N: Size>(
    psi: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    d: &Array<Vector<<S::State as Storage>::Word, N>>,
    moment: &Array<Vector<<S::State as Storage>::Word, N>>,
    j: usize,
    #[comptime] band: usize,
    #[comptime] width: usize,
) -> f32 {
    let mut y = column::<S::State, N>(moment, j, width);
    #[unroll]
    for k in 0..band {
        let coupling = column::<S::State, N>(psi.index(k), j, width);
        let other = column::<S::State, N>(moment, j + k + 1, width);
        y = difference::<S::Math>(y, product::<S::Math>(coupling, other));
    }
    product::<S::Math>(column::<S::State, N>(d, j, width), y)
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
            let mut out = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..sweep.width {
                let at = (start + step) * sweep.width + lane;
                let mut u = scaled::<S, N>(psi, d, moment, at, band, sweep.width);
                #[unroll]
                for k in 0..band {
                    let earlier = at - k - 1;
                    let before = scaled::<S, N>(psi, d, moment, earlier, band, sweep.width);
                    let coupling = column::<S::State, N>(psi.index(k), earlier, sweep.width);
                    u = difference::<S::Math>(u, product::<S::Math>(coupling, before));
                }
                out.push(u);
            }
            S::State::store::<N>(direction, start + step, &out, sweep.width);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// Preconditions the whole arena in one launch.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format, [`Error::Range`] if the band is wider than
/// [`GAP`]; launch errors as [`Context::launch`].
pub fn precondition<S: Precision>(
    context: &Context,
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
    let PreconditionBuffers {
        psi,
        d,
        moment,
        direction,
    } = buffers;
    let layout = d.layout();
    let arenas = [("d", d), ("moment", moment), ("direction", direction)];
    arena::require::<S::State>(operation, layout, arenas)?;
    arena::require::<S::State>(operation, layout, arena::named("psi", psi))?;
    // A word at a time, of the format that has the most values in one.
    let width = S::Params::PER_WORD.max(S::State::PER_WORD);
    let sweep = strategy.resolve(|| {
        let inferred = Sweep::of::<S>(context, "precondition", band);
        // On a graphics processor neighbouring units take neighbouring words.
        let run = match context.profile().units {
            Units::Many if inferred.width != width => 1,
            _ => inferred.run * inferred.width / width,
        };
        Sweep {
            width,
            run,
            ..inferred
        }
    });
    sweep.check::<S>(operation)?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    if sweep.width != width {
        return Err(Error::Shape {
            operation,
            argument: "blueprint",
            found: format!("width {}", sweep.width),
            expected: format!("width {width}: it reads a word at a time"),
        });
    }
    let grid = sweep.grid(layout, 3 + band);
    let variant = (type_name::<S>(), band, sweep);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout; runs stay between the pads and read at most GAP < BLOCK
        // values before and after their own.
        unsafe {
            precondition_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                width / S::State::PER_WORD,
                arena::sequence(psi, width),
                d.vectors(width),
                moment.vectors(width),
                direction.vectors(width),
                sweep.runs(layout) as u32,
                sweep,
                band,
            );
        }
    })
}
