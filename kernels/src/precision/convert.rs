//! An arena from one format to another.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::Storage;
use crate::buffers::{array, require_arena};
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::segments::Segments;

const WIDTH: usize = 4;
/// Vectors of a unit.
const RUN: usize = 64;
const UNITS: usize = 64;

#[cube(launch_unchecked)]
fn convert_kernel<A: Storage, B: Storage, NA: Size, NB: Size>(
    from: &Array<Vector<A::Word, NA>>,
    to: &mut Array<Vector<B::Word, NB>>,
    runs: u32,
) {
    let run = ABSOLUTE_POS;
    if run < runs as usize {
        for step in 0..RUN {
            let at = run * RUN + step;
            let values = A::load::<NA>(from, at, WIDTH);
            B::store::<NB>(to, at, &values, WIDTH);
        }
    }
}

/// `to` ← `from`, both arenas, widened or rounded to nearest.
///
/// # Errors
/// [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
pub fn convert<A: Storage, B: Storage, R: Runtime>(
    context: &Context<R>,
    segments: &Segments,
    from: &Handle,
    to: &Handle,
) -> Result<(), Error> {
    let operation = "convert";
    let n = segments.arena_len();
    require_arena::<A>(operation, "from", from, n)?;
    require_arena::<B>(operation, "to", to, n)?;
    // An arena is a whole number of blocks, and a run is one.
    let (vectors, runs) = (n / WIDTH, n / (WIDTH * RUN));
    let grid = Grid {
        cubes: runs.div_ceil(UNITS) as u32,
        units: UNITS as u32,
        buffers: 3,
    };
    let variant = (type_name::<A>(), type_name::<B>());
    context.launch(operation, variant, grid, |client, cubes, units| {
        // SAFETY: both buffers were checked to hold the arena, and units beyond the last run do nothing.
        unsafe {
            convert_kernel::launch_unchecked::<A, B, R>(
                client,
                cubes,
                units,
                WIDTH / A::PER_WORD,
                WIDTH / B::PER_WORD,
                array::<R>(from, vectors),
                array::<R>(to, vectors),
                runs as u32,
            );
        }
    })
}
