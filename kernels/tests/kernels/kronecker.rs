//! Statistics, directions and the descent of Shampoo.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::error::Error;
use sonew_kernels::graft::Graft;
use sonew_kernels::kronecker::{
    Blocking, DescentRates, DeviceBlocking, Limits, MeasureBuffers, Workspace, direction, measure,
    reference, statistics,
};
use sonew_kernels::launch::Strategy;
use sonew_kernels::precision::{F32, Format};

use crate::bench::*;
use crate::matrices::*;

const LIMITS: Limits = Limits {
    block: 2048,
    merge: 1,
    largest: 4096,
};

#[test]
fn statistics_of_huge_gradients_are_finite_and_recover_on_either_side() {
    let bench = Bench::open();
    let layout = Layout::with_shapes(vec![vec![3, 4]]).unwrap();
    let blocking = Blocking::new(&layout, LIMITS, None, true).unwrap();
    let arena = |scale: f32| {
        let g: Vec<f32> = (0..12).map(|i| scale * noise(3, i) as f32).collect();
        layout.gather(&[&g[..]]).unwrap()
    };
    let mut on_host = vec![0f32; blocking.factor_values()];
    let on_device = bench.values(blocking.factor_values());
    let products =
        DeviceBlocking::new(&bench.context, &layout, &blocking, Default::default()).unwrap();
    for step in 0..300 {
        let grads = arena(if step == 0 { 1e30 } else { 1.0 });
        statistics(&blocking, &grads, &mut on_host, 0.5).unwrap();
        let grads = Arena::from_values(&bench.context, &layout, Format::F32, &grads).unwrap();
        products
            .statistics(&bench.context, &grads, &on_device, 0.5)
            .unwrap();
        let found: Vec<f32> = bench.context.download("test", &on_device).unwrap();
        for values in [&on_host, &found] {
            assert!(values.iter().all(|x| x.is_finite()), "step {step}");
            assert!(step < 299 || values.iter().all(|x| x.abs() < 8.0));
        }
    }
}

#[test]
fn statistics_and_directions_follow_the_oracle_whole_and_in_blocks() {
    let shapes = vec![vec![12, 7], vec![9], vec![5000, 2], vec![]];
    let layout = Layout::with_shapes(shapes).unwrap();
    let g: Vec<Vec<f64>> = layout
        .tensors()
        .iter()
        .enumerate()
        .map(|(t, range)| (0..range.len()).map(|i| exact(noise(t, i))).collect())
        .collect();
    let narrow: Vec<Vec<f32>> = g
        .iter()
        .map(|t| t.iter().map(|&x| x as f32).collect())
        .collect();
    let slices: Vec<&[f32]> = narrow.iter().map(Vec::as_slice).collect();
    let grads = layout.gather(&slices).unwrap();
    for (block, beta2, weight) in [(2048, 0.75, 0.25), (5, 0.75, 0.25), (2048, 1.0, 1.0)] {
        let limits = Limits { block, ..LIMITS };
        let blocking = Blocking::new(&layout, limits, None, true).unwrap();
        let mut factors = vec![1f32; blocking.factor_values()];
        statistics(&blocking, &grads, &mut factors, beta2).unwrap();
        // Anything may stand in for a root.
        let roots: Vec<f32> = (0..factors.len()).map(|i| noise(9, i) as f32).collect();
        let mut out = vec![7f32; layout.arena_len()];
        let mut workspace = Workspace::new(&blocking);
        direction(&blocking, &roots, &grads, &mut out, &mut workspace).unwrap();
        for part in blocking.blocks() {
            let (m, n) = (part.rows, part.columns);
            let read = |from: &[f32]| -> Vec<f64> {
                let at = |i: usize| part.start + i / n * part.stride + i % n;
                (0..m * n).map(|i| f64::from(from[at(i)])).collect()
            };
            let g = read(&grads);
            let gt = reference::transpose(&g, m, n);
            let grams = [
                reference::multiply(&g, &gt, m, n, m),
                reference::multiply(&gt, &g, n, m, n),
            ];
            let mut expected = g.clone();
            for (k, factor) in blocking.factors()[part.factors.clone()].iter().enumerate() {
                let wanted: Vec<f64> = grams[k].iter().map(|x| beta2 + weight * x).collect();
                assert_close(
                    &factors[factor.range.clone()],
                    &wanted,
                    20.0 * ROUNDING,
                    12.0,
                    "statistics",
                );
                let root = widened(&roots[factor.range.clone()]);
                expected = if k == 0 {
                    reference::multiply(&root, &expected, m, m, n)
                } else {
                    reference::multiply(&expected, &root, m, n, n)
                };
            }
            let found: Vec<f32> = read(&out).iter().map(|&x| x as f32).collect();
            // Sums of at most 12 · 7 products of values below 1.
            assert_close(&found, &expected, 90.0 * ROUNDING, 10.0, "direction");
        }
        // The tensor with the long axis, and every gap, are left alone.
        let long = layout.tensors()[2].clone();
        assert!(out[long].iter().all(|&x| x == 7.0));
    }
    assert!(matches!(
        statistics(
            &Blocking::new(&layout, LIMITS, None, true).unwrap(),
            &grads[..100],
            &mut [0.0; 300],
            0.9
        ),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn the_descent_names_what_it_lacks_and_what_is_out_of_range() {
    let bench = Bench::open();
    let layout = Layout::new(&[40]).unwrap();
    let arena = bench.zeros(&layout);
    let table = bench.context.upload(&layout.tensor_of_block());
    let run = |graft, second: bool, lr: f64| {
        measure::<F32>(
            &bench.context,
            MeasureBuffers {
                grads: &arena,
                direction: &arena,
                second: second.then_some(&arena),
                grad_norms: None,
                norms: &bench.values(2),
                tensor_of_block: &table,
                evidence: &bench.slots(),
            },
            graft,
            DescentRates {
                lr,
                weight_decay: 0.0,
                beta1: 0.9,
                beta2: 0.9,
                epsilon: 0.0,
                correction: 1.0,
            },
            Strategy::Inferred,
        )
    };
    run(Graft::Adam, true, 0.1).unwrap();
    for (graft, second, argument) in [
        (Graft::Adam, false, "second"),
        (Graft::Sgd, true, "second"),
        (Graft::RmsProp, true, "grad_norms"),
    ] {
        match run(graft, second, 0.1) {
            Err(Error::Shape {
                argument: found, ..
            }) => assert_eq!(found, argument),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        run(Graft::Momentum, false, 0.1),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        run(Graft::Sgd, false, -0.1),
        Err(Error::Range { argument: "lr", .. })
    ));
}
