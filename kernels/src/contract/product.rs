//! Matrix products, by every blueprint that a device may choose.

use super::Check;
use super::bench::dyadic;
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::precision::{F32, HostFormat, Precision};
use crate::product::{Blueprint, Product, Products, Scale, Sums, View, multiply};
use crate::sweep::Strategy;

const UNIT: f64 = <<F32 as Precision>::State as HostFormat>::ROUNDOFF;

pub(super) fn checks() -> Vec<Check> {
    let named = |blueprint: Blueprint| {
        let Blueprint { rows, columns, .. } = blueprint;
        let case = format!("{rows} x {columns}");
        Check::new("product", case, move |context, _| {
            products(context, blueprint.fitted(context))
        })
    };
    let compensated = Blueprint {
        sums: Sums::Compensated,
        ..Blueprint::SMALL
    };
    let mut checks: Vec<Check> = Blueprint::all().map(named).collect();
    for (case, blueprint) in [("small", Blueprint::SMALL), ("compensated", compensated)] {
        checks.push(Check::new("product", case, move |context, _| {
            products(context, blueprint)
        }));
    }
    checks.push(Check::new("product", "scaled, bounded", |context, _| {
        scaled(context)
    }));
    checks
}

/// What a product is made of.
struct Case {
    name: &'static str,
    /// m, k, n.
    shape: [usize; 3],
    /// From one line of memory to the next, beyond what the line has.
    gap: usize,
    /// Factors of A and B.
    sizes: [f64; 2],
}

/// Sizes whose every stride is a multiple of four or of two, sizes that are neither, a sum of one term and one of many, and values near
/// both ends of the format.
const CASES: [Case; 6] = [
    Case {
        name: "even",
        shape: [72, 44, 136],
        gap: 4,
        sizes: [1.0, 1.0],
    },
    Case {
        name: "halves",
        shape: [30, 70, 34],
        gap: 0,
        sizes: [1.0, 1.0],
    },
    Case {
        name: "odd",
        shape: [133, 37, 5],
        gap: 0,
        sizes: [1.0, 1.0],
    },
    Case {
        name: "one term",
        shape: [5, 1, 3],
        gap: 0,
        sizes: [1.0, 1.0],
    },
    Case {
        name: "many terms, huge",
        shape: [3, 1500, 7],
        gap: 0,
        sizes: [1e20, 1e15],
    },
    Case {
        name: "tiny",
        shape: [9, 16, 4],
        gap: 0,
        sizes: [1e-20, 1e-14],
    },
];

/// Every transpose in small tiles; in the others those that read each operand along its lines and along its terms.
fn products(context: &Context, blueprint: Blueprint) -> Result<Vec<Outcome>, Error> {
    let transposes: &[[bool; 2]] = if blueprint == Blueprint::SMALL {
        &[[false, false], [true, false], [false, true], [true, true]]
    } else {
        &[[true, false], [false, true]]
    };
    let mut outcomes = Vec::new();
    for case in &CASES {
        for &transposes in transposes {
            outcomes.push(case.outcome(context, blueprint, transposes)?);
        }
    }
    Ok(outcomes)
}

/// A `rows` × `columns` matrix in memory, its lines `gap` values apart.
struct Matrix {
    values: Vec<f32>,
    view: View,
}

impl Matrix {
    fn new(
        seed: usize,
        [rows, columns]: [usize; 2],
        gap: usize,
        size: f64,
        transposed: bool,
    ) -> Self {
        let (lines, length) = if transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let view = View::rows(4, length + gap);
        Self {
            // NaN wherever no entry lies.
            values: (0..4 + lines * (length + gap))
                .map(|at| match at.checked_sub(4) {
                    Some(at) if at % (length + gap) < length => (size * dyadic(seed, at)) as f32,
                    _ => f32::NAN,
                })
                .collect(),
            view: if transposed { view.transposed() } else { view },
        }
    }

    fn entry(&self, row: usize, column: usize) -> f64 {
        let View {
            offset,
            row_stride,
            column_stride,
        } = self.view;
        self.values[offset + row * row_stride + column * column_stride].into()
    }
}

