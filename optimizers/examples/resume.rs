//! Training that stops and goes on: weights and the optimizer's state lie in one file between, and a second optimizer, built anew,
//! ends with the bits of the first. The loss is ½ Σ (wᵢ − sin i)².

use std::error::Error;
use std::rc::Rc;
use std::{env, fs, process};

use sonew_optimizers::{
    Archive, Arena, Context, Graft, Layout, Optimizer, PrecisionKind, Sonew, State, StateArray,
};
use sonew_runtime::{Selector, open};

const PRECISION: PrecisionKind = PrecisionKind::Bf16Mixed;

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    let context = Rc::new(Context::new(device.client, device.info.profile));
    // A state calls its arrays by the names of tensors.
    let layout = Layout::named([("w", vec![30, 20]), ("b", vec![30])])?;
    let settings = Sonew::tridiagonal().graft(Graft::Adam);

    let params = Arena::zeros(&context, &layout, PRECISION.format());
    let mut whole = settings.build(PRECISION, context.clone(), &layout)?;
    steps(20, &context, &mut *whole, &params)?;

    let file = env::temp_dir().join(format!("resume-{}.safetensors", process::id()));
    let mut archive = Archive::default();
    let tensors = layout.names().iter().zip(layout.shapes());
    for ((name, shape), values) in tensors.zip(params.tensors(&context)?) {
        let array = StateArray::new(shape.clone(), PRECISION.format(), values);
        let array = array.ok_or("there are not as many weights as the shape says")?;
        archive.arrays.insert(format!("weights/{name}"), array);
    }
    whole.state()?.put_into(&mut archive);
    fs::write(&file, archive.to_bytes()?)?;

    let archive = Archive::of_bytes(&fs::read(&file)?)?;
    fs::remove_file(&file)?;
    let weights = layout.names().iter().map(|name| {
        let array = archive.arrays.get(&format!("weights/{name}"));
        array.map(StateArray::values).ok_or("weights are missing")
    });
    let weights: Vec<&[f32]> = weights.collect::<Result<_, _>>()?;
    let resumed_params = Arena::of(&context, &layout, PRECISION.format(), &weights)?;
    let mut resumed = settings.build(PRECISION, context.clone(), &layout)?;
    resumed.load_state(&State::of_archive(&archive)?)?;
    println!("gone on after step {}", resumed.steps());

    steps(20, &context, &mut *whole, &params)?;
    steps(20, &context, &mut *resumed, &resumed_params)?;
    let bits = |arena: &Arena| -> Result<Vec<u32>, Box<dyn Error>> {
        let all = arena.tensors(&context)?.concat();
        Ok(all.into_iter().map(f32::to_bits).collect())
    };
    if bits(&params)? != bits(&resumed_params)? || whole.state()? != resumed.state()? {
        return Err("the second optimizer ended with other bits".into());
    }
    println!("the same bits after step {}", resumed.steps());
    Ok(())
}

fn steps(
    count: usize,
    context: &Context,
    optimizer: &mut dyn Optimizer,
    params: &Arena,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..count {
        let mut away = params.tensors(context)?;
        for (i, w) in away.iter_mut().flatten().enumerate() {
            *w -= (i as f32).sin();
        }
        let grads = Arena::of(context, params.layout(), PRECISION.format(), &away)?;
        optimizer.step(params, &grads, 0.01)?;
    }
    Ok(())
}
