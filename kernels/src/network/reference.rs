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
    let found = through(layers, x, rows, |logits| {
        cross_entropy(logits, targets, rows)
    });
    (found.loss, found.layers)
}

/// The loss of a batch, and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The loss.
    pub loss: f64,
    /// dW and db of each layer.
    pub layers: Vec<(Vec<f64>, Vec<f64>)>,
    /// That of what the first layer takes in.
    pub input: Vec<f64>,
}

/// Forward and back, with a loss of the logits and its gradient.
fn through(
    layers: &[Layer],
    x: &[f64],
    rows: usize,
    loss: impl FnOnce(&[f64]) -> (f64, Vec<f64>),
) -> Found {
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
    let (loss, mut delta) = loss(&activations[layers.len()]);
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
    Found {
        loss,
        layers: gradients,
        input: delta,
    }
}

/// The rows of a table, `[V, width]`, that codes stand for, one after the other.
pub fn look_up(table: &[f64], width: usize, codes: &[u32]) -> Vec<f64> {
    let row = |&code: &u32| &table[code as usize * width..][..width];
    codes.iter().flat_map(row).copied().collect()
}

/// The gradient of a table of `values` values from that of what [`look_up`] found.
pub fn table_gradient(values: usize, width: usize, codes: &[u32], deltas: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.0; values];
    for (place, &code) in codes.iter().enumerate() {
        for column in 0..width {
            gradient[code as usize * width + column] += deltas[place * width + column];
        }
    }
    gradient
}

/// The softmax cross-entropy of each row of logits and its class, and the gradient of their sum.
pub fn softmax_cross_entropy(logits: &[f64], classes: &[u32]) -> (Vec<f64>, Vec<f64>) {
    let columns = logits.len() / classes.len();
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (row, &class) in logits.chunks(columns).zip(classes) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|z| (z - largest).exp()).sum();
        losses.push(total.ln() + largest - row[class as usize]);
        for (column, z) in row.iter().enumerate() {
            let target = if column == class as usize { 1.0 } else { 0.0 };
            gradient.push((z - largest).exp() / total - target);
        }
    }
    (losses, gradient)
}

/// The mean loss of rows of codes and their classes, and its gradients; [`Found::input`] is that of the table, `[V, width]`.
pub fn coded_loss_and_gradients(
    table: &[f64],
    width: usize,
    layers: &[Layer],
    codes: &[u32],
    classes: &[u32],
) -> Found {
    let rows = classes.len();
    let x = look_up(table, width, codes);
    let found = through(layers, &x, rows, |logits| {
        let (losses, mut gradient) = softmax_cross_entropy(logits, classes);
        for g in &mut gradient {
            *g /= rows as f64;
        }
        (losses.iter().sum::<f64>() / rows as f64, gradient)
    });
    Found {
        input: table_gradient(table.len(), width, codes, &found.input),
        ..found
    }
}
