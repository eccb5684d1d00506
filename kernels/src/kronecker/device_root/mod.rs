//! The inverse p-th roots of many matrices of different sizes at once, on the device, without waiting for it.
//!
//! The iteration is that of [`super::Method::NewtonRefreshed`]; all its products are grouped, so the launches of a round, eleven
//! where p = 4, do not depend on the number of matrices. Each matrix has a phase that the device itself moves on
//! (`control`): cubes pass over the tiles of a matrix that has nothing to do in a launch, so one that is finished costs
//! nothing more. As nobody waits to see that all are, the number of rounds is fixed.
//!
//! A matrix that loses its way starts over with ten times the ridge, as on the host, as often as the rounds allow, which
//! is twice at least: each time there are rounds enough for another root, those that are finished are checked, and those that
//! fail start over too.
//!
//! | buffer | holds |
//! |---|---|
//! | H | the root of z A, to be |
//! | M | Hᵖ z A, on its way to I |
//! | Q | the polynomial, then the base of W |
//! | W | the base to the power p/2; at last the root |
//! | X | products on their way |

mod check;
mod control;
mod launches;
mod products;
mod rounds;
mod rows;
mod tables;

use std::ops::Range;

use cubecl::server::Handle;

use super::host_root::unstructured;
use super::longest_step::{self, LEAST};
use super::root::{LARGEST_ORDER, Ridge, RootEvidence, RootHistory, Stop};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::launch::{Strategy, require_bytes};
use crate::product::Blueprint;
use control::{
    ADDED, CHECK, CONVERGED, COUNTS, DIVERGING, INDEFINITE, ITERATIONS, NOT_FINITE, OUT_OF_ROUNDS,
    RAISED, RECORD, RESIDUAL, STOPPED,
};
use products::RoundProducts;
use tables::ROW;

const OPERATION: &str = "inverse roots on the device";

/// Products with a vector that estimate λ_max.
const POWER_ITERATIONS: usize = 32;
/// Products with the root before it is checked, as on the host.
const AMPLIFICATIONS: usize = 8;
/// Iterations that a root may take beyond those that are reckoned: its least eigenvalue is then some hundred times below [`LEAST`].
const PATIENCE: u32 = 6;
/// How often a root can start over with a larger ridge before the rounds are over.
const RESTARTS: u32 = 2;

/// A symmetric positive semi-definite n × n matrix in a buffer of f32, n² values row by row, and which root of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootProblem {
    /// Index of the first value.
    pub start: usize,
    /// Rows and columns, ≥ 1.
    pub n: usize,
    /// p of the inverse p-th root, 1 to [`LARGEST_ORDER`].
    pub p: u32,
}

/// Many matrices in one buffer, and what their roots need on the device.
pub struct DeviceRoots {
    /// n of each.
    sizes: Vec<usize>,
    largest_order: u32,
    /// In which a root is found, or never.
    rounds: u32,
    row_count: usize,
    /// Values that a buffer of all matrices holds.
    values: usize,
    matrices: Handle,
    rows: Handle,
    first_in_x: Handle,
    products: RoundProducts,
    h: Handle,
    m: Handle,
    q: Handle,
    w: Handle,
    x: Handle,
    row_norms: Handle,
    row_squares: Handle,
    /// The vector that power iterations start from, and room for others.
    noise: Handle,
    vectors: [Handle; 5],
    records: Handle,
    counts: Handle,
    phases: Handle,
}

