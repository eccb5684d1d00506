//! What every backend has to agree with in training: the losses of twenty steps of a small autoencoder, from fixed weights and
//! batches, against an implementation in f64 on the host that shares nothing with the kernels but the formulas.
//!
//! How far a loss may be off follows from the run itself, u being a roundoff and ∂w the gradient, to first order:
//! * rounding a weight by u |w| moves the loss by u |∂w| |w|, and an operation behind a step Δw by u |∂w| |Δw|; of such
//!   errors, which have either sign, three times the root of the sum of squares is allowed;
//! * what all weights share, such as a norm or a rate, is off in all steps alike: u ∑ |∂w| |Δw|;
//! * a step below half a unit of its weight may be lost in every step: ∑ |∂w| |Δw| over those;
//! * the forward pass rounds the loss itself.
//!
//! What is not of first order is small beside that: where all is right at most a fifth of it is used up. A conversion
//! that cuts off instead of rounding errs by as much to one side only, and is beyond it.

use std::rc::Rc;

use sonew_kernels::first_order::{self, Hyper};
use sonew_kernels::kronecker::reference::{Settings, Shampoo};
use sonew_kernels::network::reference::{Layer, loss_and_gradients};
use sonew_kernels::precision::{Bf16, HostFormat, Precision, PrecisionKind, PrecisionVisitor};
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{Decay, Tolerance};
use sonew_optimizers::{Arena, Context, OptimizerConfig, Sonew};

use crate::train::TrainError;
use crate::workloads::autoencoder::network::{Network, Route};
use crate::workloads::autoencoder::weights::Weights;

const SIZES: [usize; 5] = [12, 9, 4, 9, 12];
const BATCH: usize = 16;
const STEPS: usize = 20;

/// An optimizer, its learning rate, and settings under which no pivot is small and no root ill-conditioned.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name.
    pub optimizer: &'static str,
    lr: f64,
    settings: &'static [(&'static str, &'static str)],
}

const SONEW: &[(&str, &str)] = &[("epsilon", "0.05"), ("relative-gamma", "0")];
const SHAMPOO: &[(&str, &str)] = &[
    ("epsilon", "0.01"),
    ("start-step", "4"),
    ("root-interval", "5"),
    ("graft-epsilon", "1e-3"),
    // Or the small tensors here would be merged into vectors.
    ("merge-size", "1"),
];

/// Every optimizer: those listed as listed, others with their defaults.
pub fn cases() -> Vec<Case> {
    let mut cases = LISTED.to_vec();
    for optimizer in OptimizerConfig::NAMES {
        if !cases.iter().any(|it| it.optimizer == optimizer) {
            cases.push(Case::new(optimizer, 0.02, &[]));
        }
    }
    cases
}

/// Those whose defaults would do badly here.
const LISTED: [Case; 10] = [
    Case::new("sgd", 0.1, &[]),
    Case::new("momentum", 0.02, &[]),
    Case::new("nesterov", 0.02, &[]),
    Case::new("adagrad", 0.05, &[]),
    Case::new("rmsprop", 0.002, &[("epsilon", "1e-4")]),
    Case::new("adam", 0.02, &[("epsilon", "0.01")]),
    Case::new("shampoo", 0.005, SHAMPOO),
    Case::new("diag-sonew", 0.02, SONEW),
    Case::new("tridiag-sonew", 0.02, SONEW),
    Case::new("band-4-sonew", 0.02, SONEW),
];

/// Losses of a device, and those in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Of the device.
    pub losses: Vec<f64>,
    /// In f64.
    pub expected: Vec<f64>,
    /// The largest difference allowed.
    pub allowed: Vec<f64>,
}

impl Followed {
    /// The step, the difference and the tolerance where most of it is used up; NaN counts as more than all.
    pub fn worst(&self) -> (usize, f64, f64) {
        let share = |step: usize| {
            let difference = (self.losses[step] - self.expected[step]).abs();
            let difference = if difference.is_nan() {
                f64::INFINITY
            } else {
                difference
            };
            (step, difference, self.allowed[step])
        };
        (0..self.losses.len())
            .map(share)
            .max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))
            .unwrap_or((0, 0.0, 1.0))
    }
}

