//! The mean of K gradients in the making: a ← g/K with the first, a ← a + g/K with each other. After K of them a is what
//! `optax.MultiSteps` hands on, and what `loss / K` leaves in `.grad` in PyTorch. The mean is f32 in every precision.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::of_format;
use crate::arena::{self, Arena};
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep, run_start};
use crate::precision::{HostFormat, Native, Storage, held};

#[cube(launch_unchecked)]
fn accumulate_kernel<S: Storage, N: Size, W: Size>(
    grads: &Array<Vector<S::Word, N>>,
    mean: &mut Array<Vector<f32, W>>,
    share: f32,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] first: bool,
) {
    let share = held(share);
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        for step in 0..sweep.run {
            let at = start + step;
            let gradient = S::load::<N>(grads, at, sweep.width);
            let mut sums = Sequence::<f32>::new();
            if comptime!(first) {
                #[unroll]
                for lane in 0..sweep.width {
                    sums.push(share * *gradient.index(lane));
                }
            } else {
                let before = <Native<f32> as Storage>::load::<W>(mean, at, sweep.width);
                #[unroll]
                for lane in 0..sweep.width {
                    sums.push(*before.index(lane) + share * *gradient.index(lane));
                }
            }
            <Native<f32> as Storage>::store::<W>(mean, at, &sums, sweep.width);
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
}

/// `mean` ← g/K + (`first`: nothing, which need not have been cleared; otherwise `mean`), with K = `of` ≥ 1. `grads` is an arena of any
/// format, `mean` one of f32. What is not finite stays so until the next first.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout, a mean that is not f32 and a sweep that breaks words, [`Error::Range`] for K = 0; launch
/// errors as [`Context::launch`].
pub fn accumulate(
    context: &Context,
    grads: &Arena,
    mean: &Arena,
    of: u64,
    first: bool,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "gradient accumulation";
    if of == 0 {
        return Err(Error::Range {
            operation,
            argument: "of",
            found: 0.0,
            expected: "≥ 1",
        });
    }
    of_format!(grads.format(), S => launch::<S>(operation, context, [grads, mean], of, first, strategy))
}

fn launch<S: HostFormat>(
    operation: &'static str,
    context: &Context,
    [grads, mean]: [&Arena; 2],
    of: u64,
    first: bool,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let layout = mean.layout();
    arena::require::<Native<f32>>(operation, layout, [("mean", mean)])?;
    arena::require::<S>(operation, layout, [("grads", grads)])?;
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, S::PER_WORD)?;
    sweep.check_loops(operation, layout, context.profile(), sweep.run + 1)?;
    let grid = sweep.grid(layout, 2);
    let variant = (type_name::<S>(), sweep, first);
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: both arenas are of one layout, and runs lie between its pads.
        unsafe {
            accumulate_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::PER_WORD,
                sweep.width,
                grads.vectors(sweep.width),
                mean.vectors(sweep.width),
                (1.0 / of as f64) as f32,
                sweep.runs(layout) as u32,
                sweep,
                first,
            );
        }
    })
}