impl DeviceRoots {
    /// Uploads the tables and makes the buffers: five times the matrices, and some vectors.
    ///
    /// # Errors
    /// [`Error::Range`] for n = 0 or p outside its range, [`Error::Shape`] for matrices that do not lie behind each other
    /// without gaps; [`Error::TooLarge`] for more values than a buffer of the device holds; as [`Products::new`](crate::product::Products::new).
    pub fn new(
        context: &Context,
        problems: &[RootProblem],
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let mut values = 0;
        let (mut matrices, mut rows) = (Vec::new(), Vec::new());
        for (k, problem) in problems.iter().enumerate() {
            require_problem(problem, values)?;
            let RootProblem { start, n, p } = *problem;
            let first_row = rows.len() / ROW;
            matrices.extend([start as u32, n as u32, even(p), p, first_row as u32]);
            rows.extend((0..n as u32).flat_map(|row| [k as u32, row]));
            values += n * n;
        }
        context.require_buffer(OPERATION, "the matrices", 4 * values as u64)?;
        let row_count = rows.len() / ROW;
        let largest_order = problems.iter().map(|p| even(p.p)).max().unwrap_or(2);
        let rounds = problems
            .iter()
            .map(|p| longest_step::rounds(even(p.p), LEAST));
        let zeros = |count: usize| context.upload(&vec![0f32; count.max(1)]);
        let noise: Vec<f32> = (0..row_count as u64)
            .map(|row| unstructured(row) as f32)
            .collect();
        let in_x: Vec<u32> = problems
            .iter()
            .map(|p| u32::from(products::power_starts_in_x(p.p)))
            .collect();
        let words = |words: &[u32]| match words {
            [] => context.upload(&[0u32]),
            words => context.upload(words),
        };
        Ok(Self {
            sizes: problems.iter().map(|problem| problem.n).collect(),
            largest_order,
            rounds: rounds.max().unwrap_or(0),
            row_count,
            values,
            matrices: words(&matrices),
            rows: words(&rows),
            first_in_x: words(&in_x),
            products: RoundProducts::new(context, problems, strategy)?,
            h: zeros(values),
            m: zeros(values),
            q: zeros(values),
            w: zeros(values),
            x: zeros(values),
            row_norms: zeros(2 * row_count),
            row_squares: zeros(row_count),
            noise: context.upload(if noise.is_empty() { &[0.0] } else { &noise }),
            vectors: std::array::from_fn(|_| zeros(row_count)),
            records: zeros(RECORD * problems.len()),
            counts: words(&vec![0; COUNTS * problems.len()]),
            phases: words(&vec![0; problems.len()]),
        })
    }

    /// Bytes of its buffers that grow with the matrices.
    pub fn scratch_bytes(&self) -> usize {
        4 * (5 * self.values + 9 * self.row_count)
    }

