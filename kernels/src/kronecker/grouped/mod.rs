//! Many matrix products of different sizes in one launch, C_i ← keep · C_i + weight · A_i B_i, on the device.
//!
//! A table lists the products, another the tiles of all their results; cubes take a tile at a time, so each product costs
//! what its own size asks for. A and B are views with strides, so a transpose is one, and so is a block of a larger matrix.
//! Products and sums are f32, never TF32 or less.

mod table;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use crate::buffers::{array, optional};
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::kronecker::digits::{leading, lost_in_sum, opaque};
use crate::precision::held;
use table::WORDS;

pub use table::{Product, Products, Sums, TileBlueprint, View};

const OPERATION: &str = "grouped product";

/// Cubes at most; every device allows as many along x.
const CUBES: usize = 1 << 15;

/// x, at most ±`bound`; NaN stays NaN.
#[cube]
fn bounded(x: f32, bound: f32) -> f32 {
    select(x > bound, bound, select(x < -bound, -bound, x))
}

#[cube(launch_unchecked)]
fn grouped_kernel(
    a: &Array<f32>,
    b: &Array<f32>,
    c: &mut Array<f32>,
    problems: &Array<u32>,
    tiles: &Array<u32>,
    phases: &Sequence<Array<u32>>,
    keep: f32,
    weight: f32,
    bound: f32,
    tile_count: u32,
    mask: u32,
    zero: u32,
    #[comptime] blueprint: TileBlueprint,
    #[comptime] gated: bool,
) {
    let compensated = comptime!(blueprint.sums == Sums::Compensated);
    let tile = comptime!(blueprint.tile);
    let chunk = comptime!(blueprint.chunk);
    let micro = comptime!(blueprint.micro);
    let side = comptime!(blueprint.tile / blueprint.micro);
    let loads = comptime!(blueprint.tile * blueprint.chunk / blueprint.units());
    let keep = held(keep);
    let weight = held(weight);
    let mut left = SharedMemory::<f32>::new(comptime!(blueprint.tile * blueprint.chunk));
    let mut right = SharedMemory::<f32>::new(comptime!(blueprint.tile * blueprint.chunk));
    let unit = UNIT_POS as usize;
    let row = unit / side * micro;
    let column = unit % side * micro;
    let mut sums = Array::<f32>::new(comptime!(blueprint.micro * blueprint.micro));
    let mut rests = Array::<f32>::new(comptime!(blueprint.micro * blueprint.micro));
    let bound = held(bound);
    let mut at = CUBE_POS;
    while at < tile_count as usize {
        let entry = at * 3;
        let problem = tiles[entry] as usize * comptime!(WORDS);
        let first_row = tiles[entry + 1] as usize;
        let first_column = tiles[entry + 2] as usize;
        let a_offset = problems[problem] as usize;
        let a_row = problems[problem + 1] as usize;
        let a_column = problems[problem + 2] as usize;
        let b_offset = problems[problem + 3] as usize;
        let b_row = problems[problem + 4] as usize;
        let b_column = problems[problem + 5] as usize;
        let c_offset = problems[problem + 6] as usize;
        let c_row = problems[problem + 7] as usize;
        let m = problems[problem + 8] as usize;
        let n = problems[problem + 9] as usize;
        let mut k = problems[problem + 10] as usize;
        let mut goes_on = true;
        if comptime!(gated) {
            let phase = phases.index(0usize)[problems[problem + 11] as usize];
            goes_on = (mask >> phase) & 1u32 == 1u32;
            k = select(goes_on, k, 0);
        }

        #[unroll]
        for i in 0..comptime!(blueprint.micro * blueprint.micro) {
            sums[i] = 0.0;
            rests[i] = 0.0;
        }
        let mut term = 0usize;
        while term < k {
            #[unroll]
            for load in 0..loads {
                let slot = load * comptime!(blueprint.units()) + unit;
                // Left is kept by terms, right by terms too: both are read along a row below.
                let (t, i) = (slot / tile, slot % tile);
                let (own_term, own_row, own_column) = (term + t, first_row + i, first_column + i);
                let in_a = own_term < k && own_row < m;
                let in_b = own_term < k && own_column < n;
                let from_a = select(
                    in_a,
                    a_offset + own_row * a_row + own_term * a_column,
                    a_offset,
                );
                let from_b = select(
                    in_b,
                    b_offset + own_term * b_row + own_column * b_column,
                    b_offset,
                );
                left[slot] = select(in_a, bounded(a[from_a], bound), 0.0);
                right[slot] = select(in_b, bounded(b[from_b], bound), 0.0);
            }
            sync_cube();
            for t in 0..chunk {
                #[unroll]
                for i in 0..micro {
                    let x = left[t * tile + row + i];
                    #[unroll]
                    for j in 0..micro {
                        let y = right[t * tile + column + j];
                        if comptime!(compensated) {
                            let (x_high, y_high) = (leading(x), leading(y));
                            let (x_low, y_low) = (x - x_high, y - y_high);
                            let term = x_high * y_high;
                            let before = sums[i * micro + j];
                            let after = opaque(before + term, zero);
                            sums[i * micro + j] = after;
                            rests[i * micro + j] += lost_in_sum(before, term, after, zero)
                                + (x_high * y_low + x_low * y);
                        } else {
                            sums[i * micro + j] += x * y;
                        }
                    }
                }
            }
            sync_cube();
            term += chunk;
        }
        #[unroll]
        for i in 0..micro {
            #[unroll]
            for j in 0..micro {
                let (own_row, own_column) = (first_row + row + i, first_column + column + j);
                if goes_on && own_row < m && own_column < n {
                    let target = c_offset + own_row * c_row + own_column;
                    let mut value = weight * (sums[i * micro + j] + rests[i * micro + j]);
                    if keep != 0.0 {
                        value += keep * c[target];
                    }
                    c[target] = value;
                }
            }
        }
        at += CUBE_COUNT;
    }
}

