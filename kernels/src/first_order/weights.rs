//! The moving average of the weights, a ← β a + (1−β) w, which begins as a copy: `torch.optim.swa_utils.get_ema_multi_avg_fn` (Polyak &
//! Juditsky 1992 with a decay). The average is f32 in every precision: of 1−β ≪ 1 a format of 16 bits would lose everything.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::average::{Average, average, moving_average};
use crate::arena::{self, Arena};
use crate::context::Context;
use crate::error::{Error, require_decay};
use crate::gradients::of_format;
use crate::launch::{Strategy, Sweep, run_start};
use crate::precision::{Exact, HostFormat, Native, Storage};

#[cube(launch_unchecked)]
fn average_kernel<S: Storage, N: Size, W: Size>(
    weights: &Array<Vector<S::Word, N>>,
    averages: &mut Array<Vector<f32, W>>,
    decay: &Average,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] first: bool,
) {
    let decay = decay.held();
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let values = S::load::<N>(weights, at, sweep.width);
            if comptime!(first) {
                <Native<f32> as Storage>::store::<W>(averages, at, &values, sweep.width);
            } else {
                let before = <Native<f32> as Storage>::load::<W>(averages, at, sweep.width);
                let mut moved = Sequence::<f32>::new();
                #[unroll]
                for lane in 0..sweep.width {
                    let (old, value) = (*before.index(lane), *values.index(lane));
                    moved.push(moving_average::<Exact>(old, value, &decay));
                }
                <Native<f32> as Storage>::store::<W>(averages, at, &moved, sweep.width);
            }
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// `averages` ← β · `averages` + (1−β) · `weights`, or `weights` at the `first` time. `weights` is an arena of any format, `averages`
/// one of f32.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout, averages that are not f32 and a sweep that breaks words, [`Error::Range`] for a decay
/// outside 0 ≤ β < 1; launch errors as [`Context::launch`].
pub fn average_weights(
    context: &Context,
    weights: &Arena,
    averages: &Arena,
    decay: f64,
    first: bool,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "average of weights";
    require_decay(operation, "decay", decay)?;
    of_format!(weights.format(), S => launch::<S>(operation, context, [weights, averages], decay, first, strategy))
}

fn launch<S: HostFormat>(
    operation: &'static str,
    context: &Context,
    [weights, averages]: [&Arena; 2],
    decay: f64,
    first: bool,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let layout = averages.layout();
    arena::require::<Native<f32>>(operation, layout, [("averages", averages)])?;
    arena::require::<S>(operation, layout, [("weights", weights)])?;
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, S::PER_WORD)?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    let grid = sweep.grid(layout, 2);
    let variant = (type_name::<S>(), sweep, first);
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: both arenas are of one layout, and runs lie between its pads.
        unsafe {
            average_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::PER_WORD,
                sweep.width,
                weights.vectors(sweep.width),
                averages.vectors(sweep.width),
                average(decay),
                sweep.runs(layout) as u32,
                sweep,
                first,
            );
        }
    })
}
