//! The oracle of the first-order rules: plain f64 from the formulas in [`super`], a value at a time.

use super::Hyper;
use super::rules::{
    Adagrad, Adam, FirstOrder, Momentum, Nesterov, RmsProp, RuleVisitor, Sgd, named_rule,
};

/// A rule's formula in f64.
pub trait Formula {
    /// What is subtracted from a weight with gradient `g`, but for its decay; the weight's `states` move in place.
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64;
}

impl Formula for Sgd {
    fn delta(g: f64, _: &mut [f64], h: &Hyper) -> f64 {
        h.lr * g
    }
}

impl Formula for Momentum {
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64 {
        states[0] = g + h.beta1 * states[0];
        h.lr * states[0]
    }
}

impl Formula for Nesterov {
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64 {
        states[0] = g + h.beta1 * states[0];
        h.lr * (g + h.beta1 * states[0])
    }
}

impl Formula for Adagrad {
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64 {
        states[0] += g * g;
        if states[0] == 0.0 {
            0.0
        } else {
            h.lr * g / (states[0] + h.epsilon).sqrt()
        }
    }
}

impl Formula for RmsProp {
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64 {
        states[0] = h.beta2 * states[0] + (1.0 - h.beta2) * g * g;
        let root = (states[0] + h.epsilon).sqrt();
        let scaled = if root == 0.0 { 0.0 } else { g / root };
        states[1] = h.beta1 * states[1] + h.lr * scaled;
        states[1]
    }
}

impl Formula for Adam {
    fn delta(g: f64, states: &mut [f64], h: &Hyper) -> f64 {
        let t = h.step as i32;
        states[0] = h.beta1 * states[0] + (1.0 - h.beta1) * g;
        states[1] = h.beta2 * states[1] + (1.0 - h.beta2) * g * g;
        let first = states[0] / (1.0 - h.beta1.powi(t));
        let second = states[1] / (1.0 - h.beta2.powi(t));
        let denominator = second.sqrt() + h.epsilon;
        if denominator == 0.0 {
            0.0
        } else {
            h.lr * first / denominator
        }
    }
}

/// One step of the rule `L` on weights `w`, gradients `g` and the rule's states, in place.
///
/// # Panics
/// If slices differ in length: it serves tests.
pub fn descend<L: FirstOrder>(w: &mut [f64], g: &[f64], states: &mut [Vec<f64>], h: Hyper) {
    let mut own = vec![0.0; states.len()];
    for (i, w) in w.iter_mut().enumerate() {
        for (own, state) in own.iter_mut().zip(&*states) {
            *own = state[i];
        }
        let delta = L::delta(g[i], &mut own, &h);
        *w = *w - h.lr * h.weight_decay * *w - delta;
        for (own, state) in own.iter().zip(&mut *states) {
            state[i] = *own;
        }
    }
}

/// [`descend`] by the rule of a name; `false` if there is none.
pub fn descend_by_name(
    name: &str,
    w: &mut [f64],
    g: &[f64],
    states: &mut [Vec<f64>],
    h: Hyper,
) -> bool {
    struct Step<'a>(&'a mut [f64], &'a [f64], &'a mut [Vec<f64>], Hyper);
    impl RuleVisitor for Step<'_> {
        type Output = ();
        fn visit<L: FirstOrder>(&mut self) {
            descend::<L>(self.0, self.1, self.2, self.3);
        }
    }
    named_rule(name, &mut Step(w, g, states, h)).is_some()
}

/// The moving average of weights, which begins as a copy.
pub fn average_weights(averages: &mut [f64], weights: &[f64], decay: f64, first: bool) {
    for (average, w) in averages.iter_mut().zip(weights) {
        *average = if first {
            *w
        } else {
            decay * *average + (1.0 - decay) * w
        };
    }
}
