//! Dense layers forward and back: in f32, and in the formats that matrix units multiply, where a device has them.

use super::Check;
use super::bench::dyadic;
use super::outcome::{Outcome, largest};
use crate::context::Context;
use crate::error::Error;
use crate::network::{DenseLayers, Layer, reference};
use crate::precision::{Bf16, F16, F32, HostFormat, Precision, PrecisionKind, require};
use crate::product::Multiplication;

/// Sizes that vectors of four values divide, and sizes that none does; more than one tile of either.
const SIZES: [(&str, [usize; 5], usize); 2] = [
    ("even", [36, 20, 4, 20, 36], 40),
    ("odd", [35, 21, 5, 21, 35], 33),
];

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    let Some(kind) = kind_of::<P>() else {
        return Vec::new();
    };
    let check = |(case, sizes, rows): (&'static str, [usize; 5], usize)| {
        Check::new("dense-layers", case, move |context, _| {
            require::<P>(context)?;
            let roundoff = <P::Params as HostFormat>::ROUNDOFF;
            dense(context, kind, roundings(kind) * roundoff, &sizes, rows)
        })
    };
    SIZES.into_iter().map(check).collect()
}

/// The precision of layers whose values are of the format of P's parameters; others do not differ from these.
pub(super) fn kind_of<P: Precision>() -> Option<PrecisionKind> {
    match P::NAME {
        name if name == F32::NAME => Some(PrecisionKind::F32),
        name if name == Bf16::NAME => Some(PrecisionKind::Bf16),
        name if name == F16::NAME => Some(PrecisionKind::F16),
        _ => None,
    }
}

/// Up to 36 terms a layer, four layers forward and up to four back. In 16 bits sums are f32, and each layer's values are rounded once
/// or twice.
pub(super) fn roundings(kind: PrecisionKind) -> f64 {
    if kind == PrecisionKind::F32 {
        64.0
    } else {
        8.0
    }
}

/// Parameters, put one tensor after the other.
#[derive(Default)]
pub(super) struct Place {
    pub params: Vec<f32>,
}

impl Place {
    /// Where these begin.
    pub fn put(&mut self, values: &[f64]) -> usize {
        let start = self.params.len();
        self.params.extend(values.iter().map(|&x| x as f32));
        let end = self.params.len().next_multiple_of(64);
        self.params.resize(end, 0.0);
        start
    }

    pub fn layers(&mut self, oracle: &[reference::Layer]) -> Vec<Layer> {
        let layer = |layer: &reference::Layer| Layer {
            inputs: layer.inputs,
            outputs: layer.bias.len(),
            linear: layer.linear,
            weight: self.put(&layer.weight),
            bias: self.put(&layer.bias),
        };
        oracle.iter().map(layer).collect()
    }
}

/// The gradient of a tensor, from where it begins on, beside `scale` times the oracle's.
pub(super) fn compared(
    name: &str,
    written: &[f32],
    expected: &[f64],
    scale: f64,
    tolerance: f64,
) -> Outcome {
    let expected: Vec<f64> = expected.iter().map(|x| scale * x).collect();
    let most = largest(&expected);
    let mut outcome = Outcome::named(format!("gradient of {name}"));
    // Roundings are relative to what is summed.
    outcome.add(&written[..expected.len()], &expected, |e| {
        tolerance * (e.abs() + 4.0 * most)
    });
    outcome
}

/// Layers of these sizes, with logits of up to some tens.
pub(super) fn layers(sizes: &[usize]) -> Vec<reference::Layer> {
    let pairs = sizes.windows(2).enumerate();
    let layer = |(l, pair): (usize, &[usize])| {
        let scale = if l + 2 == sizes.len() { 4.0 } else { 0.25 };
        let values =
            |seed: usize, count: usize| (0..count).map(|i| scale * dyadic(seed, i)).collect();
        reference::Layer {
            inputs: pair[0],
            weight: values(2 * l, pair[0] * pair[1]),
            bias: values(2 * l + 1, pair[1]),
            linear: l % 2 == 1,
        }
    };
    pairs.map(layer).collect()
}

fn dense(
    context: &Context,
    kind: PrecisionKind,
    tolerance: f64,
    sizes: &[usize],
    rows: usize,
) -> Result<Vec<Outcome>, Error> {
    let oracle = layers(sizes);
    let images: Vec<f64> = (0..rows * sizes[0]).map(|i| dyadic(9, i).abs()).collect();
    let loss = reference::loss_and_gradients(&oracle, &images, &images, rows).0;
    let mut place = Place::default();
    let layers = place.layers(&oracle);
    let params = place.params;
    let arena = params.len();
    // The tables have room for more rows than there are.
    let batch = rows + 3;
    let mut network = DenseLayers::new(
        context,
        layers.clone(),
        kind,
        arena,
        batch,
        Multiplication::Auto,
    )?;
    let narrow: Vec<f32> = images.iter().map(|&x| x as f32).collect();
    let buffers = [context.upload(&params), context.upload(&narrow)];
    network.reserve(context, 2)?;
    network.place(context, &buffers[1], rows)?;
    network.forward(context, &buffers[0], rows, None, 0)?;
    // A whole batch, whose last rows are the first again.
    let whole: Vec<f32> = narrow.iter().chain(&narrow).copied().collect();
    let whole = &whole[..batch * sizes[0]];
    let wide: Vec<f64> = whole.iter().map(|&x| x.into()).collect();
    let (of_whole, of_gradients) = reference::loss_and_gradients(&oracle, &wide, &wide, batch);
    let gradient = context.upload(&vec![f32::NAN; arena]);
    let whole = context.upload(whole);
    network.place(context, &whole, batch)?;
    network.forward(context, &buffers[0], batch, Some(2.0), 1)?;
    let found = network.mean_losses(context, &[rows, batch])?;
    let found: Vec<f32> = found.iter().map(|&loss| loss as f32).collect();
    network.backward(context, &buffers[0], &gradient)?;
    let mut losses = Outcome::named("losses");
    // And a sum of logits' losses.
    losses.add(&found, &[loss, of_whole], |e| 2.0 * tolerance * e);
    let mut outcomes = vec![losses];
    let written: Vec<f32> = context.download("contract", &gradient)?;
    for (l, (layer, (weight, bias))) in layers.iter().zip(&of_gradients).enumerate() {
        for (name, start, expected) in [("w", layer.weight, weight), ("b", layer.bias, bias)] {
            let name = format!("{name}{l}");
            outcomes.push(compared(&name, &written[start..], expected, 2.0, tolerance));
        }
    }
    Ok(outcomes)
}
