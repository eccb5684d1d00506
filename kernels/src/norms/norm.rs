//! The norm of each tensor: a launch that has a value for each block, and the fold of those.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::length::{BlockLength, measure_vector, of_block, shared_parts, show_parts};
use super::reduction::Reduction;
use crate::arena::{self, Arena, BLOCK};
use crate::context::{Context, Profile, Units};
use crate::error::Error;
use crate::gradients::of_format;
use crate::launch::{Grid, array, require_bytes};
use crate::precision::{HostFormat, Precision, Storage};

/// How the blocks of an arena are shared out: on a software driver each to a unit, on a GPU several at a time to the units of a
/// cube, neighbouring units neighbouring vectors.
pub(crate) const WIDTH: usize = 4;
pub(crate) const VECTORS: usize = BLOCK / WIDTH;
pub(crate) const AT_ONCE: usize = 4;

/// A launch over the blocks of an arena.
pub(crate) fn per_block_grid(profile: Profile, blocks: usize, buffers: usize) -> Grid {
    let (units, at_once) = match profile.units {
        Units::Few => (64, 64),
        Units::Many => (AT_ONCE * VECTORS, AT_ONCE),
    };
    Grid {
        cubes: blocks.div_ceil(at_once).clamp(1, 4096) as u32,
        units: units as u32,
        buffers: 1 + buffers as u32,
    }
}

#[cube(launch_unchecked)]
fn norm_kernel<S: Storage, N: Size>(
    values: &Array<Vector<S::Word, N>>,
    partials: &mut Array<f32>,
    blocks: u32,
    #[comptime] team: bool,
) {
    if comptime!(team) {
        let mut shared = SharedMemory::<f32>::new(comptime!(shared_parts(AT_ONCE)));
        let mut first = CUBE_POS * AT_ONCE;
        while first < blocks as usize {
            let at = first * VECTORS + UNIT_POS as usize;
            if at < blocks as usize * VECTORS {
                let part = S::load::<N>(values, at + VECTORS, WIDTH);
                show_parts(
                    &mut shared,
                    0usize,
                    UNIT_POS as usize,
                    &part,
                    WIDTH,
                    AT_ONCE,
                );
            }
            sync_cube();
            let own = UNIT_POS as usize;
            if own < AT_ONCE && first + own < blocks as usize {
                partials[first + own] = of_block(&shared, 0usize, own, blocks as usize, AT_ONCE);
            }
            sync_cube();
            first += CUBE_COUNT * AT_ONCE;
        }
    } else {
        let mut block = ABSOLUTE_POS;
        while block < blocks as usize {
            let mut length = BlockLength::new();
            for v in 0..VECTORS {
                let at = (block + 1) * VECTORS + v;
                let part = S::load::<N>(values, at, WIDTH);
                measure_vector(
                    &mut length,
                    partials,
                    &part,
                    at,
                    WIDTH,
                    false,
                    0usize,
                    1usize,
                );
            }
            partials[block] = length.root();
            block += CUBE_COUNT * CUBE_DIM as usize;
        }
    }
}

/// ‖x‖ of each tensor of an arena in the parameters' format. `partials` is scratch, one f32 for each block between
/// the pads; `out` one f32 for each tensor.
///
/// # Errors
/// [`Error::Shape`] for an arena of another layout than the reduction's or another format, [`Error::Length`] for a table of
/// another length; launch errors as [`Context::launch`].
pub fn norm_per_tensor<S: Precision>(
    context: &Context,
    reduction: &Reduction,
    values: &Arena,
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    launch::<S::Params>(context, reduction, values, partials, out)
}

/// [`norm_per_tensor`] of an arena of any format.
///
/// # Errors
/// As [`norm_per_tensor`].
pub fn norm_of_each(
    context: &Context,
    reduction: &Reduction,
    values: &Arena,
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    of_format!(values.format(), S => launch::<S>(context, reduction, values, partials, out))
}

fn launch<S: HostFormat>(
    context: &Context,
    reduction: &Reduction,
    values: &Arena,
    partials: &Handle,
    out: &Handle,
) -> Result<(), Error> {
    let operation = "norm";
    let layout = reduction.layout();
    arena::require::<S>(operation, layout, [("values", values)])?;
    let blocks = layout.blocks() - 2;
    require_bytes(operation, "partials", partials, 4 * blocks as u64)?;
    let team = context.profile().units == Units::Many;
    let grid = per_block_grid(context.profile(), blocks, 2);
    context.launch(
        operation,
        (type_name::<S>(), team),
        grid,
        |client, cubes, dim| {
            // SAFETY: the arena is of the layout, and the partials one for each block swept.
            unsafe {
                norm_kernel::launch_unchecked::<S, Gpu>(
                    client,
                    cubes,
                    dim,
                    WIDTH / S::PER_WORD,
                    values.vectors(WIDTH),
                    array(partials, blocks),
                    blocks as u32,
                    team,
                );
            }
        },
    )?;
    reduction.norms(context, partials, out)
}
