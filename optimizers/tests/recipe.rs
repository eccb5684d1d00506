//! What stands around a step: gradients gathered and clipped, weights averaged.

mod software;

use std::rc::Rc;

use software::Software;
use sonew_optimizers::{
    Arena, Context, Error, FirstOrder, Layout, LossScale, NonFinite, Numerics, Optimizer,
    OptimizerConfig, PrecisionKind, Profile, Recipe, Sonew, WeightRounding,
};

const LENGTHS: [usize; 3] = [300, 7, 60];
const STEPS: usize = 25;
const LR: f64 = 0.05;

struct Bench {
    device: Software,
    layout: Layout,
}

impl Bench {
    fn open() -> Self {
        Self {
            device: Software::open(),
            layout: Layout::new(&LENGTHS).unwrap(),
        }
    }

    fn build(&self, recipe: &Recipe, numerics: impl Into<Numerics>) -> Box<dyn Optimizer> {
        let context = self.device.context.clone();
        recipe.build(numerics, context, &self.layout).unwrap()
    }

    fn upload(&self, precision: PrecisionKind, tensors: &[Vec<f64>]) -> Arena {
        let narrow: Vec<Vec<f32>> = tensors
            .iter()
            .map(|values| values.iter().map(|&x| x as f32).collect())
            .collect();
        let (context, format) = (&self.device.context, precision.format());
        Arena::of(context, &self.layout, format, &narrow).unwrap()
    }

    fn read(&self, arena: &Arena) -> Vec<f32> {
        arena.tensors(&self.device.context).unwrap().concat()
    }

    /// Weights after so many gradients.
    fn run(&self, recipe: &Recipe, numerics: Numerics, gradients: usize) -> Vec<f32> {
        let mut optimizer = self.build(recipe, numerics);
        let params = self.upload(numerics.precision, &start());
        for t in 0..gradients {
            let grads = self.upload(numerics.precision, &gradient(t));
            optimizer.step(&params, &grads, LR).unwrap();
        }
        self.read(&params)
    }
}

fn tensors(value: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let lengths = LENGTHS.iter().enumerate();
    lengths
        .map(|(t, &n)| (0..n).map(|i| value(t, i)).collect())
        .collect()
}

fn start() -> Vec<Vec<f64>> {
    tensors(|t, i| dyadic(((i + 50 * t) as f64).cos()))
}

/// Long and short ones in turn.
fn gradient(t: usize) -> Vec<Vec<f64>> {
    let scale = [0.03125, 0.25, 2.0][t % 3];
    tensors(|tensor, i| scale * dyadic((1.0 + i as f64 * (t + 3) as f64 + tensor as f64).sin()))
}

/// A number that every format holds.
fn dyadic(x: f64) -> f64 {
    (64.0 * x).round() / 64.0
}

/// Plain loops: SGD with momentum 0.9 behind the mean, the clipping by value and by norm, and before the average.
struct Loops {
    recipe: Recipe,
    mean: Vec<f64>,
    gathered: u64,
    momentum: Vec<f64>,
    weights: Vec<f64>,
    averages: Option<Vec<f64>>,
}

impl Loops {
    fn new(recipe: &Recipe) -> Self {
        let weights = start().concat();
        Self {
            recipe: recipe.clone(),
            mean: vec![0.0; weights.len()],
            gathered: 0,
            momentum: vec![0.0; weights.len()],
            weights,
            averages: None,
        }
    }

    fn step(&mut self, gradient: &[f64]) {
        let gradients = self.recipe.gradients;
        for (mean, g) in self.mean.iter_mut().zip(gradient) {
            *mean += g / gradients.accumulate as f64;
        }
        self.gathered += 1;
        if self.gathered < gradients.accumulate {
            return;
        }
        self.gathered = 0;
        let mut ready = std::mem::replace(&mut self.mean, vec![0.0; gradient.len()]);
        if let Some(bound) = gradients.clip_value {
            ready.iter_mut().for_each(|g| *g = g.clamp(-bound, bound));
        }
        let norm = ready.iter().map(|g| g * g).sum::<f64>().sqrt();
        if let Some(most) = gradients.clip_norm.filter(|&most| norm > most) {
            ready.iter_mut().for_each(|g| *g *= most / norm);
        }
        for ((w, b), g) in self.weights.iter_mut().zip(&mut self.momentum).zip(ready) {
            *b = g + 0.9 * *b;
            *w -= LR * *b;
        }
        if let Some(decay) = self.recipe.average {
            let averages = self.averages.get_or_insert_with(|| self.weights.clone());
            for (a, w) in averages.iter_mut().zip(&self.weights) {
                *a = decay * *a + (1.0 - decay) * w;
            }
        }
    }
}

