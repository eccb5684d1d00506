use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error;
use sonew_kernels::first_order::average_weights;
use sonew_kernels::gradients::{Clipping, accumulate, clip};
use sonew_kernels::launch::Strategy;
use sonew_kernels::norms::{GLOBAL, Reduction, global_norm, norm_of_each};
use sonew_kernels::precision::Format;

use crate::bench::*;

/// ‖g‖ and s of an arena with a largest norm of 1; tensors in `frozen` are left out.
fn global(context: &Context, grads: &Arena, frozen: &[usize]) -> [f32; 2] {
    let layout = grads.layout();
    let tensors = layout.tensors().len();
    let zeros = |count: usize| context.upload(&vec![0f32; count]);
    let (partials, each) = (zeros(layout.blocks() - 2), zeros(tensors));
    let reduction = Reduction::new(context, layout);
    norm_of_each(context, &reduction, grads, &partials, &each).unwrap();
    let counted: Vec<u32> = (0..tensors)
        .map(|t| u32::from(!frozen.contains(&t)))
        .collect();
    let (counted, out) = (context.upload(&counted), zeros(GLOBAL));
    global_norm(context, layout, &each, &counted, 1.0, &out).unwrap();
    let found: Vec<f32> = context.download("test", &out).unwrap();
    [found[0], found[1]]
}

#[test]
fn a_global_norm_neither_overflows_nor_underflows_where_it_is_a_number() {
    let bench = Bench::open();
    // More tensors than units.
    let layout = Layout::new(&[3; 400]).unwrap();
    for size in [1e-30f32, 1.0, 1e30] {
        let grads = Arena::filled(&bench.context, &layout, Format::F32, size);
        let [norm, factor] = global(&bench.context, &grads, &[]);
        let expected = size * 1200f32.sqrt();
        assert!((norm / expected - 1.0).abs() < 1e-5, "{norm}, {expected}");
        let shrinks = if size < 1e-3 { 1.0 } else { 1.0 / expected };
        assert!((factor / shrinks - 1.0).abs() < 1e-5, "{factor}");
    }
    // Twice the largest number.
    let grads = Arena::filled(&bench.context, &layout, Format::F32, 2e37);
    let [norm, factor] = global(&bench.context, &grads, &[]);
    assert!(norm.is_infinite() && factor == 0.0, "{norm}, {factor}");
}

#[test]
fn a_frozen_tensor_counts_for_nothing_whatever_it_holds() {
    let bench = Bench::open();
    let layout = Layout::new(&[300, 5, 2]).unwrap();
    let tensors = vec![vec![0.0; 300], vec![f32::NAN; 5], vec![3.0, 4.0]];
    let grads = Arena::of(&bench.context, &layout, Format::F32, &tensors).unwrap();
    let [norm, factor] = global(&bench.context, &grads, &[1]);
    assert_eq!((norm, factor), (5.0, 0.2));
    let [norm, factor] = global(&bench.context, &grads, &[]);
    assert!(norm.is_nan() && factor == 0.0, "{norm}, {factor}");
}

#[test]
fn what_is_not_finite_stays_and_what_is_finite_is_clipped_beside_it() {
    let bench = Bench::open();
    let context = &bench.context;
    let layout = Layout::new(&[6, 2]).unwrap();
    let spoiled = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 8.0, -8.0, 0.25];
    for format in Format::ALL {
        let tensors = [spoiled.clone(), vec![2.0, -0.5]];
        let grads = Arena::of(context, &layout, format, &tensors).unwrap();
        let zero = context.upload(&[f32::INFINITY, 0.0]);
        for (bound, global, expected) in [
            (Some(1.0), None, [1.0, -1.0, 0.25, 1.0, -0.5]),
            (None, Some(&zero), [0.0; 5]),
        ] {
            let to = Arena::zeros(context, &layout, format);
            let clipping = Clipping { bound, global };
            clip(context, Some(&grads), &to, clipping, Strategy::Inferred).unwrap();
            let found = to.tensors(context).unwrap().concat();
            assert!(found[0].is_nan(), "{format}: {found:?}");
            assert_eq!(found[1..3], spoiled[1..3], "{format}");
            assert_eq!(found[3..], expected, "{format}");
        }
    }
}

#[test]
fn a_mean_forgets_what_was_not_finite_with_the_next_first() {
    let bench = Bench::open();
    let context = &bench.context;
    let layout = Layout::new(&[3]).unwrap();
    let mean = Arena::zeros(context, &layout, Format::F32);
    let values = [[f32::NAN, 1.0, 2.0], [1.0, 2.0, 4.0], [2.0, 4.0, 6.0]];
    for (t, values) in values.iter().enumerate() {
        let grads = Arena::of(context, &layout, Format::F32, &[values]).unwrap();
        accumulate(context, &grads, &mean, 2, t != 1, Strategy::Inferred).unwrap();
        let found = mean.tensors(context).unwrap().concat();
        match t {
            1 => assert!(found[0].is_nan() && found[1..] == [1.5, 3.0], "{found:?}"),
            2 => assert_eq!(found, [1.0, 2.0, 3.0]),
            _ => {}
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_launched() {
    let bench = Bench::open();
    let context = &bench.context;
    let [layout, other] = [vec![5, 300], vec![7]].map(|it| Layout::new(&it).unwrap());
    let zeros = |layout, format| Arena::zeros(context, layout, format);
    let [wide, narrow] = [Format::F32, Format::Bf16].map(|it| zeros(&layout, it));
    let elsewhere = zeros(&other, Format::F32);
    let (short, pair) = (context.upload(&[0f32]), context.upload(&[0f32; 2]));
    let launched = context.launches();
    let by = |bound, global| Clipping { bound, global };
    let clipped = |from, to, clipping| clip(context, from, to, clipping, Strategy::Inferred);
    for bound in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
        let error = clipped(None, &wide, by(Some(bound), None)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Range {
                    argument: "bound",
                    ..
                }
            ),
            "{error}"
        );
        let error = global_norm(context, &layout, &pair, &pair, bound, &pair).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Range {
                    argument: "most",
                    ..
                }
            ),
            "{error}"
        );
    }
    let error = clipped(None, &wide, by(None, Some(&short))).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Length {
                argument: "global",
                ..
            }
        ),
        "{error}"
    );
    for [norms, counted, out] in [
        [&short, &pair, &pair],
        [&pair, &short, &pair],
        [&pair, &pair, &short],
    ] {
        let error = global_norm(context, &layout, norms, counted, 1.0, out).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{error}");
    }
    let added = |grads, mean, of| accumulate(context, grads, mean, of, true, Strategy::Inferred);
    let error = added(&wide, &wide, 0).unwrap_err();
    assert!(
        matches!(error, Error::Range { argument: "of", .. }),
        "{error}"
    );
    let averaged = |weights, averages, decay| {
        average_weights(context, weights, averages, decay, true, Strategy::Inferred)
    };
    for decay in [1.0, -0.1, f64::NAN] {
        let error = averaged(&wide, &wide, decay).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Range {
                    argument: "decay",
                    ..
                }
            ),
            "{error}"
        );
    }
    for error in [
        clipped(Some(&elsewhere), &wide, by(Some(1.0), None)),
        clipped(Some(&narrow), &wide, by(Some(1.0), None)),
        added(&elsewhere, &wide, 2),
        added(&wide, &narrow, 2),
        averaged(&elsewhere, &wide, 0.5),
        averaged(&wide, &narrow, 0.5),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
    assert_eq!(context.launches(), launched);
}
