//! What is between codes: its oracle beside slopes, host memory beside the oracle, and what is refused.

use sonew_kernels::error::Error;
use sonew_kernels::network::reference::{self, Layer as Oracle};
use sonew_kernels::network::{CodedRows, DenseLayers, Embedding, Layer, Logits, coded_rows};
use sonew_kernels::noise;
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use crate::bench::*;

/// Unstructured values in [−1, 1).
fn values(seed: usize, count: usize) -> Vec<f64> {
    let first = 100_003 * seed;
    (first..first + count).map(noise::noise).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

#[test]
fn the_gradients_of_the_oracle_are_the_slopes_of_its_loss() {
    let (count, width, places) = (5, 3, 2);
    let (codes, classes) = ([4, 0, 2, 2, 1, 4, 0, 2], [3, 0, 1, 3]);
    let layer = |seed, inputs: usize, outputs: usize, linear| Oracle {
        inputs,
        weight: values(seed, inputs * outputs),
        bias: values(seed + 1, outputs),
        linear,
    };
    let table = values(1, count * width);
    let layers = [layer(2, places * width, 7, false), layer(4, 7, 4, true)];
    let loss = |table: &[f64], layers: &[Oracle]| {
        reference::coded_loss_and_gradients(table, width, layers, &codes, &classes)
    };
    let found = loss(&table, &layers);
    let slope = |move_by: &dyn Fn(f64) -> f64| (move_by(1e-6) - move_by(-1e-6)) / 2e-6;
    let close = |slope: f64, gradient: f64| {
        assert!((slope - gradient).abs() < 1e-8, "{slope}, {gradient}");
    };
    for (at, &gradient) in found.input.iter().enumerate() {
        let moved = |step: f64| {
            let mut table = table.clone();
            table[at] += step;
            loss(&table, &layers).loss
        };
        close(slope(&moved), gradient);
    }
    for (l, (weight, bias)) in found.layers.iter().enumerate() {
        for (at, &gradient) in weight.iter().chain(bias).enumerate() {
            let moved = |step: f64| {
                let mut layers = layers.clone();
                let Oracle { weight, bias, .. } = &mut layers[l];
                match weight.get_mut(at) {
                    Some(w) => *w += step,
                    None => bias[at - weight.len()] += step,
                }
                loss(&table, &layers).loss
            };
            close(slope(&moved), gradient);
        }
    }
}

#[test]
fn host_memory_follows_the_oracle() {
    let (count, width, rows, columns) = (6, 5, 70, 9);
    let codes: Vec<u32> = (0..rows as u32 * 2).map(|i| i * i % 5).collect();
    let (table, delta) = (values(1, count * width), values(2, codes.len() * width));
    let (table, delta) = (narrow(&table), narrow(&delta));
    let mut looked_up = vec![f32::NAN; delta.len()];
    coded_rows::look_up(&table, width, &codes, &mut looked_up);
    let expected = reference::look_up(&wide(&table), width, &codes);
    assert_eq!(wide(&looked_up), expected);
    let mut gradient = vec![f32::NAN; table.len()];
    coded_rows::table_gradient(&delta, width, &codes, &mut gradient);
    let expected = reference::table_gradient(table.len(), width, &codes, &wide(&delta));
    for (found, expected) in gradient.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5);
    }
    // Logits of every size up to 100.
    let sizes = [0.0, 1.0, 5.0, 20.0, 100.0];
    let z = values(3, rows * columns).into_iter().enumerate();
    let z: Vec<f64> = z.map(|(i, z)| z * sizes[i % 5]).collect();
    let mut z = narrow(&z);
    let classes: Vec<u32> = (0..rows as u32).map(|i| i * i % 9).collect();
    let (losses, expected) = reference::softmax_cross_entropy(&wide(&z), &classes);
    let mean = losses.iter().sum::<f64>() / rows as f64;
    let told = coded_rows::softmax_loss(&z, &classes);
    assert!((told - mean).abs() < 1e-6 * mean, "{told}, {mean}");
    let beside = coded_rows::softmax_loss_and_gradient(&mut z, &classes, 3.0);
    assert_eq!(told.to_bits(), beside.to_bits());
    for (found, expected) in z.iter().zip(&expected) {
        let expected = 3.0 * expected / rows as f64;
        assert!((f64::from(*found) - expected).abs() < 1e-7);
    }
    z[40] = f32::NAN;
    assert!(coded_rows::softmax_loss(&z, &classes).is_nan());
}

#[test]
fn a_logit_that_is_not_a_number_shows_in_the_loss_of_its_row_alone() {
    let bench = Bench::open();
    let context = &bench.context;
    let classes = CodedRows::new(context, &[0; 3], 1, &[0; 3]).unwrap();
    for at in [0, 39] {
        let mut z = vec![0.5f32; 3 * 40];
        z[40 + at] = f32::NAN;
        let (buffer, losses) = (context.upload(&z), context.upload(&[0f32; 3]));
        let logits = Logits {
            buffer: &buffer,
            rows: 3,
            columns: 40,
            stride: 40,
        };
        let kind = PrecisionKind::F32;
        logits
            .softmax(context, kind, (&classes, 0), None, &losses)
            .unwrap();
        let losses: Vec<f32> = context.download("test", &losses).unwrap();
        let nan: Vec<bool> = losses.iter().map(|loss| loss.is_nan()).collect();
        assert_eq!(nan, [false, true, false], "{at}");
    }
}

