use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::launch::Strategy;
use sonew_kernels::norms::{Reduction, norm_per_tensor};
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::reference::Statistics;
use sonew_kernels::sonew::{Decay, StatisticsBuffers, largest_row_sum, statistics};

use crate::bench::*;

/// Statistics on the device and by the oracle after the same gradients.
pub struct Accumulated {
    pub layout: Layout,
    pub moment: Arena,
    pub diagonal: Arena,
    pub edges: Vec<Arena>,
    pub oracle: Vec<Statistics>,
}

pub fn accumulate(
    bench: &Bench,
    lengths: &[usize],
    band: usize,
    steps: usize,
    decay: Decay,
    gradient: impl Fn(usize, usize, usize) -> f64,
) -> Accumulated {
    let layout = Layout::new(lengths).unwrap();
    let out = Accumulated {
        moment: bench.zeros(&layout),
        diagonal: bench.zeros(&layout),
        edges: (0..band).map(|_| bench.zeros(&layout)).collect(),
        oracle: lengths
            .iter()
            .map(|&n| Statistics::zeros(n, band))
            .collect(),
        layout,
    };
    let evidence = bench.slots();
    let mut oracle = out.oracle;
    let rounded = match decay {
        Decay::Average(beta) => Decay::Average(exact(beta)),
        sum => sum,
    };
    for step in 0..steps {
        let g = tensors(lengths, |t, i| gradient(step, t, i));
        let grads = bench.arena(&out.layout, &g);
        let buffers = StatisticsBuffers {
            grads: &grads,
            moment: &out.moment,
            diagonal: &out.diagonal,
            edges: &out.edges,
            rows: None,
            evidence: &evidence,
        };
        statistics::<F32>(&bench.context, buffers, 0.9, decay, Strategy::Inferred).unwrap();
        for (h, g) in oracle.iter_mut().zip(&g) {
            h.accumulate(g, exact(0.9), rounded);
        }
    }
    Accumulated { oracle, ..out }
}

fn assert_statistics(bench: &Bench, found: &Accumulated, steps: usize, what: &str) {
    // Four roundings a step act on each entry.
    let tolerance = 4.0 * steps as f64 * ROUNDING;
    let moment = bench.read(&found.moment);
    let diagonal = bench.read(&found.diagonal);
    for (t, h) in found.oracle.iter().enumerate() {
        assert_close(&moment[t], &h.moment, tolerance, largest(&h.moment), what);
        assert_close(&diagonal[t], &h.diagonal, tolerance, 1e-37, what);
    }
    for (k, edge) in found.edges.iter().enumerate() {
        let edge = bench.read(edge);
        for (t, h) in found.oracle.iter().enumerate() {
            // Products of both signs cancel in an edge: the error is relative to the diagonal.
            let scale = largest(&h.diagonal).max(1e-37);
            assert_close(&edge[t], &h.edges[k], tolerance, scale, what);
        }
    }
}

#[test]
fn statistics_follow_their_oracle_for_every_band_and_form() {
    let bench = Bench::open();
    for band in [0, 1, 2, 4, 10] {
        for decay in [Decay::Average(0.99), Decay::Sum(2.0)] {
            let found = accumulate(&bench, LENGTHS, band, 6, decay, |s, t, i| {
                noise(s + 31 * t, i)
            });
            assert_statistics(&bench, &found, 6, &format!("band {band}, {decay:?}"));
        }
    }
}

#[test]
fn tiny_and_denormal_gradients_leave_zero_or_tiny_statistics() {
    let bench = Bench::open();
    for scale in [1e-30, 1e-40] {
        let found = accumulate(&bench, &[50], 1, 3, Decay::Average(0.9), |s, _, i| {
            scale * noise(s, i)
        });
        for values in [&found.diagonal, &found.edges[0]] {
            for value in bench.read(values).concat() {
                assert!(value.abs() < 1e-37, "{value:e}");
            }
        }
    }
}

#[test]
fn huge_gradients_leave_finite_statistics_that_recover() {
    let bench = Bench::open();
    let found = accumulate(&bench, &[50], 1, 400, Decay::Average(0.5), |s, _, i| {
        if s == 0 {
            1e30 * noise(7, i)
        } else {
            noise(s, i)
        }
    });
    // 400 halvings of the largest f32 leave nothing of it.
    for values in [&found.diagonal, &found.edges[0]] {
        for value in bench.read(values).concat() {
            assert!(value.abs() < 2.0, "{value:e}");
        }
    }
}

#[test]
fn norms_and_row_sums_per_tensor_follow_the_oracle() {
    let bench = Bench::open();
    let found = accumulate(&bench, LENGTHS, 4, 6, Decay::Average(0.9), |s, t, i| {
        noise(s + 31 * t, i)
    });
    let layout = &found.layout;
    let reduction = Reduction::new(&bench.context, layout);
    let partials = bench.values(layout.blocks() - 2);
    let out = bench.values(LENGTHS.len());
    largest_row_sum::<F32>(
        &bench.context,
        &reduction,
        &found.diagonal,
        &found.edges,
        &partials,
        &out,
    )
    .unwrap();
    let sums: Vec<f32> = bench.context.download("test", &out).unwrap();
    let expected: Vec<f64> = found
        .oracle
        .iter()
        .map(Statistics::largest_row_sum)
        .collect();
    // 24 roundings in the statistics, 9 in a sum.
    assert_close(&sums, &expected, 40.0 * ROUNDING, 0.0, "row sums");

    let values = tensors(LENGTHS, noise);
    let arena = bench.arena(layout, &values);
    norm_per_tensor::<F32>(&bench.context, &reduction, &arena, &partials, &out).unwrap();
    let norms: Vec<f32> = bench.context.download("test", &out).unwrap();
    let expected: Vec<f64> = values
        .iter()
        .map(|t| t.iter().map(|x| x * x).sum::<f64>().sqrt())
        .collect();
    // Sums of 256 positive squares in a row, then of a few blocks.
    assert_close(&norms, &expected, 270.0 * ROUNDING, 0.0, "norms");
}
