//! Many matrix products in one launch.

use sonew_kernels::context::{Context, Profile};
use sonew_kernels::error::Error;
use sonew_kernels::launch::{Strategy, TileSpeed, Tuned};
use sonew_kernels::product::{Blueprint, Factors, Product, Products, Scale, Sums, View, multiply};
use sonew_runtime::recorder::{Language, record};

use crate::bench::*;
use crate::matrices::widened;

#[test]
fn grouped_products_of_all_sizes_and_transposes_follow_f64() {
    let bench = Bench::open();
    let sizes = [
        (1, 1, 1),
        (3, 5, 2),
        (32, 32, 16),
        (33, 65, 40),
        (70, 1, 129),
    ];
    let sliced = Blueprint {
        slices: 2,
        ..Blueprint::SMALL
    };
    let total: usize = 70 * 129 * 5;
    let values = |seed| -> Vec<f32> { (0..total).map(|i| noise(seed, i) as f32).collect() };
    let (a, b, start) = (values(1), values(2), values(3));
    for blueprint in [Blueprint::SMALL, sliced] {
        for transposed in [false, true] {
            let mut products = Vec::new();
            let (mut at, mut out) = (0, 0);
            for (m, n, k) in sizes {
                let part = |rows, columns| {
                    if transposed {
                        View::rows(at, rows + 1).transposed()
                    } else {
                        View::rows(at, columns + 1)
                    }
                };
                products.push(Product {
                    a: part(m, k),
                    b: part(k, n),
                    c: View::rows(out, n + 2),
                    m,
                    n,
                    k,
                });
                at += 7 * k.max(m).max(n);
                out += m * (n + 2);
            }
            for keep in [0.0, 0.5] {
                let table =
                    Products::new(&bench.context, &products, Strategy::Forced(blueprint)).unwrap();
                let c = bench.context.upload(&start);
                let buffers = [&bench.context.upload(&a), &bench.context.upload(&b), &c];
                let scale = Scale {
                    keep,
                    weight: 0.25,
                    bound: None,
                };
                multiply(&bench.context, &table, buffers, scale).unwrap();
                let found: Vec<f32> = bench.context.download("test", &c).unwrap();
                let mut expected = widened(&start);
                let entry = |values: &[f32], view: View, i: usize, j: usize| {
                    f64::from(values[view.offset + i * view.row_stride + j * view.column_stride])
                };
                for p in &products {
                    for i in 0..p.m {
                        for j in 0..p.n {
                            let terms =
                                (0..p.k).map(|l| entry(&a, p.a, i, l) * entry(&b, p.b, l, j));
                            let at = p.c.offset + i * p.c.row_stride + j;
                            expected[at] = keep * expected[at] + 0.25 * terms.sum::<f64>();
                        }
                    }
                }
                // Sums of up to 129 terms below 1; what lies between and behind the results stays as it was.
                assert_close(&found, &expected, 130.0 * ROUNDING, 8.0, "product");
            }
        }
    }
}

#[test]
fn a_tile_that_was_measured_faster_than_reckoned_is_chosen() {
    let recording = record(Language::CudaSm90);
    let chosen = |tiles: Vec<TileSpeed>| {
        let tuned = Tuned::default().with_tiles(tiles);
        let context = Context::new(recording.client(), Profile::GPU).with_tuned(tuned);
        Blueprint::choose(&context, None, [[1024, 1024]])
    };
    let forms: Vec<Blueprint> = Blueprint::all(Factors::Whole).collect();
    let speed = |it: &Blueprint, speed: f64| TileSpeed {
        factors: it.factors,
        rows: it.rows,
        columns: it.columns,
        slices: it.slices,
        speed,
    };
    let smallest = *forms.last().unwrap();
    assert_ne!(chosen(Vec::new()), smallest);
    let (last, others) = forms.split_last().unwrap();
    let slow = others.iter().map(|it| speed(it, 0.1));
    assert_eq!(chosen(slow.chain([speed(last, 1.0)]).collect()), smallest);
}

