//! The norm over all tensors, ‖g‖ = √(Σ_t ‖g_t‖²), and the factor that brings a gradient down to a norm of at most c:
//! s = c / ‖g‖ where ‖g‖ > c, otherwise 1 (`optax.clip_by_global_norm`; PyTorch's `clip_grad_norm_` has c / (‖g‖ + 10⁻⁶), which
//! differs by 10⁻⁶ / ‖g‖ of itself).
//!
//! Where ‖g‖ is not finite, s = 0: the tensors with what is not finite keep it ([`crate::gradients::clip`]), the others do not move by
//! a gradient of unknown length. PyTorch's has 0 too where ‖g‖ is infinite, and makes all of the gradient NaN where it is NaN.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::length::{Length, add, merge};
use crate::arena::Layout;
use crate::context::{Context, Units};
use crate::error::{Error, require_positive};
use crate::evidence::{INFINITY, magnitude_bits};
use crate::launch::{Grid, array, require_bytes};

/// Numbers that [`global_norm`] writes.
pub const GLOBAL: usize = 2;
/// Which of them is ‖g‖,
const NORM: usize = 0;
/// and which is s.
pub(crate) const FACTOR: usize = 1;

#[cube(launch_unchecked)]
fn global_norm_kernel(
    norms: &Array<f32>,
    counted: &Array<u32>,
    out: &mut Array<f32>,
    most: f32,
    tensors: u32,
    #[comptime] units: usize,
) {
    let own = UNIT_POS as usize;
    let mut length = Length::new();
    let mut tensor = own;
    while tensor < tensors as usize {
        // A norm that is not counted may be NaN.
        add(
            &mut length,
            select(counted[tensor] > 0, norms[tensor], 0.0f32),
        );
        tensor += units;
    }
    // The squares of each unit, then their units of measure: one array, as a fold needs both.
    let mut shared = SharedMemory::<f32>::new(comptime!(2 * units));
    shared[own] = length.squares;
    shared[own + units] = f32::reinterpret(length.unit);
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if own < half {
            let other = Length {
                squares: shared[own + half],
                unit: u32::reinterpret(shared[own + half + units]),
            };
            merge(&mut length, &other);
            shared[own] = length.squares;
            shared[own + units] = f32::reinterpret(length.unit);
        }
        sync_cube();
        half /= 2;
    }
    if own == 0 {
        let norm = length.root();
        let shrinks = select(norm > most, most / norm, 1.0f32);
        out[NORM] = norm;
        out[FACTOR] = select(magnitude_bits(norm) < INFINITY, shrinks, 0.0f32);
    }
}

/// ‖g‖ and s in the two numbers of `out`, from the norms of the tensors ([`super::norm_per_tensor`]; f32, one each) with c = `most` > 0.
/// `counted` is a word for each tensor: one with 0 there is left out, whatever its norm.
///
/// The fold is in a fixed order, and neither overflows nor underflows where ‖g‖ does not.
///
/// # Errors
/// [`Error::Range`] for a c that is not positive, [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
pub fn global_norm(
    context: &Context,
    layout: &Layout,
    norms: &Handle,
    counted: &Handle,
    most: f64,
    out: &Handle,
) -> Result<(), Error> {
    let operation = "global norm";
    let most = require_positive(operation, "most", most)?;
    let tensors = layout.tensors().len();
    require_bytes(operation, "norms", norms, 4 * tensors as u64)?;
    require_bytes(operation, "counted", counted, 4 * tensors as u64)?;
    require_bytes(operation, "out", out, 4 * GLOBAL as u64)?;
    let units: usize = match context.profile().units {
        Units::Few => 64,
        Units::Many => 256,
    };
    let grid = Grid {
        cubes: 1,
        units: units as u32,
        buffers: 4,
    };
    context.launch(operation, (), grid, |client, cubes, dim| {
        // SAFETY: the lengths of all buffers were checked.
        unsafe {
            global_norm_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                dim,
                array(norms, tensors),
                array(counted, tensors),
                array(out, GLOBAL),
                most,
                tensors as u32,
                units,
            );
        }
    })
}
