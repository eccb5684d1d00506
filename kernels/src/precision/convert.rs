//! An arena from one format to another, rounded to nearest or stochastically.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::stochastic::{Stochastic, random_bits};
use super::{Native, Storage};
use crate::arena::Segments;
use crate::binding::{array, require_arena};
use crate::context::Context;
use crate::error::Error;
use crate::sweep::{Strategy, Sweep, run_start};

#[cube(launch_unchecked)]
fn convert_kernel<A: Storage, B: Stochastic, NA: Size, NB: Size>(
    from: &Array<Vector<A::Word, NA>>,
    to: &mut Array<Vector<B::Word, NB>>,
    runs: u32,
    key: u32,
    step: u32,
    #[comptime] sweep: Sweep,
    #[comptime] stochastic: bool,
) {
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        for vector in 0..sweep.run {
            let at = start + vector;
            let values = A::load::<NA>(from, at, sweep.width);
            if comptime!(stochastic) {
                let mut rounded = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..sweep.width {
                    let random = random_bits((at * sweep.width + lane) as u32, key, step);
                    rounded.push(B::neighbour(*values.index(lane), random));
                }
                B::store::<NB>(to, at, &rounded, sweep.width);
            } else {
                B::store::<NB>(to, at, &values, sweep.width);
            }
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// `to` ← `from`, both arenas, widened or rounded to nearest. The pads of `to` stay as they are.
///
/// # Errors
/// [`Error::Length`] for a buffer of another length, [`Error::Shape`] for a sweep that breaks words; launch errors as [`Context::launch`].
pub fn convert<A: Storage, B: Stochastic>(
    context: &Context,
    segments: &Segments,
    from: &Handle,
    to: &Handle,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    launch::<A, B>("convert", context, segments, from, to, None, strategy)
}

/// `to` ← `from`, an arena of f32, each value rounded to one of its neighbours ([`Stochastic`]); which, follows from `seed`,
/// `step` and the value's index alone. The pads of `to` stay as they are.
///
/// # Errors
/// As [`convert`].
pub fn round_stochastically<B: Stochastic>(
    context: &Context,
    segments: &Segments,
    from: &Handle,
    to: &Handle,
    seed: u64,
    step: u64,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let draw = [(seed ^ (seed >> 32)) as u32, step as u32];
    let operation = "stochastic rounding";
    launch::<Native<f32>, B>(operation, context, segments, from, to, Some(draw), strategy)
}

fn launch<A: Storage, B: Stochastic>(
    operation: &'static str,
    context: &Context,
    segments: &Segments,
    from: &Handle,
    to: &Handle,
    draw: Option<[u32; 2]>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let n = segments.arena_len();
    require_arena::<A>(operation, "from", from, n)?;
    require_arena::<B>(operation, "to", to, n)?;
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, A::PER_WORD.max(B::PER_WORD))?;
    sweep.check_loops(operation, segments, context.profile(), sweep.run + 1)?;
    let vectors = n / sweep.width;
    let grid = sweep.grid(segments, 2);
    let [key, step] = draw.unwrap_or_default();
    let variant = (type_name::<A>(), type_name::<B>(), sweep, draw.is_some());
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: both buffers were checked to hold the arena, and runs lie between its pads.
        unsafe {
            convert_kernel::launch_unchecked::<A, B, Gpu>(
                client,
                cubes,
                units,
                sweep.width / A::PER_WORD,
                sweep.width / B::PER_WORD,
                array(from, vectors),
                array(to, vectors),
                sweep.runs(segments) as u32,
                key,
                step,
                sweep,
                draw.is_some(),
            );
        }
    })
}
