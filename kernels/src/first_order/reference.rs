//! The oracle of the first-order rules: plain f64 loops over one tensor, from the formulas in [`super`].

use super::Hyper;

/// One step of the rule called `name` on weights `w`, gradients `g` and the rule's states, in place.
///
/// # Panics
/// If the name is not one of the six rules or slices differ in length: it serves tests.
pub fn descend(name: &str, w: &mut [f64], g: &[f64], states: &mut [Vec<f64>], h: Hyper) {
    let t = h.step as i32;
    for i in 0..w.len() {
        let g = g[i];
        let delta = match name {
            "sgd" => h.lr * g,
            "momentum" => {
                states[0][i] = g + h.beta1 * states[0][i];
                h.lr * states[0][i]
            }
            "nesterov" => {
                states[0][i] = g + h.beta1 * states[0][i];
                h.lr * (g + h.beta1 * states[0][i])
            }
            "adagrad" => {
                states[0][i] += g * g;
                if states[0][i] == 0.0 {
                    0.0
                } else {
                    h.lr * g / (states[0][i] + h.epsilon).sqrt()
                }
            }
            "rmsprop" => {
                states[0][i] = h.beta2 * states[0][i] + (1.0 - h.beta2) * g * g;
                let root = (states[0][i] + h.epsilon).sqrt();
                let scaled = if root == 0.0 { 0.0 } else { g / root };
                states[1][i] = h.beta1 * states[1][i] + h.lr * scaled;
                states[1][i]
            }
            "adam" => {
                states[0][i] = h.beta1 * states[0][i] + (1.0 - h.beta1) * g;
                states[1][i] = h.beta2 * states[1][i] + (1.0 - h.beta2) * g * g;
                let first = states[0][i] / (1.0 - h.beta1.powi(t));
                let second = states[1][i] / (1.0 - h.beta2.powi(t));
                let denominator = second.sqrt() + h.epsilon;
                if denominator == 0.0 {
                    0.0
                } else {
                    h.lr * first / denominator
                }
            }
            other => panic!("no first-order rule is called {other}"),
        };
        w[i] = w[i] - h.lr * h.weight_decay * w[i] - delta;
    }
}
