//! Gradients that are computed on the device, by a kernel of this program: neither weights nor gradients pass through host
//! memory. The loss is that of least squares, L(w, b) = 1/2N Σ (xᵢ·w + b − yᵢ)².

use std::error::Error;
use std::rc::Rc;

use cubecl::prelude::*;
use sonew_optimizers::{Arena, Context, Format, Graft, Grid, Layout, PrecisionKind, Sonew};
use sonew_runtime::{Gpu, Selector, open};

const INPUTS: usize = 8;
const SAMPLES: usize = 256;

/// A unit for each weight, and the last for the bias, whose input is 1. `w_at` and `b_at` are where the tensors begin in the
/// arenas of parameters and gradients; what lies between tensors stays zero.
#[cube(launch)]
fn least_squares(
    x: &Array<f32>,
    y: &Array<f32>,
    params: &Array<f32>,
    grads: &mut Array<f32>,
    loss: &mut Array<f32>,
    w_at: u32,
    b_at: u32,
) {
    let unit = ABSOLUTE_POS;
    if unit <= INPUTS {
        let (mut gradient, mut squares) = (0.0f32, 0.0f32);
        for i in 0..SAMPLES {
            let mut residual = params[b_at as usize] - y[i];
            for j in 0..INPUTS {
                residual += x[i * INPUTS + j] * params[w_at as usize + j];
            }
            let input = x[i * INPUTS + unit % INPUTS];
            gradient += residual * select(unit == INPUTS, 1.0f32, input);
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
    let noise = (1..=SAMPLES * INPUTS).map(|i| ((i * i) as f32).sin());
    let x: Vec<f32> = noise.collect();
    let target = |x: &[f32]| 0.5 + (1..).zip(x).map(|(j, x)| j as f32 * x).sum::<f32>();
    let y: Vec<f32> = x.chunks(INPUTS).map(target).collect();
    let [x, y, loss] = [&x[..], &y, &[0.0; INPUTS + 1]].map(|it| context.upload(it));

    let layout = Layout::with_shapes(vec![vec![INPUTS], vec![]])?;
    let params = Arena::zeros(&context, &layout, Format::F32);
    // A buffer of one's own is an arena if it has the length of one.
    let buffer = context.upload(&vec![0f32; layout.arena_len()]);
    let grads = Arena::around(buffer, &layout, Format::F32)?;
    let [w_at, b_at] = [0, 1].map(|tensor: usize| layout.tensors()[tensor].start as u32);
    let settings = Sonew::tridiagonal().graft(Graft::Adam);
    let mut sonew = settings.build(PrecisionKind::F32, context.clone(), &layout)?;

    let buffers = [&x, &y, params.handle(), grads.handle(), &loss];
    let grid = Grid {
        cubes: 1,
        units: 16,
        buffers: buffers.len() as u32 + 1,
    };
    let mut losses = Vec::new();
    for step in 0..=300 {
        // SAFETY: each buffer is as long as it says, and the kernel stays within.
        let arguments = buffers.map(|it| unsafe {
            ArrayArg::<Gpu>::from_raw_parts(it.clone(), it.size_in_used() as usize / 4)
        });
        context.launch("least squares", (), grid, |client, cubes, dim| {
            let [x, y, params, grads, loss] = arguments;
            least_squares::launch(client, cubes, dim, x, y, params, grads, loss, w_at, b_at);
        })?;
        if step % 100 == 0 {
            losses.push(context.download::<f32>("reading the loss", &loss)?[0]);
            println!("step {step:3}: loss {:.6}", losses[losses.len() - 1]);
        }
        sonew.step(&params, &grads, 0.1)?;
    }
    let fell = losses.windows(2).all(|pair| pair[1] < pair[0]);
    if fell {
        Ok(())
    } else {
        Err("the loss did not fall".into())
    }
}
