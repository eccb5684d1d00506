//! Shampoo on weights of 16 bits: states and steps are f32, gradients come scaled, and a step whose gradient overflows is
//! not taken. The loss is ½‖w‖², so that the gradient is w.

use std::error::Error;
use std::rc::Rc;

use sonew_optimizers::{Arena, Context, Layout, PrecisionKind, Shampoo};
use sonew_runtime::{Selector, open};

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    let context = Rc::new(Context::new(device.client, device.info.profile));
    let precision = PrecisionKind::F16Mixed;

    // Shampoo looks at the shapes: a matrix has two factors, a vector one.
    let layout = Layout::with_shapes(vec![vec![16, 32], vec![16]])?;
    let params = Arena::filled(&context, &layout, precision.format(), 4.0);
    let settings = Shampoo::default()
        .start_step(0)
        .root_interval(5)
        // Or a tensor as small as this one would be merged into a vector.
        .merge_size(1);
    let mut shampoo = settings.build(precision, context.clone(), &layout)?;
    for assignment in shampoo.assignments() {
        println!("{assignment}");
    }

    for call in 0..=40 {
        let weights = params.tensors(&context)?;
        if call % 10 == 0 {
            let loss: f32 = weights.iter().flatten().map(|w| 0.5 * w * w).sum();
            println!("call {call:2}: loss {loss:.1}");
        }
        let scale = shampoo.loss_scale() as f32;
        let scaled = |tensor: &Vec<f32>| tensor.iter().map(|w| scale * w).collect::<Vec<_>>();
        let gradients: Vec<_> = weights.iter().map(scaled).collect();
        let grads = Arena::of(&context, &layout, precision.format(), &gradients)?;
        shampoo.step(&params, &grads, 0.1)?;
    }
    let skipped = shampoo.report()?.skipped_steps;
    println!(
        "{skipped} steps skipped, the loss is now scaled by {}",
        shampoo.loss_scale()
    );
    Ok(())
}