/// Σ a b, and Σ |a b|.
fn sums(a: &Matrix, b: &Matrix, [m, k, n]: [usize; 3], bound: f64) -> Vec<(f64, f64)> {
    let entry = |at: usize| {
        let term = |l: usize| {
            let a = a.entry(at / n, l).clamp(-bound, bound);
            a * b.entry(l, at % n).clamp(-bound, bound)
        };
        let terms = (0..k).map(term);
        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
    };
    (0..m * n).map(entry).collect()
}

impl Case {
    fn outcome(
        &self,
        context: &Context,
        blueprint: Blueprint,
        transposes: [bool; 2],
    ) -> Result<Outcome, Error> {
        let [m, k, n] = self.shape;
        let a = Matrix::new(7, [m, k], self.gap, self.sizes[0], transposes[0]);
        let b = Matrix::new(8, [k, n], self.gap, self.sizes[1], transposes[1]);
        let stride = n + self.gap;
        let product = Product {
            a: a.view,
            b: b.view,
            c: View::rows(0, stride),
            m,
            n,
            k,
        };
        let products = Products::new(context, &[product], Strategy::Forced(blueprint))?;
        let out = context.upload(&vec![7f32; m * stride]);
        let buffers = [&context.upload(&a.values), &context.upload(&b.values), &out];
        multiply(context, &products, buffers, Scale::default())?;
        let found: Vec<f32> = context.download("contract", &out)?;
        let letters = transposes.map(|it| if it { "ᵀ" } else { "" });
        let name = format!("{}: A{} B{}", self.name, letters[0], letters[1]);
        let mut outcome = Outcome::named(name);
        let rows = sums(&a, &b, self.shape, f64::MAX);
        for (found, expected) in found.chunks(stride).zip(rows.chunks(n)) {
            // Of a row what is farthest off, as a part of what is allowed: a rounding a term, whatever their order, and what a device
            // flushes to 0.
            let part = |(&found, &(sum, size)): (&f32, &(f64, f64))| {
                let allowed = (k + 2) as f64 * (UNIT * size + f64::from(f32::MIN_POSITIVE));
                (f64::from(found) - sum).abs() / allowed
            };
            let entries = found.iter().zip(expected).map(part);
            // What lies between the rows stays as it was.
            let gap = found[n..]
                .iter()
                .map(|&x| if x == 7.0 { 0.0 } else { f64::NAN });
            let worst = entries.chain(gap).fold(0.0, |worst: f64, part| {
                if part > worst || part.is_nan() {
                    part
                } else {
                    worst
                }
            });
            outcome.add(&[worst as f32], &[0.0], |_| 1.0);
        }
        Ok(outcome)
    }
}

fn scaled(context: &Context) -> Result<Vec<Outcome>, Error> {
    let shape @ [m, k, n] = [12, 20, 8];
    let a = Matrix::new(1, [m, k], 0, 4.0, false);
    let b = Matrix::new(2, [k, n], 0, 4.0, false);
    let product = Product {
        a: a.view,
        b: b.view,
        c: View::rows(0, n),
        m,
        n,
        k,
    };
    let products = Products::new(context, &[product], Strategy::Inferred)?;
    let before: Vec<f32> = (0..m * n).map(|i| dyadic(3, i) as f32).collect();
    let out = context.upload(&before);
    let buffers = [&context.upload(&a.values), &context.upload(&b.values), &out];
    let scale = Scale {
        keep: 0.75,
        weight: 0.125,
        bound: Some(1.5),
    };
    multiply(context, &products, buffers, scale)?;
    let found: Vec<f32> = context.download("contract", &out)?;
    let mut outcome = Outcome::named("0.75 C + 0.125 A B");
    let sums = sums(&a, &b, shape, 1.5);
    for ((found, before), (sum, size)) in found.iter().zip(before).zip(sums) {
        let expected = 0.75 * f64::from(before) + 0.125 * sum;
        outcome.add(&[*found], &[expected], |_| {
            (k + 4) as f64 * UNIT * (size + 1.0)
        });
    }
    Ok(vec![outcome])
}
