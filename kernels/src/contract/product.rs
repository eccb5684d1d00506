//! Matrix products, by every blueprint that a device may choose.

use half::{bf16, f16};

use super::Check;
use super::bench::{dyadic, noise};
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::launch::Strategy;
use crate::precision::{Bf16, F16, F32, HostFormat, Precision};
use crate::product::{Blueprint, Factors, Parts, Product, Products, Scale, Sums, View, multiply};

const UNIT: f64 = <<F32 as Precision>::State as HostFormat>::ROUNDOFF;

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    match P::NAME {
        name if name == F32::NAME => [whole(), of_parts(Parts::Three), of_parts(Parts::Tf32)]
            .into_iter()
            .flatten()
            .collect(),
        name if name == Bf16::NAME => of_parts(Parts::Bf16),
        name if name == F16::NAME => of_parts(Parts::F16),
        _ => Vec::new(),
    }
}

fn tile(blueprint: Blueprint) -> String {
    format!("{} x {}", blueprint.rows, blueprint.columns)
}

fn check(case: String, blueprint: Blueprint) -> Check {
    // Not every device has matrix units.
    let kernel = match blueprint.factors {
        Factors::Whole | Factors::Parts(_) => "product",
        Factors::Matrix(_) => "matrix-units",
    };
    Check::new(kernel, case, move |context, _| {
        products(context, blueprint.fitted(context))
    })
}

/// Products of f32.
fn whole() -> Vec<Check> {
    let tiles = Blueprint::all(Factors::Whole);
    let mut checks: Vec<Check> = tiles.map(|it| check(tile(it), it)).collect();
    let compensated = Blueprint {
        sums: Sums::Compensated,
        ..Blueprint::SMALL
    };
    checks.push(check("small".into(), Blueprint::SMALL));
    checks.push(check("compensated".into(), compensated));
    checks.push(Check::new("product", "scaled, bounded", |context, _| {
        scaled(context)
    }));
    checks.push(Check::new("product", "symmetric", |context, _| {
        let tiles = Blueprint::all(Factors::Whole).nth(2);
        let [small, wide] = [Blueprint::SMALL, tiles.unwrap_or(Blueprint::SMALL)];
        symmetric(context, &[small, wide.fitted(context)])
    }));
    checks
}

/// Products of parts: in small tiles by units, and in small and in the largest ones by matrix units, in all of them in bf16, for those of
/// other parts differ in what is multiplied alone.
fn of_parts(parts: Parts) -> Vec<Check> {
    let (name, tiles) = match parts {
        Parts::Bf16 => ("bf16", usize::MAX),
        Parts::F16 => ("f16", 1),
        Parts::Tf32 => ("tf32", 1),
        Parts::Three => ("three parts", 1),
    };
    let factors = Factors::Matrix(parts);
    let by_units = Blueprint::small(Factors::Parts(parts));
    let by_matrix_units = |case: &str, it| check(format!("{name}, {case}"), it);
    let mut checks = vec![
        check(format!("{name}, small"), by_units),
        by_matrix_units("small", Blueprint::small(factors)),
    ];
    let tiles = Blueprint::all(factors).take(tiles);
    checks.extend(tiles.map(|it| by_matrix_units(&tile(it), it)));
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
    /// The same in f16.
    half_sizes: [f64; 2],
}

/// Sizes whose every stride is a multiple of four or of two, sizes that are neither, a sum of one term and one of many, and values near
/// both ends of the format.
const CASES: [Case; 6] = [
    Case {
        name: "even",
        shape: [72, 44, 136],
        gap: 4,
        sizes: [1.0, 1.0],
        half_sizes: [1.0, 1.0],
    },
    Case {
        name: "halves",
        shape: [30, 70, 34],
        gap: 0,
        sizes: [1.0, 1.0],
        half_sizes: [1.0, 1.0],
    },
    Case {
        name: "odd",
        shape: [133, 37, 5],
        gap: 0,
        sizes: [1.0, 1.0],
        half_sizes: [1.0, 1.0],
    },
    Case {
        name: "one term",
        shape: [5, 1, 3],
        gap: 0,
        sizes: [1.0, 1.0],
        half_sizes: [1.0, 1.0],
    },
    Case {
        name: "many terms, huge",
        shape: [3, 1500, 7],
        gap: 0,
        sizes: [1e20, 1e15],
        half_sizes: [65504.0, 64.0],
    },
    Case {
        name: "tiny",
        shape: [9, 16, 4],
        gap: 0,
        sizes: [1e-20, 1e-14],
        half_sizes: [1e-5, 1e-4],
    },
];

