//! Clipping: y ← s · min(max(x, −v), v), with a bound v, a factor s that lies on the device, or both.
//!
//! For finite values that is `torch.nn.utils.clip_grad_value_` and what follows of `clip_grad_norm_` and
//! `optax.clip_by_global_norm`, whose factor [`crate::norms::global_norm`] finds. A value that is not finite stays as it is, whatever
//! the bound and the factor: it reaches the step, which counts it.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::of_format;
use crate::arena::{self, Arena};
use crate::context::Context;
use crate::error::{Error, require_positive};
use crate::evidence::{INFINITY, magnitude_bits};
use crate::launch::{Strategy, Sweep, optional, require_bytes, run_start};
use crate::norms::{FACTOR, GLOBAL};
use crate::precision::{Format, HostFormat, Native, Storage, held};

/// What values are clipped by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clipping<'a> {
    /// v > 0.
    pub bound: Option<f64>,
    /// Where s lies: behind a norm, as [`global_norm`](crate::norms::global_norm) writes them.
    pub global: Option<&'a Handle>,
}

/// Which parts of the formula there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Parts {
    in_place: bool,
    bounds: bool,
    scales: bool,
}

#[cube(launch_unchecked)]
fn clip_kernel<A: Storage, B: Storage, NA: Size, NB: Size>(
    from: &Sequence<Array<Vector<A::Word, NA>>>,
    to: &mut Array<Vector<B::Word, NB>>,
    global: &Sequence<Array<f32>>,
    bound: f32,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] parts: Parts,
) {
    let bound = held(bound);
    let mut factor = 1.0f32;
    if comptime!(parts.scales) {
        factor = global.index(0usize)[FACTOR];
    }
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let values = if comptime!(parts.in_place) {
                B::load::<NB>(to, at, sweep.width)
            } else {
                A::load::<NA>(from.index(0usize), at, sweep.width)
            };
            let mut clipped = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..sweep.width {
                let value = *values.index(lane);
                let bounded = if comptime!(parts.bounds) {
                    clamp(value, -bound, bound)
                } else {
                    value
                };
                let scaled = if comptime!(parts.scales) {
                    factor * bounded
                } else {
                    bounded
                };
                clipped.push(select(magnitude_bits(value) < INFINITY, scaled, value));
            }
            B::store::<NB>(to, at, &clipped, sweep.width);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// `to` ← `from`, clipped; without `from`, `to` in place. `from` is of the format of `to`, or f32 and then rounded to it. The
/// pads of `to` stay as they are.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format and for a sweep that breaks words, [`Error::Range`] for a bound that is not
/// positive, [`Error::Length`] for a `global` of another length; launch errors as [`Context::launch`].
pub fn clip(
    context: &Context,
    from: Option<&Arena>,
    to: &Arena,
    clipping: Clipping<'_>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    of_format!(to.format(), B => {
        if from.is_some_and(|from| from.format() == Format::F32) {
            launch::<Native<f32>, B>(context, from, to, clipping, strategy)
        } else {
            launch::<B, B>(context, from, to, clipping, strategy)
        }
    })
}

fn launch<A: HostFormat, B: HostFormat>(
    context: &Context,
    from: Option<&Arena>,
    to: &Arena,
    clipping: Clipping<'_>,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "clipping";
    let layout = to.layout();
    arena::require::<A>(operation, layout, arena::named("from", from))?;
    arena::require::<B>(operation, layout, [("to", to)])?;
    let bound = match clipping.bound {
        Some(bound) => require_positive(operation, "bound", bound)?,
        None => 0.0,
    };
    if let Some(global) = clipping.global {
        require_bytes(operation, "global", global, 4 * GLOBAL as u64)?;
    }
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, A::PER_WORD.max(B::PER_WORD))?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    let buffers = 1 + usize::from(from.is_some()) + usize::from(clipping.global.is_some());
    let grid = sweep.grid(layout, buffers);
    let parts = Parts {
        in_place: from.is_none(),
        bounds: clipping.bound.is_some(),
        scales: clipping.global.is_some(),
    };
    let variant = (type_name::<A>(), type_name::<B>(), sweep, parts);
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: the arenas are of one layout, runs lie between its pads, and the length of the factor's buffer was checked.
        unsafe {
            clip_kernel::launch_unchecked::<A, B, Gpu>(
                client,
                cubes,
                units,
                sweep.width / A::PER_WORD,
                sweep.width / B::PER_WORD,
                arena::sequence(from, sweep.width),
                to.vectors(sweep.width),
                optional(clipping.global, GLOBAL),
                bound,
                sweep.runs(layout) as u32,
                sweep,
                parts,
            );
        }
    })
}
