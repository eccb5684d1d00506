//! Walks that are longer than a software driver lets a unit's loops be.

use sonew_kernels::arena::Layout;
use sonew_kernels::error::Error;
use sonew_kernels::first_order::{Buffers, Hyper, Sgd, descend};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::{self, Statistics};
use sonew_kernels::sonew::{Blueprint, Decay, EdgeRemoval, FactorBuffers, factor};

use crate::bench::*;
use crate::factor::round;
use crate::identities::{PLAIN, fused, upload};

#[test]
fn a_unit_with_too_many_runs_for_the_software_driver_is_refused_and_not_computed_wrongly() {
    let bench = Bench::open();
    let band = 10;
    let lengths = [1000usize];
    let layout = Layout::new(&lengths).unwrap();
    let mut h = Statistics::zeros(1000, band);
    for step in 0..40 {
        let g: Vec<f64> = (0..1000).map(|i| noise(step, i)).collect();
        h.accumulate(&g, 0.9, Decay::Average(0.95));
    }
    let h = round(h.damped(1.0, 0.05));
    let expected = reference::factor(&h, PLAIN.gamma, EdgeRemoval::Outgoing);
    let uploaded = upload(&bench, &layout, std::slice::from_ref(&h));
    let mut refused = 0;
    // A rolled elimination, the runs of 32 columns shared by 64 units, by 32, by 1.
    for units in [64, 32, 1] {
        let psi: Vec<_> = (0..band).map(|_| bench.zeros(&layout)).collect();
        let (d, evidence) = (bench.zeros(&layout), bench.slots());
        let result = factor::<F32>(
            &bench.context,
            FactorBuffers {
                diagonal: &uploaded.diagonal,
                edges: &uploaded.edges,
                psi: &psi,
                d: &d,
                evidence: &evidence,
            },
            1.0,
            0.0,
            PLAIN.gamma,
            EdgeRemoval::Outgoing,
            Strategy::Forced(Blueprint {
                sweep: Sweep {
                    width: 1,
                    run: 32,
                    units,
                    cubes: 1,
                    twins: false,
                    team: false,
                },
                unroll: false,
            }),
        );
        match result {
            Ok(()) => {
                let found = bench.read(&d);
                let what = format!("{units} units");
                assert_close(
                    &found[0],
                    &expected.d,
                    crate::factor::tolerance(band),
                    0.0,
                    &what,
                );
            }
            Err(error) => {
                assert!(matches!(error, Error::Unsupported { .. }), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1, "one unit cannot walk the whole arena");
}

#[test]
fn a_sweep_with_too_long_a_walk_for_the_software_driver_is_refused() {
    let bench = Bench::open();
    let layout = Layout::new(&[70_000]).unwrap();
    let (params, grads) = (bench.zeros(&layout), bench.zeros(&layout));
    let evidence = bench.slots();
    let walk = |units| {
        let buffers = Buffers {
            params: &params,
            grads: &grads,
            states: &[],
            rates: None,
            evidence: &evidence,
        };
        let hyper = Hyper {
            lr: 0.03,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 0.0,
            weight_decay: 0.0,
            step: 1,
        };
        let sweep = Sweep {
            width: 1,
            run: 1,
            units,
            cubes: 1,
            twins: false,
            team: false,
        };
        descend::<Sgd, F32>(&bench.context, buffers, hyper, Strategy::Forced(sweep))
    };
    let error = walk(1).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unsupported {
                operation: "sgd",
                ..
            }
        ),
        "{error}"
    );
    walk(8).unwrap();
}

#[test]
fn a_band_beyond_the_unrolled_ones_follows_its_oracle() {
    let bench = Bench::open();
    let (band, n) = (17, 300);
    let layout = Layout::new(&[n]).unwrap();
    let mut h = Statistics::zeros(n, band);
    for step in 0..4 * band {
        let g: Vec<f64> = (0..n).map(|i| noise(step, i)).collect();
        h.accumulate(&g, 0.9, Decay::Average(0.95));
    }
    let mut h = round(h.damped(1.0, 0.05));
    h.moment = (0..n).map(|i| exact(noise(70, i))).collect();
    let uploaded = upload(&bench, &layout, std::slice::from_ref(&h));
    let (found, _) = fused(&bench, &layout, &uploaded, &[vec![0.0; n]], PLAIN);
    let expected: Vec<f64> = reference::factor(&h, PLAIN.gamma, PLAIN.removal)
        .precondition(&h.moment)
        .iter()
        .map(|u| -u)
        .collect();
    let tolerance = crate::factor::tolerance(band);
    assert_close(&found[0], &expected, tolerance, largest(&expected), "−u");
}
