//! a = tanh(z + b) of a dense layer, or z + b if it is linear, and the way back, δ ← δ (1 − a²). Both in place on
//! `[rows, columns]`.
//!
//! tanh is the 13/6 rational minimax approximation that Eigen uses, as on the host: drivers differ in how they compute
//! tanh, and some overflow for large arguments.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, item_count};
use crate::buffers::{array, require_bytes};
use crate::context::Context;
use crate::error::Error;

#[cube]
fn rational_tanh(x: f32) -> f32 {
    // Comparisons, not `clamp`: NaN passes through.
    let x = select(x > 7.905_311f32, 7.905_311f32, x);
    let x = select(x < -7.905_311f32, -7.905_311f32, x);
    let s = x * x;
    let p = -2.760_768_5e-16f32 * s + 2.000_188e-13f32;
    let p = p * s - 8.604_672e-11f32;
    let p = p * s + 5.122_297e-8f32;
    let p = p * s + 1.485_722_4e-5f32;
    let p = p * s + 6.372_619_3e-4f32;
    let p = p * s + 4.893_524_6e-3f32;
    let q = 1.198_258_4e-6f32 * s + 1.185_347_1e-4f32;
    let q = q * s + 2.268_434_6e-3f32;
    let q = q * s + 4.893_525e-3f32;
    x * p / q
}

#[cube(launch_unchecked)]
fn activate_kernel(
    z: &mut Array<f32>,
    bias: &Array<f32>,
    columns: u32,
    items: u32,
    #[comptime] linear: bool,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let sum = z[item as usize] + bias[(item % columns) as usize];
        if comptime!(linear) {
            z[item as usize] = sum;
        } else {
            z[item as usize] = rational_tanh(sum);
        }
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

#[cube(launch_unchecked)]
fn backward_tanh_kernel(delta: &mut Array<f32>, activation: &Array<f32>, items: u32) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let a = activation[item as usize];
        delta[item as usize] = delta[item as usize] * (1.0f32 - a * a);
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// z ← tanh(z + bias), or z + bias if `linear`; z is `[rows, columns]`, bias has `columns` values.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length; [`Error::Shape`] for more values than kernels can index; launch
/// errors as [`Context::launch`].
pub fn activate(
    context: &Context,
    z: &Handle,
    bias: &Handle,
    rows: usize,
    columns: usize,
    linear: bool,
) -> Result<(), Error> {
    let operation = "activation";
    let items = item_count(operation, rows, columns)?;
    require_bytes(operation, "z", z, 4 * items as u64)?;
    require_bytes(operation, "bias", bias, 4 * columns as u64)?;
    let grid = cover(context, items, 2);
    context.launch(operation, linear, grid, move |client, cubes, units| {
        // SAFETY: z holds `items` values and the bias `columns`, checked above.
        unsafe {
            activate_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                units,
                array(z, items),
                array(bias, columns),
                columns as u32,
                items as u32,
                linear,
            );
        }
    })
}

/// δ ← δ (1 − a²), the derivative of tanh at an activation a; both are `[rows, columns]`.
///
/// # Errors
/// As [`activate`].
pub fn backward_tanh(
    context: &Context,
    delta: &Handle,
    activation: &Handle,
    rows: usize,
    columns: usize,
) -> Result<(), Error> {
    let operation = "activation backward";
    let items = item_count(operation, rows, columns)?;
    require_bytes(operation, "delta", delta, 4 * items as u64)?;
    require_bytes(operation, "activation", activation, 4 * items as u64)?;
    let grid = cover(context, items, 2);
    context.launch(operation, (), grid, move |client, cubes, units| {
        // SAFETY: both buffers hold `items` values, checked above.
        unsafe {
            backward_tanh_kernel::launch_unchecked::<Gpu>(
                client,
                cubes,
                units,
                array(delta, items),
                array(activation, items),
                items as u32,
            );
        }
    })
}