/// Every transpose in small tiles; in the others those that read each operand along its lines and along its terms.
fn products(context: &Context, blueprint: Blueprint) -> Result<Vec<Outcome>, Error> {
    let transposes: &[[bool; 2]] = if blueprint == Blueprint::small(blueprint.factors) {
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

/// An entry of up to `size`, one that these factors hold: with as many digits as three parts have, or as few as a narrow format has.
fn held(size: f64, factors: Factors, seed: usize, at: usize) -> f32 {
    let few = || (size * dyadic(seed, at)) as f32;
    match factors {
        Factors::Whole => few(),
        Factors::Parts(parts) | Factors::Matrix(parts) => match parts {
            Parts::Bf16 => bf16::from_f32(few()).to_f32(),
            Parts::F16 => f16::from_f32(few()).to_f32(),
            Parts::Tf32 => f32::from_bits(few().to_bits() & 0xffff_e000),
            Parts::Three => (size * noise(seed, at)) as f32,
        },
    }
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
        factors: Factors,
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
                    Some(at) if at % (length + gap) < length => held(size, factors, seed, at),
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
        let factors = blueprint.factors;
        let sizes = match factors {
            Factors::Parts(Parts::F16) | Factors::Matrix(Parts::F16) => self.half_sizes,
            _ => self.sizes,
        };
        let a = Matrix::new(7, [m, k], self.gap, sizes[0], factors, transposes[0]);
        let b = Matrix::new(8, [k, n], self.gap, sizes[1], factors, transposes[1]);
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

/// 0.5 C + 0.125 A Aᵀ of a symmetric C, of sizes that vectors of four, two and one divide, in more tiles than one.
fn symmetric(context: &Context, blueprints: &[Blueprint]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    for n in [72, 70, 37] {
        let k = 20;
        let a = Matrix::new(5, [n, k], 0, 1.0, Factors::Whole, false);
        let transpose = Matrix {
            values: a.values.clone(),
            view: a.view.transposed(),
        };
        let product = Product {
            a: a.view,
            b: transpose.view,
            c: View::rows(0, n),
            m: n,
            n,
            k,
        };
        let of_pair = |at: usize| dyadic(6, (at / n).max(at % n) * n + (at / n).min(at % n));
        let before: Vec<f32> = (0..n * n).map(|at| of_pair(at) as f32).collect();
        let sums = sums(&a, &transpose, [n, k, n], f64::MAX);
        for &blueprint in blueprints {
            let products = Products::symmetric(context, &[product], Strategy::Forced(blueprint))?;
            let factor = context.upload(&a.values);
            let out = context.upload(&before);
            let scale = Scale {
                keep: 0.5,
                weight: 0.125,
                bound: None,
            };
            multiply(context, &products, [&factor, &factor, &out], scale)?;
            let found: Vec<f32> = context.download("contract", &out)?;
            let Blueprint { rows, columns, .. } = blueprint;
            let mut outcome = Outcome::named(format!("{n} × {n} in {rows} x {columns}"));
            for (at, (&found_here, &(sum, size))) in found.iter().zip(&sums).enumerate() {
                let mirrored = found[at % n * n + at / n];
                // What is not the same on both sides is wrong.
                let same = found_here.to_bits() == mirrored.to_bits();
                let found = if same { found_here } else { f32::NAN };
                let expected = 0.5 * f64::from(before[at]) + 0.125 * sum;
                outcome.add(&[found], &[expected], |_| {
                    (k + 4) as f64 * UNIT * (size + 1.0)
                });
            }
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

fn scaled(context: &Context) -> Result<Vec<Outcome>, Error> {
    let shape @ [m, k, n] = [12, 20, 8];
    let a = Matrix::new(1, [m, k], 0, 4.0, Factors::Whole, false);
    let b = Matrix::new(2, [k, n], 0, 4.0, Factors::Whole, false);
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
