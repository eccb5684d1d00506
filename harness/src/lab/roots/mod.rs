//! How accurate each way to an inverse root is, and how long it takes: a table over matrices of growing condition, of
//! special kinds, and of statistics recorded from the autoencoder.

mod along;
mod steps;

pub use along::{RootStep, along, along_table};

use std::rc::Rc;
use std::time::Instant;

use sonew_kernels::error::Error as KernelError;
use sonew_kernels::kronecker::accuracy::{conditioned, relative_error, root_in_f64};
use sonew_kernels::kronecker::{
    Blocking, DeviceRoots, Limits, Method, Ridge, Root, RootProblem, Side, inverse_root, statistics,
};
use sonew_kernels::launch::Strategy;
use sonew_optimizers::{Context, OptimizerConfig};

use self::steps::Steps;
use crate::table::{Column, Table};
use crate::train::TrainError;
use crate::workloads::autoencoder::images::Images;
use crate::workloads::autoencoder::weights::tensors;

/// A matrix to take the root of.
pub struct Case {
    /// Its name in the table.
    pub name: String,
    /// Rows and columns.
    pub n: usize,
    /// Its values.
    pub matrix: Vec<f32>,
    /// What is added to its diagonal.
    pub ridge: Ridge,
}

/// Matrices of size n with random orthogonal basis and conditions 1 to 10⁸, and those of special kinds.
///
/// # Errors
/// As [`conditioned`].
pub fn cases(n: usize, seed: u64) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    let mut push = |name: &str, n: usize, matrix: Vec<f32>, ridge| {
        cases.push(Case {
            name: name.into(),
            n,
            matrix,
            ridge,
        });
    };
    let none = Ridge::Absolute(0.0);
    for (name, condition) in [
        ("condition 1", 1.0),
        ("condition 1e2", 1e2),
        ("condition 1e4", 1e4),
        ("condition 1e6", 1e6),
        ("condition 1e8", 1e8),
    ] {
        push(name, n, conditioned(n, condition, seed)?, none);
    }
    // B Bᵀ of an n × rank matrix.
    let rank = n.div_ceil(8);
    let basis = conditioned(n, 10.0, seed)?;
    let mut deficient = vec![0f32; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..rank)
                .map(|k| f64::from(basis[k * n + i]) * f64::from(basis[k * n + j]))
                .sum();
            deficient[i * n + j] = sum as f32;
            deficient[j * n + i] = sum as f32;
        }
    }
    push(
        &format!("rank {rank}, ridge 1e-6 λ_max"),
        n,
        deficient,
        Ridge::Relative(1e-6),
    );
    let on_diagonal = |value: &dyn Fn(usize) -> f32| -> Vec<f32> {
        let entry = |at: usize| match at % (n + 1) {
            0 => value(at / (n + 1)),
            _ => 0.0,
        };
        (0..n * n).map(entry).collect()
    };
    let last = (n - 1).max(1) as f64;
    let spread = |i: usize| 1e-6f64.powf(i as f64 / last) as f32;
    push("diagonal, 1 to 1e-6", n, on_diagonal(&spread), none);
    push("identity", n, on_diagonal(&|_| 1.0), none);
    push(
        "zero, ridge 1e-12",
        n,
        vec![0.0; n * n],
        Ridge::Absolute(1e-12),
    );
    push("1 × 1", 1, vec![0.25], none);
    Ok(cases)
}

