//! The oracle of the network: plain f64 loops.

/// One dense layer: weights `[outputs, inputs]`, bias `[outputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Inputs.
    pub inputs: usize,
    /// W, row-major [outputs, inputs].
    pub weight: Vec<f64>,
    /// b.
    pub bias: Vec<f64>,
    /// No tanh after this layer.
    pub linear: bool,
}

/// Loss of a batch and the gradients (dW, db) of each layer; x and targets have `rows` rows.
pub fn loss_and_gradients(
    layers: &[Layer],
    x: &[f64],
    targets: &[f64],
    rows: usize,
) -> (f64, Vec<(Vec<f64>, Vec<f64>)>) {
    let mut activations = vec![x.to_vec()];
    for layer in layers {
        let input = &activations[activations.len() - 1];
        let outputs = layer.bias.len();
        let mut out = vec![0.0; rows * outputs];
        for r in 0..rows {
            for o in 0..outputs {
                let mut z = layer.bias[o];
                for i in 0..layer.inputs {
                    z += layer.weight[o * layer.inputs + i] * input[r * layer.inputs + i];
                }
                out[r * outputs + o] = if layer.linear { z } else { z.tanh() };
            }
        }
        activations.push(out);
    }
    let logits = &activations[layers.len()];
    let mut loss = 0.0;
    let mut delta = vec![0.0; logits.len()];
    for (i, (&z, &t)) in logits.iter().zip(targets).enumerate() {
        loss += z.max(0.0) - z * t + (-z.abs()).exp().ln_1p();
        delta[i] = (1.0 / (1.0 + (-z).exp()) - t) / rows as f64;
    }
    let mut gradients = Vec::new();
    for (l, layer) in layers.iter().enumerate().rev() {
        let outputs = layer.bias.len();
        if !layer.linear {
            for (d, a) in delta.iter_mut().zip(&activations[l + 1]) {
                *d *= 1.0 - a * a;
            }
        }
        let input = &activations[l];
        let mut dw = vec![0.0; layer.weight.len()];
        let mut db = vec![0.0; outputs];
        let mut before = vec![0.0; rows * layer.inputs];
        for r in 0..rows {
            for o in 0..outputs {
                let d = delta[r * outputs + o];
                db[o] += d;
                for i in 0..layer.inputs {
                    dw[o * layer.inputs + i] += d * input[r * layer.inputs + i];
                    before[r * layer.inputs + i] += d * layer.weight[o * layer.inputs + i];
                }
            }
        }
        delta = before;
        gradients.push((dw, db));
    }
    gradients.reverse();
    (loss / rows as f64, gradients)
}