fn momentum() -> Recipe {
    FirstOrder::momentum().into()
}

/// Every extra alone, and all together.
fn recipes() -> [Recipe; 6] {
    [
        momentum().clip_norm(1.5),
        momentum().clip_value(0.125),
        momentum().clip_value(0.125).clip_norm(1.5),
        momentum().accumulate(3),
        momentum().average(0.9),
        momentum()
            .accumulate(4)
            .clip_value(0.125)
            .clip_norm(1.0)
            .average(0.75),
    ]
}

#[test]
fn a_recipe_follows_plain_loops() {
    let bench = Bench::open();
    let masters = |precision: PrecisionKind| Numerics {
        weights: WeightRounding::Master,
        loss_scale: None,
        non_finite: NonFinite::Proceed,
        ..precision.into()
    };
    // Roundoffs of the formats, of a weight of at least 1.
    let (bf16, f16, steps) = (1.0 / 256.0, 1.0 / 2048.0, STEPS as f64);
    let all = [
        (PrecisionKind::F32.into(), 2e-6),
        // The masters are f32; the weights are their rounded copy.
        (masters(PrecisionKind::Bf16Mixed), bf16 + 2e-6),
        (masters(PrecisionKind::F16Mixed), f16 + 2e-6),
        // A weight is rounded in each step, and before it what is clipped.
        (PrecisionKind::F16Mixed.into(), steps * f16),
        (PrecisionKind::Bf16Mixed.into(), steps * bf16),
        // The momentum and what it is made of are rounded as well.
        (PrecisionKind::F16.into(), 3.0 * steps * f16),
        (PrecisionKind::Bf16.into(), 3.0 * steps * bf16),
    ];
    for recipe in &recipes() {
        for (numerics, relative) in all {
            let numerics: Numerics = numerics;
            // A scale at which no gradient overflows.
            let loss_scale = numerics.loss_scale.map(|_| LossScale::fixed(1024.0));
            let numerics = Numerics {
                loss_scale,
                ..numerics
            };
            let precision = numerics.precision;
            let (mut loops, mut optimizer) = (Loops::new(recipe), bench.build(recipe, numerics));
            let params = bench.upload(precision, &start());
            for t in 0..STEPS * recipe.gradients.accumulate as usize {
                let gradient = gradient(t);
                loops.step(&gradient.concat());
                let scale = optimizer.loss_scale();
                let scaled: Vec<Vec<f64>> = gradient
                    .iter()
                    .map(|values| values.iter().map(|g| scale * g).collect())
                    .collect();
                let grads = bench.upload(precision, &scaled);
                optimizer.step(&params, &grads, LR).unwrap();
                assert_eq!(optimizer.pending(), loops.gathered);
            }
            assert_eq!(optimizer.steps(), STEPS as u64);
            let averages = optimizer.averages().unwrap();
            assert_eq!(averages.is_some(), recipe.average.is_some());
            let mut looked_at = vec![(params, &loops.weights)];
            if let Some(averages) = averages {
                assert_eq!(averages.format(), precision.format());
                looked_at.push((averages, loops.averages.as_ref().unwrap()));
            }
            for (found, expected) in looked_at {
                for (f, e) in bench.read(&found).into_iter().zip(expected) {
                    let error = (f64::from(f) - e).abs();
                    let allowed = relative * e.abs().max(1.0);
                    assert!(
                        error <= allowed,
                        "{recipe:?}, {numerics:?}: {f} instead of {e}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_bound_that_no_gradient_reaches_changes_no_bit() {
    let bench = Bench::open();
    for config in [
        OptimizerConfig::from(FirstOrder::adam()),
        Sonew::tridiagonal().epsilon(0.1).into(),
    ] {
        for precision in PrecisionKind::ALL {
            let numerics = Numerics {
                loss_scale: None,
                ..precision.into()
            };
            let plain = bench.run(&config.into(), numerics, 5);
            for recipe in [
                Recipe::from(config).clip_norm(1e3),
                Recipe::from(config).clip_value(1e3),
                Recipe::from(config).clip_value(1e3).clip_norm(1e3),
                Recipe::from(config).average(0.9),
            ] {
                let found = bench.run(&recipe, numerics, 5);
                assert!(found == plain, "{recipe:?}, {precision}");
            }
        }
    }
}

#[test]
fn a_skipped_gradient_is_not_one_of_those_that_a_step_gathers() {
    let bench = Bench::open();
    let precision = PrecisionKind::F16Mixed;
    let numerics = Numerics {
        loss_scale: Some(LossScale::fixed(8.0)),
        ..precision.into()
    };
    let recipe = momentum().accumulate(3).clip_norm(1.0).average(0.9);
    let spoiled = |t: usize| t % 4 == 2;
    let run = |with_spoiled: bool| {
        let mut optimizer = bench.build(&recipe, numerics);
        let params = bench.upload(precision, &start());
        for t in 0..24 {
            if spoiled(t) {
                if !with_spoiled {
                    continue;
                }
                let infinite = bench.upload(precision, &tensors(|_, _| f64::INFINITY));
                let before = (optimizer.steps(), optimizer.pending());
                optimizer.step(&params, &infinite, LR).unwrap();
                assert_eq!((optimizer.steps(), optimizer.pending()), before);
                continue;
            }
            // A power of two, whatever it is, is divided out without a loss.
            let scale = optimizer.loss_scale();
            let scaled = gradient(t)
                .iter()
                .map(|values| values.iter().map(|g| scale * g).collect())
                .collect::<Vec<_>>();
            let grads = bench.upload(precision, &scaled);
            optimizer.step(&params, &grads, LR).unwrap();
        }
        assert_eq!(optimizer.steps(), 6);
        let skipped = optimizer.report().unwrap().skipped_steps;
        assert_eq!(skipped, if with_spoiled { 6 } else { 0 });
        let averages = optimizer.averages().unwrap().unwrap();
        [bench.read(&params), bench.read(&averages)]
    };
    assert!(run(true) == run(false));
}

#[test]
fn what_is_gathered_only_moves_nothing_and_what_does_not_fit_is_not_gathered() {
    let bench = Bench::open();
    let context = &bench.device.context;
    for numerics in [
        Numerics::from(PrecisionKind::F32),
        PrecisionKind::Bf16.into(),
        Numerics {
            weights: WeightRounding::Stochastic,
            ..PrecisionKind::Bf16Mixed.into()
        },
    ] {
        let recipe = Recipe::from(FirstOrder::adam()).accumulate(3).average(0.5);
        let mut optimizer = bench.build(&recipe, numerics);
        let params = bench.upload(numerics.precision, &start());
        let grads = bench.upload(numerics.precision, &gradient(2));
        let before = bench.read(&params);
        for pending in [1, 2] {
            optimizer.step(&params, &grads, LR).unwrap();
            assert_eq!((optimizer.steps(), optimizer.pending()), (0, pending));
            assert!(optimizer.averages().unwrap().is_none());
        }
        assert!(bench.read(&params) == before, "{numerics:?}");
        let elsewhere = Layout::new(&[5]).unwrap();
        let other = Arena::zeros(context, &elsewhere, numerics.precision.format());
        optimizer.step(&params, &grads, -1.0).unwrap_err();
        optimizer.step(&params, &other, LR).unwrap_err();
        assert_eq!(optimizer.pending(), 2);
        optimizer.step(&params, &grads, LR).unwrap();
        assert_eq!((optimizer.steps(), optimizer.pending()), (1, 0));
        assert!(bench.read(&params) != before, "{numerics:?}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_told_and_spoils_its_own_tensor_alone() {
    let bench = Bench::open();
    let recipe = momentum().clip_value(0.5).clip_norm(1.0).accumulate(2);
    let mut optimizer = bench.build(&recipe, PrecisionKind::F32);
    let params = bench.upload(PrecisionKind::F32, &start());
    let bad = tensors(|t, i| if (t, i) == (1, 3) { f64::NAN } else { 1.0 });
    for gradient in [bad, gradient(2)] {
        let grads = bench.upload(PrecisionKind::F32, &gradient);
        optimizer.step(&params, &grads, LR).unwrap();
    }
    let report = optimizer.report().unwrap();
    assert_eq!(report.first_non_finite, Some((1, 3)));
    let found = params.tensors(&bench.device.context).unwrap();
    let spoiled: Vec<usize> = found
        .iter()
        .map(|values| values.iter().filter(|w| w.is_nan()).count())
        .collect();
    assert_eq!(spoiled, [0, 1, 0]);
}

/// Launches of a step and of a gradient that is gathered only, without a wait.
fn launches(software: &Software, profile: Profile, recipe: &Recipe, tensors: usize) -> [u64; 2] {
    let client = software.context.client().clone();
    let context = Rc::new(Context::new(client, profile));
    let layout = Layout::new(&(3..3 + tensors).collect::<Vec<_>>()).unwrap();
    let half = || Arena::filled(&context, &layout, PrecisionKind::F32.format(), 0.5);
    let [params, grads] = [half(), half()];
    let mut optimizer = recipe
        .build(PrecisionKind::F32, context.clone(), &layout)
        .unwrap();
    let per_step = optimizer.gradients_per_step();
    let waits = context.waits();
    let mut found = [0; 2];
    for _ in 0..2 * per_step {
        let before = (context.launches(), optimizer.steps());
        optimizer.step(&params, &grads, 1e-3).unwrap();
        let gathered_only = usize::from(optimizer.steps() == before.1);
        found[gathered_only] = context.launches() - before.0;
    }
    assert_eq!(context.waits(), waits, "{recipe:?}");
    context.wait("test").unwrap();
    found
}

#[test]
fn the_number_of_launches_does_not_depend_on_the_number_of_tensors_and_none_is_waited_for() {
    let software = Software::open();
    let adam = || Recipe::from(FirstOrder::adam());
    for profile in [Profile::LLVMPIPE, Profile::GPU] {
        for (recipe, expected) in [
            (adam(), [1, 0]),
            (adam().clip_value(1.0), [2, 0]),
            (adam().clip_norm(1.0), [5, 0]),
            (adam().clip_value(1.0).clip_norm(1.0), [6, 0]),
            (adam().accumulate(3), [2, 1]),
            (adam().average(0.9), [2, 0]),
            (adam().accumulate(2).clip_norm(1.0).average(0.9), [7, 1]),
        ] {
            for tensors in [1, 100] {
                let found = launches(&software, profile, &recipe, tensors);
                assert_eq!(
                    found, expected,
                    "{recipe:?} on {profile:?}, {tensors} tensors"
                );
            }
        }
    }
}

#[test]
fn states_and_scratch_are_counted() {
    let bench = Bench::open();
    let adam = || Recipe::from(FirstOrder::adam());
    let masters = Numerics {
        weights: WeightRounding::Master,
        ..PrecisionKind::Bf16Mixed.into()
    };
    for (recipe, numerics, state, scratch) in [
        (adam(), PrecisionKind::F32.into(), 8.0, 0.0),
        (adam().clip_norm(1.0), PrecisionKind::F32.into(), 8.0, 4.0),
        (adam().clip_norm(1.0), PrecisionKind::Bf16.into(), 4.0, 2.0),
        (adam().accumulate(2), PrecisionKind::F32.into(), 12.0, 0.0),
        (adam().accumulate(2), PrecisionKind::Bf16.into(), 8.0, 2.0),
        (adam().average(0.9), PrecisionKind::Bf16.into(), 8.0, 0.0),
        (adam().accumulate(2).average(0.9), masters, 20.0, 4.0),
    ] {
        let numerics: Numerics = numerics;
        let optimizer = bench.build(&recipe, numerics);
        let found = (
            optimizer.state_bytes_per_parameter(),
            optimizer.scratch_bytes_per_parameter(),
        );
        assert_eq!(found, (state, scratch), "{recipe:?}, {numerics:?}");
    }
}

#[test]
fn a_recipe_out_of_range_is_refused_with_its_key() {
    let adam = || Recipe::from(FirstOrder::adam());
    for (recipe, expected) in [
        (adam().clip_norm(0.0), "clip-norm"),
        (adam().clip_norm(f64::NAN), "clip-norm"),
        (adam().clip_value(-1.0), "clip-value"),
        (adam().clip_value(f64::INFINITY), "clip-value"),
        (adam().accumulate(0), "accumulate"),
        (adam().average(1.0), "average"),
        (adam().average(-0.5), "average"),
        (FirstOrder::adam().beta1(2.0).into(), "beta1"),
    ] {
        let error = recipe.validate().unwrap_err();
        assert!(
            matches!(error, Error::Range { key, .. } if key == expected),
            "{error}"
        );
    }
}

#[test]
fn a_recipe_without_extras_reads_as_one_of_the_optimizer_alone() {
    let adam = Recipe::from(FirstOrder::adam());
    let json = serde_json::to_value(&adam).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 1);
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), adam);
    let all = adam
        .accumulate(4)
        .clip_norm(1.0)
        .clip_value(2.0)
        .average(0.5);
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["gradients"]["clip-norm"], 1.0);
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), all);
}