#[test]
fn grouped_products_refuse_short_buffers_and_blueprints_that_do_not_fit() {
    let bench = Bench::open();
    let product = Product {
        a: View::rows(5, 4),
        b: View::rows(0, 4),
        c: View::rows(0, 4),
        m: 4,
        n: 4,
        k: 4,
    };
    let table = Products::new(&bench.context, &[product], Strategy::Inferred).unwrap();
    let run = |a: usize| {
        multiply(
            &bench.context,
            &table,
            [&bench.values(a), &bench.values(16), &bench.values(16)],
            Scale::default(),
        )
    };
    run(21).unwrap();
    assert!(matches!(run(20), Err(Error::Length { argument: "a", .. })));
    for unfit in [
        Blueprint {
            rows: 30,
            ..Blueprint::SMALL
        },
        Blueprint {
            terms: 12,
            ..Blueprint::SMALL
        },
        Blueprint {
            slices: 3,
            ..Blueprint::SMALL
        },
        Blueprint {
            unit_rows: 2,
            ..Blueprint::SMALL
        },
    ] {
        let strategy = Strategy::Forced(unfit);
        assert!(Products::new(&bench.context, &[product], strategy).is_err());
    }
    // Nothing to do is no error.
    let none = Products::new(&bench.context, &[], Strategy::Inferred).unwrap();
    let empty = bench.values(1);
    multiply(&bench.context, &none, [&empty; 3], Scale::default()).unwrap();
}

#[test]
fn compensated_sums_keep_what_cancels_and_plain_ones_lose_it() {
    let bench = Bench::open();
    let n = 40;
    let a: Vec<f32> = (0..n * n)
        .map(|at| match at % n {
            0 => 1.0 + noise(1, at) as f32,
            k => noise(2, at) as f32 * 2f32.powi(-((k % 20) as i32)),
        })
        .collect();
    let b: Vec<f32> = (0..n * n)
        .map(|at| noise(3, at) as f32 * 2f32.powi((at / n % 20) as i32))
        .collect();
    // The last term of each sum takes away what the others make, to f32.
    let (mut a, mut b) = (a, b);
    for j in 0..n {
        b[(n - 1) * n + j] = 1.0;
    }
    for i in 0..n {
        let sum: f64 = (0..n - 1)
            .map(|k| f64::from(a[i * n + k]) * f64::from(b[k * n]))
            .sum();
        a[i * n + n - 1] = -sum as f32;
    }
    let product = Product::row_major([n, n, n]);
    let error = |sums: Sums| {
        let blueprint = Blueprint {
            sums,
            ..Blueprint::SMALL
        };
        let table = Products::new(&bench.context, &[product], Strategy::Forced(blueprint)).unwrap();
        let (left, right) = (bench.context.upload(&a), bench.context.upload(&b));
        let out = bench.values(n * n);
        multiply(
            &bench.context,
            &table,
            [&left, &right, &out],
            Scale::default(),
        )
        .unwrap();
        let found: Vec<f32> = bench.context.download("test", &out).unwrap();
        // Of the first column, whose sums cancel, relative to what is summed.
        let relative = |i: usize| {
            let terms = (0..n).map(|k| f64::from(a[i * n + k]) * f64::from(b[k * n]));
            let size: f64 = terms.clone().map(f64::abs).sum();
            (f64::from(found[i * n]) - terms.sum::<f64>()).abs() / size
        };
        (0..n).map(relative).fold(0.0, f64::max)
    };
    let (plain, compensated) = (error(Sums::Plain), error(Sums::Compensated));
    // The parts below the leading 12 digits are summed plainly: 40 roundings of 2⁻¹² of the terms.
    assert!(
        compensated < 40.0 * ROUNDING / 4096.0,
        "compensated {compensated:e}"
    );
    assert!(plain > 0.5 * ROUNDING, "plain {plain:e}");
}

#[test]
fn tiles_change_no_bit_of_a_product() {
    let bench = Bench::open();
    let [m, k, n] = [70, 90, 66];
    let values =
        |seed, count: usize| -> Vec<f32> { (0..count).map(|i| noise(seed, i) as f32).collect() };
    let (a, b) = (values(1, m * k), values(2, k * n));
    let product = Product::row_major([m, k, n]);
    let run = |blueprint| {
        let table = Products::new(&bench.context, &[product], Strategy::Forced(blueprint)).unwrap();
        let (left, right) = (bench.context.upload(&a), bench.context.upload(&b));
        let out = bench.values(m * n);
        multiply(
            &bench.context,
            &table,
            [&left, &right, &out],
            Scale::default(),
        )
        .unwrap();
        let found: Vec<f32> = bench.context.download("test", &out).unwrap();
        found.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let small = run(Blueprint::SMALL);
    for blueprint in Blueprint::all(Factors::Whole) {
        let whole = Blueprint {
            slices: 1,
            ..blueprint
        };
        let whole = whole.fitted(&bench.context);
        assert!(run(whole) == small, "{whole:?}");
    }
}
