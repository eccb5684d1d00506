//! Gradients looked at before a step: what is not finite is counted, and if they were scaled they are widened to f32 and
//! scaled back.

use core::any::type_name;

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::{HostFormat, Native, Storage, held};
use crate::arena::{self, Arena, Slots};
use crate::context::Context;
use crate::error::Error;
use crate::evidence::{Found, magnitude_bits, note_non_finite};
use crate::launch::{Strategy, Sweep, run_start};

#[cube(launch_unchecked)]
fn inspect_kernel<S: Storage, N: Size, W: Size>(
    from: &Array<Vector<S::Word, N>>,
    to: &mut Sequence<Array<Vector<f32, W>>>,
    evidence: &mut Array<u32>,
    stamp: u32,
    factor: f32,
    runs: u32,
    #[comptime] sweep: Sweep,
    #[comptime] copies: bool,
) {
    let factor = held(factor);
    let mut found = Found::new();
    let mut run = ABSOLUTE_POS;
    while run < runs as usize {
        let start = run_start(run, sweep);
        let mut largest = 0u32;
        for step in 0..sweep.run {
            let at = start + step;
            let values = S::load::<N>(from, at, sweep.width);
            let mut scaled = Sequence::<f32>::new();
            #[unroll]
            for lane in 0..sweep.width {
                let value = *values.index(lane);
                largest = max(largest, magnitude_bits(value));
                scaled.push(factor * value);
            }
            if comptime!(copies) {
                let to = to.index_mut(0usize);
                <Native<f32> as Storage>::store::<W>(to, at, &scaled, sweep.width);
            }
        }
        note_non_finite::<S, N>(&mut found, from, start, largest, sweep);
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write(&found, evidence, stamp);
}

/// Counts the values of an arena that are not finite, in slots for [`crate::evidence::Evidence::read`]; with `to`, an
/// arena of f32, also `to` ← `factor` · `values`.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout or format and for a sweep that breaks words; launch errors as [`Context::launch`].
pub fn inspect<S: HostFormat>(
    context: &Context,
    values: &Arena,
    to: Option<&Arena>,
    factor: f64,
    evidence: &Slots,
    strategy: Strategy<Sweep>,
) -> Result<(), Error> {
    let operation = "gradient inspection";
    let layout = values.layout();
    arena::require::<S>(operation, layout, [("values", values)])?;
    arena::require::<Native<f32>>(operation, layout, arena::named("to", to))?;
    let sweep = strategy.resolve(|| Sweep::infer(context.profile()));
    sweep.check_words(operation, S::PER_WORD)?;
    let iterations = 2 * (sweep.run + 1);
    sweep.check_loops(operation, layout, context.profile(), iterations)?;
    let grid = sweep.grid(layout, 2 + usize::from(to.is_some()));
    let evidence = evidence.claim(operation, grid)?;
    let variant = (type_name::<S>(), sweep, to.is_some());
    context.launch(operation, variant, grid, move |client, cubes, units| {
        // SAFETY: the arenas are of one layout, runs lie between their pads, and the evidence has a slot for
        // each unit.
        unsafe {
            inspect_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                sweep.width / S::PER_WORD,
                sweep.width,
                values.vectors(sweep.width),
                arena::sequence(to, sweep.width),
                evidence.argument(),
                evidence.stamp,
                factor as f32,
                sweep.runs(layout) as u32,
                sweep,
                to.is_some(),
            );
        }
    })
}