#[track_caller]
fn is_refused<T>(found: Result<T, Error>, named: &str) {
    match found.err() {
        Some(error @ (Error::Shape { .. } | Error::Length { .. })) => {
            assert!(error.to_string().contains(named), "{error}");
        }
        Some(error) => panic!("{error}"),
        None => panic!("{named} was taken"),
    }
}

#[test]
fn codes_tables_and_logits_that_do_not_fit_are_refused() {
    let bench = Bench::open();
    let context = &bench.context;
    let rows =
        |codes: &[u32], places, classes: &[u32]| CodedRows::new(context, codes, places, classes);
    is_refused(rows(&[], 2, &[]), "codes");
    is_refused(rows(&[], 0, &[1]), "codes");
    is_refused(rows(&[1, 2, 3], 2, &[0, 1]), "3 codes and 2 classes");
    let codes = rows(&[0, 3, 2, 1], 2, &[4, 1]).unwrap();
    let table = |codes, width, start| Embedding {
        codes,
        width,
        start,
    };
    let params = context.upload(&[0f32; 20]);
    let to = context.upload(&[0f32; 12]);
    let look_up = |table: Embedding, batch, stride| {
        table.look_up(context, &params, &codes, batch, &to, stride)
    };
    look_up(table(4, 3, 8), [0, 2], 6).unwrap();
    is_refused(look_up(table(4, 3, 9), [0, 2], 6), "embedding");
    is_refused(look_up(table(4, 0, 0), [0, 2], 6), "embedding");
    is_refused(look_up(table(3, 3, 8), [0, 2], 6), "codes");
    is_refused(look_up(table(4, 3, 8), [1, 2], 6), "batch");
    is_refused(look_up(table(4, 3, 8), [0, 0], 6), "batch");
    is_refused(look_up(table(4, 3, 8), [0, 2], 7), "to");
    is_refused(look_up(table(4, 3, 8), [0, 2], 5), "stride");
    let gradient = |table: Embedding, batch, stride| {
        table.gradient(context, &codes, batch, &to, stride, &params)
    };
    gradient(table(4, 3, 8), [0, 2], 6).unwrap();
    is_refused(gradient(table(4, 3, 9), [0, 2], 6), "embedding");
    is_refused(gradient(table(4, 3, 8), [0, 2], 7), "to");
    let softmax = |rows, columns, stride| {
        let logits = Logits {
            buffer: &to,
            rows,
            columns,
            stride,
        };
        let kind = PrecisionKind::F32;
        logits.softmax(context, kind, (&codes, 0), None, &params)
    };
    softmax(2, 5, 6).unwrap();
    is_refused(softmax(2, 4, 6), "classes");
    is_refused(softmax(3, 5, 6), "batch");
    is_refused(softmax(2, 5, 7), "to");
}

#[test]
fn layers_between_codes_refuse_what_does_not_lead_from_codes_to_classes() {
    let bench = Bench::open();
    let context = &bench.context;
    let layer = |inputs, outputs, linear| Layer {
        inputs,
        outputs,
        linear,
        weight: 12,
        bias: 40,
    };
    let table = Embedding {
        codes: 4,
        width: 3,
        start: 0,
    };
    let make = |table: Embedding, layers: Vec<Layer>| {
        let (kind, auto) = (PrecisionKind::F32, Multiplication::Auto);
        DenseLayers::between_codes(context, table, layers, kind, 45, 2, auto)
    };
    is_refused(make(table, vec![]), "logits");
    is_refused(make(table, vec![layer(6, 4, false)]), "logits");
    is_refused(make(table, vec![layer(5, 4, true)]), "embedding");
    is_refused(
        make(Embedding { start: 34, ..table }, vec![layer(6, 4, true)]),
        "embedding",
    );
    is_refused(
        make(Embedding { width: 0, ..table }, vec![layer(6, 4, true)]),
        "embedding",
    );
    let mut layers = make(table, vec![layer(6, 4, true)]).unwrap();
    let params = context.upload(&[0f32; 45]);
    is_refused(layers.forward(context, &params, 2, None, 0), "looked up");
    let codes = |codes: &[u32], places, classes: &[u32]| {
        CodedRows::new(context, codes, places, classes).unwrap()
    };
    let fitting = codes(&[0, 3, 2, 1], 2, &[3, 1]);
    let mut look_up =
        |codes: &CodedRows, first, rows| layers.look_up(context, &params, codes, first, rows);
    is_refused(look_up(&codes(&[0, 3, 2], 3, &[3]), 0, 1), "rows of 3");
    is_refused(look_up(&codes(&[0, 4], 2, &[3]), 0, 1), "codes");
    is_refused(look_up(&codes(&[0, 3], 2, &[4]), 0, 1), "classes");
    is_refused(look_up(&fitting, 0, 3), "rows");
    is_refused(look_up(&fitting, 1, 2), "batch");
    look_up(&fitting, 0, 2).unwrap();
    is_refused(layers.forward(context, &params, 1, None, 0), "looked up");
    layers.forward(context, &params, 2, None, 0).unwrap();
    // Weights of zero: every character is as likely as another.
    let losses = layers.mean_losses(context, &[2]).unwrap();
    assert!((losses[0] - 4f64.ln()).abs() < 1e-6, "{losses:?}");
}