impl Case {
    const fn new(
        optimizer: &'static str,
        lr: f64,
        settings: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            optimizer,
            lr,
            settings,
        }
    }

    fn config(&self) -> Result<OptimizerConfig, sonew_optimizers::Error> {
        let mut config = OptimizerConfig::named(self.optimizer)?;
        for (key, value) in self.settings {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// The losses in f64.
    ///
    /// # Errors
    /// A setting that the optimizer does not have.
    pub fn losses(&self) -> Result<Vec<f64>, TrainError> {
        Ok(self.run(Units::default())?.0)
    }

    /// The losses in f64, and what each may be off by where rounding has these units.
    fn run(&self, units: Units) -> Result<(Vec<f64>, Vec<f64>), TrainError> {
        let config = self.config()?;
        let mut layers = layers()?;
        let mut states: Vec<State> = layers
            .iter()
            .flat_map(|layer| {
                let (rows, columns) = (layer.bias.len(), layer.inputs);
                [
                    State::new(&config, rows, columns),
                    State::new(&config, rows, 1),
                ]
            })
            .collect();
        let (mut losses, mut allowed) = (Vec::new(), Vec::new());
        let mut errors = Errors::default();
        for step in 0..STEPS {
            let pixels: Vec<f64> = pixels(step).iter().map(|&x| x.into()).collect();
            let (loss, gradients) = loss_and_gradients(&layers, &pixels, &pixels, BATCH);
            losses.push(loss);
            allowed.push(errors.of(loss, units));
            let tensors = layers
                .iter_mut()
                .zip(&gradients)
                .flat_map(|(layer, (dw, db))| [(&mut layer.weight, dw), (&mut layer.bias, db)]);
            for ((w, g), state) in tensors.zip(&mut states) {
                let before = w.clone();
                state.step(w, g, self.lr, step as u64);
                for ((g, w), old) in g.iter().zip(&*w).zip(&before) {
                    errors.add(g.abs(), w.abs(), (w - old).abs(), units);
                }
            }
        }
        Ok((losses, allowed))
    }

    /// The run on a device, beside that in f64.
    ///
    /// # Errors
    /// As a run of training.
    pub fn follow(
        &self,
        context: &Rc<Context>,
        precision: PrecisionKind,
        route: Route,
    ) -> Result<Followed, TrainError> {
        let mut network = Network::new(context, precision, &SIZES, BATCH, route)?;
        let layout = network.layout().clone();
        let layers = layers()?;
        let narrow: Vec<Vec<f32>> = layers
            .iter()
            .flat_map(|layer| [&layer.weight, &layer.bias])
            .map(|values| values.iter().map(|&x| x as f32).collect())
            .collect();
        let params = Arena::of(context, &layout, precision.format(), &narrow)?;
        let mut optimizer = self.config()?.build(precision, context.clone(), &layout)?;
        let mut losses = Vec::new();
        let mut step = 0;
        // A loss scale that is too large at first skips steps; the same batch comes again.
        for _ in 0..2 * STEPS {
            if step == STEPS {
                break;
            }
            let scale = optimizer.loss_scale();
            let found = network.gradients(context, &params, &pixels(step), scale)?;
            optimizer.step(&params, &found.grads, self.lr)?;
            if optimizer.steps() as usize > step {
                losses.push(found.loss);
                step += 1;
            }
        }
        losses.resize(STEPS, f64::NAN);
        let (expected, allowed) = self.run(precision.accept(OfPrecision))?;
        Ok(Followed {
            losses,
            expected,
            allowed,
        })
    }
}

/// The network's first weights, of as many digits as bf16 has.
fn layers() -> Result<Vec<Layer>, TrainError> {
    type Coarsest = <Bf16 as Precision>::Params;
    let held = |values: &[f32]| -> Vec<f64> {
        let rounded = values.iter().map(|&x| Coarsest::rounded(x));
        rounded.map(f64::from).collect()
    };
    let weights = Weights::glorot_uniform(&SIZES, 1)?;
    let count = weights.layers.len();
    Ok(weights
        .layers
        .iter()
        .enumerate()
        .map(|(l, layer)| Layer {
            inputs: SIZES[l],
            weight: held(&layer.weight),
            bias: held(&layer.bias),
            linear: l + 1 == count || l + 1 == count / 2,
        })
        .collect())
}

/// A batch of images, every value of which every format holds: bright and dark stripes that differ from image to image.
fn pixels(step: usize) -> Vec<f32> {
    let value = |at: usize| {
        let (image, pixel) = (step * BATCH + at / SIZES[0], at % SIZES[0]);
        let stripe = (pixel + image % 5) % 4 < 2;
        let shade = ((image * 7 + pixel * 3) % 32) as f32 / 128.0;
        if stripe { 1.0 - shade } else { shade }
    };
    (0..BATCH * SIZES[0]).map(value).collect()
}

/// An optimizer's state for one tensor, in f64.
enum State {
    FirstOrder(&'static str, Hyper, Vec<Vec<f64>>),
    Sonew(Sonew, Statistics),
    Shampoo(Shampoo),
}

impl State {
    fn new(config: &OptimizerConfig, rows: usize, columns: usize) -> Self {
        let n = rows * columns;
        match config {
            OptimizerConfig::FirstOrder(config) => {
                let hyper = Hyper {
                    lr: 0.0,
                    beta1: config.beta1,
                    beta2: config.beta2,
                    epsilon: config.epsilon,
                    weight_decay: config.weight_decay,
                    step: 0,
                };
                let start = config.first_state();
                Self::FirstOrder(config.rule.name(), hyper, vec![vec![start; n]; 2])
            }
            OptimizerConfig::Sonew(config) => {
                Self::Sonew(*config, Statistics::zeros(n, config.band))
            }
            OptimizerConfig::Shampoo(config) => {
                Self::Shampoo(Shampoo::new(rows, columns, settings(config)))
            }
        }
    }

    fn step(&mut self, w: &mut [f64], g: &[f64], lr: f64, step: u64) {
        match self {
            Self::FirstOrder(name, hyper, states) => {
                let hyper = Hyper {
                    lr,
                    step: step + 1,
                    ..*hyper
                };
                first_order::reference_by_name(name, w, g, states, hyper);
            }
            Self::Sonew(config, h) => {
                h.accumulate(g, config.beta1, Decay::Average(config.beta2));
                let correction = |beta: f64| 1.0 / (1.0 - beta.powi(step as i32 + 1));
                let damped = h.damped(correction(config.beta2), config.epsilon);
                let none = Tolerance {
                    absolute: config.gamma,
                    relative: 0.0,
                };
                let factor = reference::factor(&damped, none, config.removal);
                let moment: Vec<f64> = h
                    .moment
                    .iter()
                    .map(|m| m * correction(config.beta1))
                    .collect();
                for (w, u) in w.iter_mut().zip(factor.precondition(&moment)) {
                    *w -= lr * u;
                }
            }
            Self::Shampoo(shampoo) => shampoo.step(w, g, lr, &[]),
        }
    }
}

fn settings(config: &sonew_optimizers::Shampoo) -> Settings {
    Settings {
        beta1: config.beta1,
        beta2: config.beta2,
        epsilon: config.epsilon,
        graft_epsilon: config.graft_epsilon,
        start: config.start_step,
        root_interval: config.root_interval,
    }
}

/// The roundoffs of parameters and of states.
#[derive(Clone, Copy, Default)]
struct Units {
    params: f64,
    state: f64,
}

struct OfPrecision;

impl PrecisionVisitor for OfPrecision {
    type Output = Units;

    fn visit<P: Precision>(self) -> Units {
        Units {
            params: P::Params::ROUNDOFF,
            state: P::State::ROUNDOFF,
        }
    }
}

/// What rounding has done to the loss so far.
#[derive(Default)]
struct Errors {
    squares: f64,
    shared: f64,
    lost: f64,
}

impl Errors {
    /// Adds a weight's step.
    fn add(&mut self, gradient: f64, weight: f64, step: f64, units: Units) {
        // A gradient is rounded in eight operations of four layers, a step in up to forty of an optimizer.
        let stored = units.params * gradient * weight;
        let moved = (8.0 * units.params + 40.0 * units.state) * gradient * step;
        self.squares += stored * stored + moved * moved;
        self.shared += (units.params + 4.0 * units.state) * gradient * step;
        // Half a unit in the last place is at most that.
        if step < units.params * weight {
            self.lost += gradient * step;
        }
    }

    /// Of a loss.
    fn of(&self, loss: f64, units: Units) -> f64 {
        // Four layers, each rounded twice, of images that are rounded independently.
        let forward = 8.0 / (BATCH as f64).sqrt() * units.params * loss;
        forward + self.shared + self.lost + 3.0 * self.squares.sqrt()
    }
}
