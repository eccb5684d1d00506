//! An arena from one format to another, rounded to nearest or stochastically.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::stochastic::{Stochastic, random_bits};
use super::{HostFormat, Native, Storage};
use crate::arena::{self, Arena};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep, run_start};

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

/// `to` ← `from`, widened or rounded to nearest. The pads of `to` stay as they are.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format and for a sweep that breaks words; launch errors as [`Context::launch`].
pub fn convert<A: HostFormat, B: HostFormat + Stochastic>(
    context: &Context,
    from: &Arena,
    to: &Arena,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    launch::<A, B>("convert", context, from, to, None, strategy)
}

/// `to` ← `from`, an arena of f32, each value rounded to one of its neighbours ([`Stochastic`]); which, follows from `seed`,
/// `step` and the value's index alone. The pads of `to` stay as they are.
///
/// # Errors
/// As [`convert`].
pub fn round_stochastically<B: HostFormat + Stochastic>(
    context: &Context,
    from: &Arena,
    to: &Arena,
    seed: u64,
    step: u64,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let draw = [(seed ^ (seed >> 32)) as u32, step as u32];
    let operation = "stochastic rounding";
    launch::<Native<f32>, B>(operation, context, from, to, Some(draw), strategy)
}

fn launch<A: HostFormat, B: HostFormat + Stochastic>(
    operation: &'static str,
    context: &Context,
    from: &Arena,
    to: &Arena,
    draw: Option<[u32; 2]>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let layout = from.layout();
    arena::require::<A>(operation, layout, [("from", from)])?;
    arena::require::<B>(operation, layout, [("to", to)])?;
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, A::PER_WORD.max(B::PER_WORD))?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    let grid = sweep.grid(layout, 2);
    let [key, step] = draw.unwrap_or_default();
    let variant = (type_name::<A>(), type_name::<B>(), sweep, draw.is_some());
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: both arenas are of one layout, and runs lie between its pads.
        unsafe {
            convert_kernel::launch_unchecked::<A, B, Gpu>(
                client,
                cubes,
                units,
                sweep.width / A::PER_WORD,
                sweep.width / B::PER_WORD,
                from.vectors(sweep.width),
                to.vectors(sweep.width),
                sweep.runs(layout) as u32,
                key,
                step,
                sweep,
                draw.is_some(),
            );
        }
    })
}
