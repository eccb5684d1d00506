//! Two models on one device: a layout and an optimizer each, over one context. The loss of either is ½‖w − t‖², so that the
//! gradient is w − t.

use std::error::Error;
use std::rc::Rc;

use sonew_optimizers::{
    Arena, Context, FirstOrder, Graft, Layout, Optimizer, PrecisionKind, Sonew,
};
use sonew_runtime::{Selector, open};

struct Model {
    name: &'static str,
    target: f32,
    layout: Layout,
    precision: PrecisionKind,
    params: Arena,
    optimizer: Box<dyn Optimizer>,
    lr: f64,
}

impl Model {
    /// Takes a step, and returns the loss before it.
    fn step(&mut self, context: &Context) -> Result<f32, Box<dyn Error>> {
        let mut away = self.params.tensors(context)?;
        away.iter_mut().flatten().for_each(|w| *w -= self.target);
        let grads = Arena::of(context, &self.layout, self.precision.format(), &away)?;
        self.optimizer.step(&self.params, &grads, self.lr)?;
        Ok(away.iter().flatten().map(|x| 0.5 * x * x).sum())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    // The device is used from one thread, and all that runs on it shares the context.
    let context = Rc::new(Context::new(device.client, device.info.profile));

    let layout = Layout::with_shapes(vec![vec![16, 32], vec![16]])?;
    let precision = PrecisionKind::F32;
    let settings = Sonew::band(4).graft(Graft::Adam);
    let generator = Model {
        name: "generator",
        target: 1.0,
        params: Arena::zeros(&context, &layout, precision.format()),
        optimizer: settings.build(precision, context.clone(), &layout)?,
        lr: 0.02,
        layout,
        precision,
    };
    let layout = Layout::with_shapes(vec![vec![100]])?;
    let precision = PrecisionKind::Bf16Mixed;
    let settings = FirstOrder::adam();
    let critic = Model {
        name: "critic",
        target: -1.0,
        params: Arena::zeros(&context, &layout, precision.format()),
        optimizer: settings.build(precision, context.clone(), &layout)?,
        lr: 0.05,
        layout,
        precision,
    };

    let mut models = [generator, critic];
    let mut first = [0.0; 2];
    for step in 0..=60 {
        for (model, first) in models.iter_mut().zip(&mut first) {
            let loss = model.step(&context)?;
            if step == 0 {
                *first = loss;
            }
            if step % 20 == 0 {
                println!("step {step:2}: {} {loss:.3}", model.name);
            }
            if step == 60 && loss > 0.1 * *first {
                return Err(format!("the loss of the {} did not fall", model.name).into());
            }
        }
    }
    Ok(())
}
