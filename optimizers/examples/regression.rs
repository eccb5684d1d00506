//! Tridiagonal SONew on a linear regression whose gradients come from the host: y = x·w with w = 1, four inputs a step.

use std::error::Error;
use std::rc::Rc;

use sonew_optimizers::{Arena, Context, Graft, Layout, PrecisionKind, Sonew};
use sonew_runtime::{Selector, open};

const WEIGHTS: usize = 64;
const BATCH: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    let context = Rc::new(Context::new(device.client, device.info.profile));

    // One tensor. All tensors of a model lie in one arena, and one step moves them all.
    let layout = Layout::new(&[WEIGHTS])?;
    let precision = PrecisionKind::F32;
    let params = Arena::zeros(&context, &layout, precision.format());
    // The direction of SONew, with the length of Adam's step.
    let settings = Sonew::tridiagonal().graft(Graft::Adam);
    let mut sonew = settings.build(precision, context.clone(), &layout)?;

    let mut noise = Noise(1);
    let mut distances = Vec::new();
    for step in 0..=400 {
        let weights = &params.tensors(&context)?[0];
        if step % 100 == 0 {
            let squares: f32 = weights.iter().map(|w| (w - 1.0) * (w - 1.0)).sum();
            distances.push(squares.sqrt());
            println!("step {step:3}: {:.4} from the solution", squares.sqrt());
        }
        let gradient = gradient(weights, &mut noise);
        let grads = Arena::of(&context, &layout, precision.format(), &[gradient])?;
        sonew.step(&params, &grads, 0.05)?;
    }
    println!("pivots cut: {:?}", sonew.report()?.pivots_cut);
    if distances[4] < 0.5 * distances[0] {
        Ok(())
    } else {
        Err("the weights did not come near the solution".into())
    }
}

/// Of ½ (x·w − y)², over inputs whose neighbouring entries have something in common.
fn gradient(weights: &[f32], noise: &mut Noise) -> Vec<f32> {
    let mut gradient = vec![0.0; WEIGHTS];
    for _ in 0..BATCH {
        let fresh: Vec<f32> = (0..=WEIGHTS).map(|_| noise.next()).collect();
        let x: Vec<f32> = fresh.windows(2).map(|pair| pair[0] + pair[1]).collect();
        let error: f32 = x.iter().zip(weights).map(|(x, w)| x * (w - 1.0)).sum();
        for (g, x) in gradient.iter_mut().zip(&x) {
            *g += error * x / BATCH as f32;
        }
    }
    gradient
}

/// Numbers in [−1, 1) without structure (Knuth's linear congruential generator MMIX).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
