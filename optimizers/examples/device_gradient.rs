//! Gradients that are computed on the device, by a kernel of this program: neither weights nor gradients pass through host
//! memory. The loss is that of least squares, L(w, b) = 1/2N Σ (xᵢ·w + b − yᵢ)², and the solution w = 1, b = ½.

use std::error::Error;
use std::rc::Rc;

use cubecl::prelude::*;
use sonew_optimizers::{Arena, Context, Format, Graft, Grid, Layout, PrecisionKind, Sonew};
use sonew_runtime::{Gpu, Selector, open};

const INPUTS: usize = 8;
const SAMPLES: usize = 256;

/// `data` has rows of x and y. A unit for each weight, and the last for the bias, whose input is 1. `w_at` and `b_at` are where
/// the tensors begin in arenas; what lies between tensors stays zero.
#[cube(launch)]
fn least_squares(
    data: &Array<f32>,
    params: &Array<f32>,
    grads: &mut Array<f32>,
    loss: &mut Array<f32>,
    w_at: u32,
    b_at: u32,
) {
    let unit = ABSOLUTE_POS;
    if unit <= INPUTS {
        let mut gradient = 0.0f32;
        let mut squares = 0.0f32;
        for i in 0..SAMPLES {
            let row = i * (INPUTS + 1);
            let mut residual = params[b_at as usize] - data[row + INPUTS];
            for j in 0..INPUTS {
                residual += data[row + j] * params[w_at as usize + j];
            }
            gradient += residual * select(unit == INPUTS, 1.0f32, data[row + unit]);
            squares += residual * residual;
        }
        let at = select(unit == INPUTS, b_at as usize, w_at as usize + unit);
        grads[at] = gradient / SAMPLES as f32;
        loss[unit] = squares / (2 * SAMPLES) as f32;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    let context = Rc::new(Context::new(device.client, device.info.profile));
    let values = SAMPLES * (INPUTS + 1);
    let mut data: Vec<f32> = (0..values).map(|i| (i as f32).sin()).collect();
    for row in data.chunks_exact_mut(INPUTS + 1) {
        row[INPUTS] = 0.5 + row[..INPUTS].iter().sum::<f32>();
    }
    let (data, loss) = (context.upload(&data), context.upload(&[0f32; INPUTS + 1]));

    let layout = Layout::with_shapes(vec![vec![INPUTS], vec![]])?;
    let [w_at, b_at] = [0, 1].map(|tensor: usize| layout.tensors()[tensor].start as u32);
    let params = Arena::zeros(&context, &layout, Format::F32);
    // A buffer of one's own is an arena if it has the length of one.
    let buffer = context.upload(&vec![0f32; layout.arena_len()]);
    let grads = Arena::around(buffer, &layout, Format::F32)?;
    let settings = Sonew::tridiagonal().graft(Graft::Adam);
    let mut sonew = settings.build(PrecisionKind::F32, context.clone(), &layout)?;

    let buffers = [&data, params.handle(), grads.handle(), &loss];
    let grid = Grid {
        cubes: 1,
        units: 16,
        // The scalars are in one of their own.
        buffers: buffers.len() as u32 + 1,
    };
    let mut losses = Vec::new();
    for step in 0..=300 {
        // SAFETY: each buffer is as long as it says, and the kernel stays within.
        let arguments = buffers.map(|it| unsafe {
            ArrayArg::<Gpu>::from_raw_parts(it.clone(), it.size_in_used() as usize / 4)
        });
        context.launch("least squares", (), grid, |client, cubes, dim| {
            let [data, params, grads, loss] = arguments;
            least_squares::launch(client, cubes, dim, data, params, grads, loss, w_at, b_at);
        })?;
        if step % 100 == 0 {
            losses.push(context.download::<f32>("reading the loss", &loss)?[0]);
            println!("step {step:3}: loss {:.6}", losses[step / 100]);
        }
        sonew.step(&params, &grads, 0.1)?;
    }
    let fell = losses[3] < 0.01 * losses[0];
    fell.then_some(()).ok_or("the loss did not fall".into())
}
