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

/// tanh(z + b), or z + b itself where the layer is linear; z has rows of b's length.
pub fn activation(z: &[f64], bias: &[f64], linear: bool) -> Vec<f64> {
    let sums = z.iter().enumerate().map(|(i, z)| z + bias[i % bias.len()]);
    if linear {
        sums.collect()
    } else {
        sums.map(f64::tanh).collect()
    }
}

/// The cross-entropy of logits and targets, summed over a row and averaged over rows, and its gradient.
pub fn cross_entropy(logits: &[f64], targets: &[f64], rows: usize) -> (f64, Vec<f64>) {
    let mut total = 0.0;
    let gradient = logits
        .iter()
        .zip(targets)
        .map(|(&z, t)| {
            total += z.max(0.0) - z * t + (-z.abs()).exp().ln_1p();
            (1.0 / (1.0 + (-z).exp()) - t) / rows as f64
        })
        .collect();
    (total / rows as f64, gradient)
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
    let (loss, mut delta) = cross_entropy(&activations[layers.len()], targets, rows);
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
    (loss, gradients)
}
