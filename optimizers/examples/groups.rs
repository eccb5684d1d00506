//! Tensors with settings of their own, told by a list of groups and, the same, by a closure: embeddings take Adam, biases no
//! weight decay and half the rate, SONew's chains of a matrix end with its rows, and one tensor stays as it is. The loss is
//! ½ Σ (w − 1)².

use std::error::Error;
use std::rc::Rc;

use sonew_optimizers::{
    Arena, Chains, Context, FirstOrder, Graft, Group, Layout, PrecisionKind, Recipe, Sonew,
};
use sonew_runtime::{Selector, open};

fn main() -> Result<(), Box<dyn Error>> {
    let device = open(Selector::Auto)?;
    let context = Rc::new(Context::new(device.client, device.info.profile));
    let layout = Layout::named([
        ("embedding", vec![40, 8]),
        ("hidden.weight", vec![16, 8]),
        ("hidden.bias", vec![16]),
        ("scale", vec![]),
    ])?;
    let base = Recipe::from(Sonew::tridiagonal().graft(Graft::Adam).weight_decay(1e-3));
    let by_list = base
        .clone()
        .group(Group::named("embedding").optimizer(FirstOrder::adam()))
        .group(Group::named("*.bias").weight_decay(0.0).lr(0.5))
        .group(Group::shaped(&[Some(16), None]).chains(Chains::Rows))
        // As text, as the option `--group` of `sonew train` takes it.
        .group("scale:frozen".parse()?);
    let by_closure = base.group_each(&layout, |name, shape| {
        let group = Group::named(name);
        match (name, shape) {
            ("embedding", _) => Some(group.optimizer(FirstOrder::adam())),
            ("scale", _) => Some(group.frozen()),
            (_, [_]) => Some(group.weight_decay(0.0).lr(0.5)),
            _ => Some(group.chains(Chains::Rows)),
        }
    });

    let mut assignments = Vec::new();
    for recipe in [by_list, by_closure] {
        // Tensors of one optimizer have to lie together.
        let layout = recipe.arrange(&layout)?;
        let precision = PrecisionKind::F32;
        let mut optimizer = recipe.build(precision, context.clone(), &layout)?;
        assignments.push(optimizer.assignments());
        let params = Arena::zeros(&context, &layout, precision.format());
        let (mut first, mut last) = (None, 0.0);
        for _ in 0..=100 {
            let mut grads = params.tensors(&context)?;
            grads.iter_mut().flatten().for_each(|w| *w -= 1.0);
            last = grads.iter().flatten().map(|x| 0.5 * x * x).sum::<f32>();
            first.get_or_insert(last);
            let grads = Arena::of(&context, &layout, precision.format(), &grads)?;
            optimizer.step(&params, &grads, 0.01)?;
        }
        let first = first.unwrap_or(last);
        println!("loss {first:.2}, after 100 steps {last:.2}");
        let scale = params.tensors(&context)?[3][0];
        if last > 0.5 * first || scale != 0.0 {
            return Err("the loss did not fall, or a frozen tensor moved".into());
        }
    }
    for (name, assignment) in layout.names().iter().zip(&assignments[0]) {
        println!("{name}: {assignment}");
    }
    if assignments[0] != assignments[1] {
        return Err("list and closure do not say the same".into());
    }
    Ok(())
}
