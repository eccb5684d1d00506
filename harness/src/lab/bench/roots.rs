//! Times of inverse roots where the device's optimizer takes them: by eigendecomposition on the host for a software driver, by
//! Newton iterations of all matrices at once on a GPU.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::kronecker::accuracy::{conditioned, relative_error, root_in_f64};
use sonew_kernels::kronecker::{DeviceRoots, Method, Ridge, RootProblem, inverse_root};
use sonew_kernels::launch::Strategy;
use sonew_optimizers::Context;

use super::BenchError;
use super::stopwatch::{Effort, Seconds, Stopwatch, Work};

/// The order of the roots.
const P: u32 = 4;
/// The condition of the matrices.
const CONDITION: f64 = 1e6;
/// The largest relative error of a root that is worth timing: what the tests ask of it at this condition.
const ALLOWED: f64 = 5e-4;

/// Seconds of some roots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootTime {
    /// How.
    pub method: String,
    /// Matrices at once.
    pub matrices: usize,
    /// Their size.
    pub n: usize,
    /// Of all of them together.
    pub seconds: Seconds,
    /// Multiplications and additions of the products of an iteration, as many as were needed; `None` for a decomposition.
    pub operations: Option<f64>,
}

/// Proves and times roots of growing size; `tell` hears of what is next.
///
/// # Errors
/// [`BenchError::Wrong`] for a root that is, and whatever launches refuse or report.
pub fn roots(
    context: &Rc<Context>,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<RootTime>, BenchError> {
    let on_host = context.profile().host_memory;
    let sizes: &[(usize, usize)] = match (on_host, effort == Effort::FULL) {
        (true, false) => &[(1, 30), (1, 250), (1, 1000)],
        (true, true) => &[(1, 30), (1, 250), (1, 500), (1, 1000), (1, 2048)],
        (false, false) => &[(24, 250), (64, 1024)],
        (false, true) => &[(64, 30), (24, 250), (24, 500), (64, 1024), (8, 2048)],
    };
    let mut times = Vec::new();
    for &(matrices, n) in sizes {
        tell(&format!("{matrices} inverse roots, {n} × {n}"));
        let matrix = conditioned(n, CONDITION, 1)?;
        times.push(if on_host {
            by_decomposition(context, &matrix, n, effort)?
        } else {
            on_device(context, &matrix, (matrices, n), effort)?
        });
    }
    Ok(times)
}

/// Requires that a root is right.
fn prove(found: &[f32], matrix: &[f32], n: usize) -> Result<(), BenchError> {
    let none = Ridge::Absolute(0.0);
    let expected = root_in_f64(matrix, n, P, none)?.unwrap_or_default();
    let error = relative_error(found, &expected);
    if error <= ALLOWED {
        return Ok(());
    }
    Err(BenchError::Wrong {
        kernel: "inverse-root",
        case: format!("{n} × {n}"),
        precision: "f32",
        what: "the relative error".into(),
        error,
        allowed: ALLOWED,
    })
}

fn by_decomposition(
    context: &Context,
    matrix: &[f32],
    n: usize,
    effort: Effort,
) -> Result<RootTime, BenchError> {
    let ridge = Ridge::Absolute(0.0);
    prove(
        &inverse_root(matrix, n, P, ridge, Method::Eigen)?.values,
        matrix,
        n,
    )?;
    let watch = Stopwatch::new(
        Work::new(context, || {
            inverse_root(matrix, n, P, ridge, Method::Eigen)?;
            Ok(())
        }),
        effort,
    )?;
    Ok(RootTime {
        method: "eigen, on the host".into(),
        matrices: 1,
        n,
        seconds: watch.run(effort)?,
        operations: None,
    })
}

fn on_device(
    context: &Context,
    matrix: &[f32],
    (matrices, n): (usize, usize),
    effort: Effort,
) -> Result<RootTime, BenchError> {
    let problems: Vec<RootProblem> = (0..matrices)
        .map(|i| RootProblem {
            start: i * n * n,
            n,
            p: P,
        })
        .collect();
    let roots = DeviceRoots::new(context, &problems, Strategy::Inferred)?;
    let statistics = context.upload(&matrix.repeat(matrices));
    let out = context.upload(&vec![0f32; matrices * n * n]);
    let compute = || {
        let none = Ridge::Absolute(0.0);
        roots.compute(context, &statistics, &out, 0..matrices, none, 0.1)
    };
    compute()?;
    let found: Vec<f32> = context.download("bench", &out)?;
    let evidence = roots.evidence(context)?;
    let last = evidence.iter().filter_map(|it| it.last);
    let iterations: f64 = last.map(|last| f64::from(last.iterations)).sum();
    for root in found.chunks(n * n) {
        prove(root, matrix, n)?;
    }
    let watch = Stopwatch::new(Work::new(context, || Ok(compute()?)), effort)?;
    // Where p = 4 an iteration has four products: H Q, the square of the base, and two that bring M up to date.
    let operations = 4.0 * iterations * 2.0 * (n as f64).powi(3);
    Ok(RootTime {
        method: "newton-refreshed, on the device".into(),
        matrices,
        n,
        seconds: watch.run(effort)?,
        operations: Some(operations),
    })
}