/// The Kronecker statistics of every weight matrix of the autoencoder after `steps` steps of Adam.
///
/// # Errors
/// As a run of training.
pub fn recorded(
    context: Rc<Context>,
    images: &Images,
    sizes: &[usize],
    steps: usize,
    seed: u64,
) -> Result<Vec<Case>, TrainError> {
    let adam = OptimizerConfig::named("adam")?;
    let mut run = Steps::new(&context, (images, sizes), seed, adam)?;
    let limits = Limits {
        block: usize::MAX,
        merge: 1,
        largest: usize::MAX,
    };
    let blocking = Blocking::new(run.layout(), limits, None, false)?;
    let mut factors = vec![0f32; blocking.factor_values()];
    for step in 0..steps {
        run.take(step, |grads| {
            Ok(statistics(&blocking, grads, &mut factors, 0.95)?)
        })?;
    }
    let tensors = tensors(sizes)?;
    let cases = blocking.factors().iter().map(|factor| {
        let tensor = &tensors[blocking.blocks()[factor.block].tensor].name;
        let side = match factor.side {
            Side::Left => "L",
            Side::Right => "R",
        };
        Case {
            name: format!("{side} of {tensor}, ridge 1e-6 λ_max"),
            n: factor.n,
            matrix: factors[factor.range.clone()].to_vec(),
            ridge: Ridge::Relative(1e-6),
        }
    });
    Ok(cases.collect())
}

/// The root of one matrix, computed on a device.
///
/// # Errors
/// As [`DeviceRoots::new`] and [`DeviceRoots::compute`].
pub fn on_device(
    context: &Context,
    matrix: &[f32],
    n: usize,
    p: u32,
    ridge: Ridge,
) -> Result<Root, KernelError> {
    let problem = RootProblem { start: 0, n, p };
    let roots = DeviceRoots::new(context, &[problem], Strategy::Inferred)?;
    let statistics = context.upload(matrix);
    let out = context.upload(&vec![0f32; n * n]);
    // Whatever was found is wanted here, so nothing finite is refused.
    roots.compute(context, &statistics, &out, 0..1, ridge, f64::from(f32::MAX))?;
    let values = context.download("inverse root", &out)?;
    let found = roots.evidence(context)?;
    match found.first().and_then(|found| found.last) {
        Some(evidence) => Ok(Root { values, evidence }),
        None => Err(KernelError::Unsupported {
            operation: "inverse root",
            reason: "the device computed no root".into(),
        }),
    }
}

/// One more way to a root for [`table`], and its name.
pub type Way<'a> = (&'a str, &'a dyn Fn(&Case, u32) -> Result<Root, KernelError>);

/// A row for each case and method, and for `also`; that of the decomposition shows its rounding to f32 only, for the f64 root is its own,
/// and that of the Newton iteration in f64 shows that it is right. Relative error in the Frobenius norm against f64 with the same ridge, check, iterations, seconds.
///
/// # Errors
/// As [`inverse_root`].
pub fn table(cases: &[Case], p: u32, also: Option<Way<'_>>) -> Result<Table, KernelError> {
    let mut table = Table::new(vec![
        Column::left("matrix"),
        Column::right("n"),
        Column::left("method"),
        Column::right("relative error"),
        Column::right("check"),
        Column::left("accepted"),
        Column::right("iterations"),
        Column::right("seconds"),
    ]);
    let by_method = |method: Method| {
        move |case: &Case, p: u32| inverse_root(&case.matrix, case.n, p, case.ridge, method)
    };
    for case in cases {
        for (name, method) in Method::ALL {
            table.push(row(case, p, (name, &by_method(method)))?);
        }
        if let Some(way) = also {
            table.push(row(case, p, way)?);
        }
    }
    Ok(table)
}

fn row(case: &Case, p: u32, (name, find): Way<'_>) -> Result<Vec<String>, KernelError> {
    let started = Instant::now();
    let root = find(case, p)?;
    let seconds = started.elapsed().as_secs_f64();
    let evidence = root.evidence;
    // What was added differs a little between methods that are given it relative to λ_max.
    let added = Ridge::Absolute(evidence.ridge);
    let error = match &root_in_f64(&case.matrix, case.n, p, added)? {
        Some(expected) => format!("{:.1e}", relative_error(&root.values, expected)),
        None => "no root".into(),
    };
    Ok(vec![
        case.name.clone(),
        case.n.to_string(),
        name.into(),
        error,
        format!("{:.1e}", evidence.check),
        if evidence.accepted(0.1) { "yes" } else { "no" }.into(),
        evidence.iterations.to_string(),
        format!("{seconds:.3}"),
    ])
}
