//! What is between codes: rows of a table and its gradient, in f32, as nothing is rounded there; softmax cross-entropy, and whole
//! layers, in f32 and in the formats of 16 bits.

use cubecl::server::Handle;

use super::Check;
use super::bench::dyadic;
use super::network::{Place, compared, kind_of, layers, roundings};
use super::outcome::{Outcome, largest};
use crate::context::Context;
use crate::error::Error;
use crate::network::{CodedRows, DenseLayers, Embedding, Logits, reference};
use crate::precision::{F32, HostFormat, Precision, PrecisionKind, require};
use crate::product::Multiplication;

/// Codes, values of each, places of a row, rows: within a sector and a part of the batch, and beyond both.
const TABLES: [(&str, Table); 2] = [
    ("narrow", Table([5, 3, 2, 7])),
    ("wide", Table([11, 20, 3, 70])),
];
/// Rows and columns: fewer columns than units, and more.
const LOGITS: [(&str, [usize; 2]); 2] = [("narrow", [7, 5]), ("wide", [9, 70])];
/// Rows that are passed over.
const BEFORE: usize = 2;
/// What every gradient is multiplied with.
const SCALE: f64 = 2.0;

#[derive(Clone, Copy)]
struct Table([usize; 4]);

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    let Some(kind) = kind_of::<P>() else {
        return Vec::new();
    };
    let roundoff = <P::Params as HostFormat>::ROUNDOFF;
    let mut checks = Vec::new();
    if P::NAME == F32::NAME {
        checks.extend(TABLES.map(|(case, table)| {
            Check::new("embedding", case, move |context, _| {
                embedding(context, table, roundoff)
            })
        }));
    }
    checks.extend(LOGITS.map(|(case, sides)| {
        Check::new("softmax-cross-entropy", case, move |context, _| {
            require::<P>(context)?;
            softmax(context, kind, sides, roundoff)
        })
    }));
    checks.push(Check::new("dense-layers", "codes", move |context, _| {
        require::<P>(context)?;
        between_codes(context, kind, roundings(kind) * roundoff)
    }));
    checks
}