    /// Replaces the roots of the matrices `which` in `roots` by (S + ridge · I)^{−1/p}, where those that are found have a
    /// residual and check below `threshold`. `statistics` and `roots` hold the n² values of all matrices, one after the other.
    ///
    /// Only launches: what was found can be read with [`DeviceRoots::evidence`].
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another length, [`Error::Shape`] if `which` names a matrix that is not there,
    /// [`Error::Range`] for a negative ridge or threshold; launch errors as [`Context::launch`].
    pub fn compute(
        &self,
        context: &Context,
        statistics: &Handle,
        roots: &Handle,
        which: Range<usize>,
        ridge: Ridge,
        threshold: f64,
    ) -> Result<(), Error> {
        let bytes = 4 * self.values as u64;
        require_bytes(OPERATION, "statistics", statistics, bytes)?;
        require_bytes(OPERATION, "roots", roots, bytes)?;
        if which.end > self.sizes.len() {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "which",
                found: format!("{which:?}"),
                expected: format!("within 0..{}", self.sizes.len()),
            });
        }
        let (relative, epsilon) = match ridge {
            Ridge::Relative(epsilon) => (true, epsilon),
            Ridge::Absolute(epsilon) => (false, epsilon),
        };
        require_non_negative(OPERATION, "ridge", epsilon)?;
        require_non_negative(OPERATION, "threshold", threshold)?;
        if which.is_empty() {
            return Ok(());
        }
        self.row_norms(context, statistics)?;
        self.take_up(context, which)?;
        let last = if relative {
            self.power_iterate(context, statistics)?
        } else {
            [&self.noise, &self.vectors[0]]
        };
        let [vector, image] = last;
        self.ridge(context, vector, image, epsilon, relative)?;
        self.settle(context, statistics)?;
        self.symmetrise(context)?;
        for round in 0..(1 + RESTARTS) * self.rounds {
            self.decide(context, false)?;
            if round > 0 && round % self.rounds == 0 {
                self.check(context, statistics, threshold, false)?;
            }
            self.round(context, statistics)?;
        }
        self.decide(context, true)?;
        self.check(context, statistics, threshold, true)?;
        self.renew(context, roots)
    }

    /// What was found; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn evidence(&self, context: &Context) -> Result<Vec<RootHistory>, Error> {
        let records: Vec<f32> = context.download(OPERATION, &self.records)?;
        let counts: Vec<u32> = context.download(OPERATION, &self.counts)?;
        let each = records.chunks(RECORD).zip(counts.chunks(COUNTS));
        let found = each.take(self.sizes.len()).map(|(record, counts)| {
            let value = |at: usize| f64::from(record[at]);
            let stop = match record[STOPPED] {
                0.0 => None,
                CONVERGED => Some(Stop::Converged),
                DIVERGING => Some(Stop::Diverging),
                OUT_OF_ROUNDS => Some(Stop::Iterations),
                INDEFINITE => Some(Stop::Indefinite),
                _ => Some(Stop::NotFinite),
            };
            let last = stop.map(|stop| RootEvidence {
                iterations: record[ITERATIONS] as u32,
                residual: value(RESIDUAL),
                check: value(CHECK),
                ridge: value(ADDED),
                raises: record[RAISED] as u32,
                stop,
            });
            RootHistory {
                last,
                failures: counts[0],
                refused: counts[1],
                longest: counts[2],
            }
        });
        Ok(found.collect())
    }

    /// Goes on from what was found elsewhere, in the order of the matrices.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one for each matrix.
    pub fn set_evidence(&mut self, context: &Context, found: &[RootHistory]) -> Result<(), Error> {
        if found.len() != self.sizes.len() {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "evidence",
                found: format!("that of {} matrices", found.len()),
                expected: format!("{}", self.sizes.len()),
            });
        }
        let mut records = vec![0f32; RECORD * found.len().max(1)];
        for (record, history) in records.chunks_mut(RECORD).zip(found) {
            let Some(last) = history.last else { continue };
            record[ITERATIONS] = last.iterations as f32;
            record[RESIDUAL] = last.residual as f32;
            record[CHECK] = last.check as f32;
            record[ADDED] = last.ridge as f32;
            record[RAISED] = last.raises as f32;
            record[STOPPED] = match last.stop {
                Stop::Direct | Stop::Converged => CONVERGED,
                Stop::Diverging => DIVERGING,
                Stop::Iterations => OUT_OF_ROUNDS,
                Stop::Indefinite => INDEFINITE,
                Stop::NotFinite => NOT_FINITE,
            };
        }
        let counts = found.iter().map(|it| [it.failures, it.refused, it.longest]);
        let mut counts: Vec<u32> = counts.flatten().collect();
        counts.resize(COUNTS * found.len().max(1), 0);
        self.records = context.upload(&records);
        self.counts = context.upload(&counts);
        Ok(())
    }

    /// `to` ← `from`, both of all matrices: what the roots of an interval are computed from, or put to use at its end.
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another length; launch errors as [`Context::launch`].
    pub fn copy(&self, context: &Context, from: &Handle, to: &Handle) -> Result<(), Error> {
        require_bytes(OPERATION, "from", from, 4 * self.values as u64)?;
        require_bytes(OPERATION, "to", to, 4 * self.values as u64)?;
        self.copy_values(context, from, to)
    }
}

/// The iteration wants an even order: A^{−1/p} of an odd p is the square of A^{−1/2p}.
fn even(p: u32) -> u32 {
    p * (1 + p % 2)
}

fn require_problem(problem: &RootProblem, expected_start: usize) -> Result<(), Error> {
    let RootProblem { start, n, p } = *problem;
    if n == 0 {
        return Err(Error::Range {
            operation: OPERATION,
            argument: "n",
            found: 0.0,
            expected: "≥ 1",
        });
    }
    if !(1..=LARGEST_ORDER).contains(&p) {
        return Err(Error::Range {
            operation: OPERATION,
            argument: "p",
            found: f64::from(p),
            expected: "1 to 64",
        });
    }
    if start != expected_start || n.checked_mul(n).is_none_or(|n2| n2 > u32::MAX as usize) {
        return Err(Error::Shape {
            operation: OPERATION,
            argument: "a matrix",
            found: format!("{problem:?}"),
            expected: format!("one that starts at {expected_start}, right behind the one before"),
        });
    }
    Ok(())
}
