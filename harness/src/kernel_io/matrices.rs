//! The kernels on matrices: Shampoo's roots and their application.

use cubecl::Runtime;
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{Method, Ridge, Root, inverse_root as root};
use sonew_kernels::matmul::{HostMatrix, host};

use super::{Job, KernelIoError, Results};
use crate::arrays::Array;
use crate::roots::on_device;

/// A root below this residual and check may be used.
const THRESHOLD: f64 = 0.1;

/// The name of the root that is computed on a device.
pub(super) const ON_DEVICE: &str = "newton-device";

pub(super) fn inverse_root(mut job: Job) -> Result<Results, KernelIoError> {
    let Problem { n, s, p, ridge } = problem(&mut job)?;
    let name = &job.options["root"];
    let Some((_, method)) = Method::ALL.into_iter().find(|(known, _)| known == name) else {
        let known = Method::ALL.map(|(name, _)| name).join(", ");
        return Err(job.bad_option("root", name, &format!("{known} or {ON_DEVICE}")));
    };
    Ok(results(n, root(&s, n, p, ridge, method)?))
}

pub(super) fn inverse_root_on_device<R: Runtime>(
    context: &Context<R>,
    mut job: Job,
) -> Result<Results, KernelIoError> {
    let Problem { n, s, p, ridge } = problem(&mut job)?;
    Ok(results(n, on_device(context, &s, n, p, ridge)?))
}

struct Problem {
    n: usize,
    s: Vec<f32>,
    p: u32,
    ridge: Ridge,
}

fn problem(job: &mut Job) -> Result<Problem, KernelIoError> {
    let (n, s) = square(job, "s", None)?;
    let p = job.number("p")?;
    if p < 1.0 || p.fract() != 0.0 || p > 64.0 {
        return Err(job.bad_option("p", &p.to_string(), "a whole number from 1 to 64"));
    }
    let relative = job.number("relative-ridge")?;
    let ridge = if relative == 0.0 {
        Ridge::Absolute(job.number("ridge")?)
    } else {
        Ridge::Relative(relative)
    };
    let p = p as u32;
    Ok(Problem { n, s, p, ridge })
}

fn results(n: usize, found: Root) -> Results {
    let evidence = found.evidence;
    let number = |x: f64| Array::f32(vec![1], vec![x as f32]);
    let count = |x: u32| Array::u32(vec![1], vec![x]);
    Results::from([
        ("x".into(), Array::f32(vec![n, n], found.values)),
        ("ridge".into(), number(evidence.ridge)),
        ("iterations".into(), count(evidence.iterations)),
        ("residual".into(), number(evidence.residual)),
        ("check".into(), number(evidence.check)),
        (
            "accepted".into(),
            count(u32::from(evidence.accepted(THRESHOLD))),
        ),
    ])
}

pub(super) fn kronecker_apply(mut job: Job) -> Result<Results, KernelIoError> {
    let (shape, g) = job.arrays.take_f32("g")?;
    let [m, n] = shape[..] else {
        return Err(job.misshapen("g", shape, "[m, n]"));
    };
    let (_, l) = square(&mut job, "l", Some(m))?;
    let mut d = vec![0.0; m * n];
    host(
        &mut d,
        HostMatrix::row_major(&l, m, m)?,
        HostMatrix::row_major(&g, m, n)?,
        false,
    )?;
    if job.arrays.get("r").is_some() {
        let (_, r) = square(&mut job, "r", Some(n))?;
        let mut both = vec![0.0; m * n];
        host(
            &mut both,
            HostMatrix::row_major(&d, m, n)?,
            HostMatrix::row_major(&r, n, n)?,
            false,
        )?;
        d = both;
    }
    Ok(Results::from([("d".into(), Array::f32(vec![m, n], d))]))
}

/// A square matrix, of a given size if there is one.
fn square(
    job: &mut Job,
    name: &'static str,
    size: Option<usize>,
) -> Result<(usize, Vec<f32>), KernelIoError> {
    let (shape, values) = job.arrays.take_f32(name)?;
    match shape[..] {
        [rows, columns] if rows == columns && size.unwrap_or(rows) == rows => Ok((rows, values)),
        _ => {
            let expected = size.map_or("[n, n]".into(), |n| format!("[{n}, {n}]"));
            Err(job.misshapen(name, shape, expected))
        }
    }
}