/// Numbers below `below`, each of which stands somewhere; the last that there are stand nowhere.
fn numbers(seed: usize, count: usize, below: usize) -> Vec<u32> {
    let number = |i: usize| (32.0 * (1.0 + dyadic(seed, i))) as u32 % below as u32;
    (0..count).map(number).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// Rows of `columns` values on the device, `stride` apart, and NaN between them.
fn rows_apart(context: &Context, values: &[f64], columns: usize, stride: usize) -> Handle {
    let apart = values.chunks(columns).flat_map(|row| {
        let gap = std::iter::repeat_n(f32::NAN, stride - columns);
        row.iter().map(|&x| x as f32).chain(gap)
    });
    context.upload(&apart.collect::<Vec<f32>>())
}

/// The first `columns` values of each row.
fn without_gaps(values: &[f32], columns: usize, stride: usize) -> Vec<f32> {
    let rows = values.chunks(stride);
    rows.flat_map(|row| &row[..columns]).copied().collect()
}

fn embedding(context: &Context, table: Table, roundoff: f64) -> Result<Vec<Outcome>, Error> {
    let Table([count, width, places, rows]) = table;
    let (columns, start) = (places * width, 64);
    let stride = columns + 3;
    let all = numbers(1, (BEFORE + rows) * places, count - 1);
    let own = &all[BEFORE * places..];
    let codes = CodedRows::new(context, &all, places, &vec![0; BEFORE + rows])?;
    let values: Vec<f64> = (0..count * width).map(|i| dyadic(2, i)).collect();
    let deltas: Vec<f64> = (0..rows * columns).map(|i| dyadic(3, i)).collect();
    let mut params = vec![f32::NAN; start];
    params.extend(narrow(&values));
    let table = Embedding {
        codes: count,
        width,
        start,
    };
    let batch = [BEFORE, rows];
    let params = context.upload(&params);
    let to = context.upload(&vec![0f32; rows * stride]);
    table.look_up(context, &params, &codes, batch, &to, stride)?;
    let from = rows_apart(context, &deltas, columns, stride);
    let gradient = context.upload(&vec![f32::NAN; start + count * width]);
    table.gradient(context, &codes, batch, &from, stride, &gradient)?;
    let found: Vec<f32> = context.download("contract", &to)?;
    let mut looked_up = Outcome::named("looked up");
    let expected = reference::look_up(&values, width, own);
    looked_up.add(&without_gaps(&found, columns, stride), &expected, |_| 0.0);
    let found: Vec<f32> = context.download("contract", &gradient)?;
    let mut of_table = Outcome::named("gradient");
    let expected = reference::table_gradient(count * width, width, own, &deltas);
    // Up to all places of all rows, of values up to 1.
    let terms = (rows * places) as f64;
    of_table.add(&found[start..], &expected, |e| roundoff * (e.abs() + terms));
    Ok(vec![looked_up, of_table])
}

fn softmax(
    context: &Context,
    kind: PrecisionKind,
    [rows, columns]: [usize; 2],
    roundoff: f64,
) -> Result<Vec<Outcome>, Error> {
    let stride = columns + 3;
    let classes = numbers(4, BEFORE + rows, columns);
    let codes = CodedRows::new(context, &vec![0; BEFORE + rows], 1, &classes)?;
    // From logits that are alike to some that are some tens apart.
    let logit = |i: usize| (i / columns % 4) as f64 * 10.0 * dyadic(5, i);
    let z: Vec<f64> = (0..rows * columns).map(logit).collect();
    let (losses, gradient) = reference::softmax_cross_entropy(&z, &classes[BEFORE..]);
    let own = (&codes, BEFORE);
    let [told, beside] = [(), ()].map(|()| context.upload(&vec![f32::NAN; rows]));
    let buffer = rows_apart(context, &z, columns, stride);
    let logits = Logits {
        buffer: &buffer,
        rows,
        columns,
        stride,
    };
    logits.softmax(context, kind, own, None, &told)?;
    let kept: Vec<f32> = context.download("contract", &buffer)?;
    logits.softmax(context, kind, own, Some(SCALE), &beside)?;
    let written: Vec<f32> = context.download("contract", &buffer)?;
    let mut of_losses = Outcome::named("losses");
    for losses_found in [told, beside] {
        let found: Vec<f32> = context.download("contract", &losses_found)?;
        // Sums of f32 in every format; drivers' exponentials and logarithms are within some units.
        of_losses.add(&found, &losses, |e| 32.0 * F32_ROUNDOFF * (e.abs() + 1.0));
    }
    let mut of_logits = Outcome::named("logits, kept");
    of_logits.add(&without_gaps(&kept, columns, stride), &z, |_| 0.0);
    let mut of_gradient = Outcome::named("gradient");
    let expected: Vec<f64> = gradient.iter().map(|g| SCALE * g).collect();
    let most = largest(&expected);
    of_gradient.add(&without_gaps(&written, columns, stride), &expected, |e| {
        roundoff * e.abs() + 64.0 * F32_ROUNDOFF * (e.abs() + most)
    });
    Ok(vec![of_losses, of_logits, of_gradient])
}

const F32_ROUNDOFF: f64 = <F32 as Precision>::Params::ROUNDOFF;

fn between_codes(
    context: &Context,
    kind: PrecisionKind,
    tolerance: f64,
) -> Result<Vec<Outcome>, Error> {
    let [count, width, places, rows] = [9, 6, 4, 33];
    let oracle = layers(&[places * width, 20, 10, 14, 12]);
    // The tables have room for more rows than there are.
    let batch = rows + 3;
    let codes = numbers(6, (BEFORE + batch) * places, count);
    let classes = numbers(7, BEFORE + batch, 12);
    let values: Vec<f64> = (0..count * width).map(|i| dyadic(8, i)).collect();
    let mut place = Place::default();
    let start = place.put(&values);
    let layers = place.layers(&oracle);
    let arena = place.params.len();
    let table = Embedding {
        codes: count,
        width,
        start,
    };
    let of = |rows: usize| {
        let codes = &codes[BEFORE * places..][..rows * places];
        let classes = &classes[BEFORE..][..rows];
        reference::coded_loss_and_gradients(&values, width, &oracle, codes, classes)
    };
    let auto = Multiplication::Auto;
    let mut network =
        DenseLayers::between_codes(context, table, layers.clone(), kind, arena, batch, auto)?;
    let params = context.upload(&place.params);
    let coded = CodedRows::new(context, &codes, places, &classes)?;
    network.reserve(context, 2)?;
    network.look_up(context, &params, &coded, BEFORE, rows)?;
    network.forward(context, &params, rows, None, 0)?;
    let gradient = context.upload(&vec![f32::NAN; arena]);
    network.look_up(context, &params, &coded, BEFORE, batch)?;
    network.forward(context, &params, batch, Some(SCALE), 1)?;
    let found = network.mean_losses(context, &[rows, batch])?;
    network.backward(context, &params, &gradient)?;
    let whole = of(batch);
    let mut losses = Outcome::named("losses");
    losses.add(&narrow(&found), &[of(rows).loss, whole.loss], |e| {
        2.0 * tolerance * (e + 1.0)
    });
    let written: Vec<f32> = context.download("contract", &gradient)?;
    let mut outcomes = vec![losses];
    outcomes.push(compared(
        "table",
        &written[start..],
        &whole.input,
        SCALE,
        tolerance,
    ));
    for (l, (layer, (weight, bias))) in layers.iter().zip(&whole.layers).enumerate() {
        for (name, start, expected) in [("w", layer.weight, weight), ("b", layer.bias, bias)] {
            let name = format!("{name}{l}");
            outcomes.push(compared(
                &name,
                &written[start..],
                expected,
                SCALE,
                tolerance,
            ));
        }
    }
    Ok(outcomes)
}
