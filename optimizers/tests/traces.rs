//! Recipes beside traces of PyTorch, which `benches/peers/traces.py` wrote.

mod software;

use serde::Deserialize;
use serde_json::Value;
use software::Software;
use sonew_optimizers::{Arena, Gradients, Group, Layout, OptimizerConfig, PrecisionKind, Recipe};

#[derive(Deserialize)]
struct File {
    tensors: Vec<Tensor>,
    start: Vec<Vec<f32>>,
    gradients: Vec<Vec<Vec<f32>>>,
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OwnSettings {
    tensors: Vec<String>,
    lr_scale: Option<f64>,
    weight_decay: Option<f64>,
}

#[derive(Deserialize)]
struct Trace {
    name: String,
    optimizer: Value,
    recipe: Extras,
    groups: Vec<OwnSettings>,
    frozen: Vec<String>,
    weights: Vec<Vec<Vec<f64>>>,
    averages: Option<Vec<Vec<Vec<f64>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Extras {
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    accumulate: Option<u64>,
    average: Option<f64>,
}

impl Trace {
    fn recipe(&self) -> Recipe {
        let setting = |key: &str| self.optimizer.get(key).map(Value::to_string);
        let name = self.optimizer["name"].as_str().unwrap();
        let mut optimizer = OptimizerConfig::named(name).unwrap();
        for key in ["beta1", "epsilon", "weight-decay"] {
            if let Some(value) = setting(key) {
                optimizer.set(key, &value).unwrap();
            }
        }
        let Extras {
            clip_norm,
            clip_value,
            accumulate,
            average,
        } = self.recipe;
        let of_groups = self.groups.iter().flat_map(|own| {
            own.tensors.iter().map(|name| Group {
                lr: own.lr_scale,
                weight_decay: own.weight_decay,
                ..Group::named(name)
            })
        });
        let of_frozen = self.frozen.iter().map(|name| Group::named(name).frozen());
        Recipe {
            groups: of_groups.chain(of_frozen).collect(),
            gradients: Gradients {
                clip_norm,
                clip_value,
                accumulate: accumulate.unwrap_or(1),
            },
            average,
            ..optimizer.into()
        }
    }
}

fn assert_close(found: &[Vec<f32>], expected: &[Vec<f64>], what: &str) {
    for (found, expected) in found.concat().into_iter().zip(expected.concat()) {
        let error = (f64::from(found) - expected).abs();
        // Of a weight of 1: all began as numbers of that size.
        let allowed = 1e-5 * expected.abs().max(0.1);
        assert!(error <= allowed, "{what}: {found} instead of {expected}");
    }
}

#[test]
fn twenty_five_steps_are_those_of_pytorch() {
    let software = Software::open();
    let context = &software.context;
    let text = include_str!("traces/torch.json");
    let file: File = serde_json::from_str(text).unwrap();
    let named = file.tensors.into_iter().map(|it| (it.name, it.shape));
    let in_order = Layout::named(named).unwrap();
    for trace in &file.traces {
        let recipe = trace.recipe();
        let layout = recipe.arrange(&in_order).unwrap();
        let upload = |tensors: &[Vec<f32>]| {
            let format = PrecisionKind::F32.format();
            Arena::of(context, &layout, format, tensors).unwrap()
        };
        let lr = trace.optimizer["lr"].as_f64().unwrap();
        let mut optimizer = recipe
            .build(PrecisionKind::F32, context.clone(), &layout)
            .unwrap();
        let params = upload(&file.start);
        let each = recipe.gradients.accumulate as usize;
        let of_steps = file.gradients.chunks(each).zip(&trace.weights);
        for (step, (gradients, weights)) in of_steps.enumerate() {
            for gradient in gradients {
                optimizer.step(&params, &upload(gradient), lr).unwrap();
            }
            let what = format!("{}, step {step}", trace.name);
            assert_close(&params.tensors(context).unwrap(), weights, &what);
            if let Some(averages) = &trace.averages {
                let found = optimizer.averages().unwrap().unwrap();
                assert_close(&found.tensors(context).unwrap(), &averages[step], &what);
            }
        }
        assert_eq!(optimizer.steps(), 25, "{}", trace.name);
    }
    assert_eq!(file.traces.len(), 10);
}