/// C_i ← `keep` · C_i + `weight` · A_i B_i for all products, in one launch. `a`, `b` and `c` are buffers of f32 that the
/// views look into; C is read only if `keep` is not 0, and must overlap neither A nor B. Entries of A and B count as at most
/// ±`bound`, if there is one.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short; launch errors as [`Context::launch`].
pub fn grouped_product(
    context: &Context,
    products: &Products,
    a: &Handle,
    b: &Handle,
    c: &Handle,
    keep: f64,
    weight: f64,
    bound: Option<f32>,
) -> Result<(), Error> {
    let scale = Scale {
        keep,
        weight,
        bound,
    };
    launch_grouped(context, products, [a, b, c], scale, None)
}

/// What [`grouped_product`] multiplies with.
#[derive(Clone, Copy)]
struct Scale {
    keep: f64,
    weight: f64,
    bound: Option<f32>,
}

/// Products whose phase, a number below 32, is not in the set of bits `mask` are passed over.
#[derive(Clone, Copy)]
pub(super) struct Gate<'a> {
    pub phases: &'a Handle,
    pub mask: u32,
}

/// C_i ← `keep` · C_i + A_i B_i for the products that the gate lets through. `phases` must have a word for every index that
/// [`Products::gated`] was given.
pub(super) fn gated_product(
    context: &Context,
    products: &Products,
    buffers: [&Handle; 3],
    keep: f64,
    gate: Gate<'_>,
) -> Result<(), Error> {
    let scale = Scale {
        keep,
        weight: 1.0,
        bound: None,
    };
    launch_grouped(context, products, buffers, scale, Some(gate))
}

fn launch_grouped(
    context: &Context,
    products: &Products,
    buffers: [&Handle; 3],
    scale: Scale,
    gate: Option<Gate<'_>>,
) -> Result<(), Error> {
    let [a, b, c] = buffers;
    for ((argument, buffer), needs) in [("a", a), ("b", b), ("c", c)]
        .into_iter()
        .zip(products.needs)
    {
        let (found, expected) = (buffer.size_in_used(), 4 * needs as u64);
        if found < expected {
            return Err(Error::Length {
                operation: OPERATION,
                argument,
                found,
                expected,
            });
        }
    }
    if products.tile_count == 0 {
        return Ok(());
    }
    let blueprint = products.blueprint;
    let grid = Grid {
        cubes: products.tile_count.min(CUBES) as u32,
        units: blueprint.units() as u32,
        buffers: 6 + u32::from(gate.is_some()),
    };
    let gated = gate.is_some();
    let phases = gate.map(|gate| gate.phases);
    let variant = (blueprint, gated);
    context.launch(OPERATION, variant, grid, move |client, cubes, units| {
        let values = |buffer: &Handle| (buffer.size_in_used() / 4) as usize;
        // SAFETY: each buffer was checked to hold the last entry of every view; loads beyond a matrix are redirected to
        // its first entry, stores beyond it are skipped, and cubes stop at the last tile.
        unsafe {
            grouped_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                units,
                array(a, values(a)),
                array(b, values(b)),
                array(c, values(c)),
                array(&products.problems, products.count * WORDS),
                array(&products.tiles, 3 * products.tile_count),
                optional(phases, phases.map_or(0, values)),
                scale.keep as f32,
                scale.weight as f32,
                scale.bound.unwrap_or(f32::MAX),
                products.tile_count as u32,
                gate.map_or(0, |gate| gate.mask),
                0,
                blueprint,
                gated,
            );
        }
    })
}
