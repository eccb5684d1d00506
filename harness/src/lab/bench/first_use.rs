//! What the first step of an optimizer costs in a process, where its kernels are compiled, and the first of another one with the same
//! settings, where they are there.

use std::rc::Rc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Arena, Context, Layout, OptimizerConfig, PrecisionKind};

use super::{BenchError, prove};

/// Seconds from an optimizer's settings to the end of its first step, on a model of three small tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstUse {
    /// The optimizer.
    pub optimizer: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// The first time. Kernels that an earlier row compiled are there already; so is what the driver keeps on disk.
    pub cold: f64,
    /// The second time.
    pub warm: f64,
}

/// Times the first step of each optimizer, and proves it. Only the first call in a process sees anything cold.
///
/// # Errors
/// [`BenchError::Wrong`] for an optimizer that is, and whatever a step refuses or reports.
pub fn first_uses(
    context: &Rc<Context>,
    precision: PrecisionKind,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<FirstUse>, BenchError> {
    let layout = Layout::with_shapes(vec![vec![20, 30], vec![20], vec![7, 20]])?;
    let once = |name: &str| -> Result<f64, BenchError> {
        let started = Instant::now();
        let config = OptimizerConfig::named(name)?;
        let mut optimizer = config.build(precision, context.clone(), &layout)?;
        let half = |_| Arena::filled(context, &layout, precision.format(), 0.5);
        let [params, grads] = [0; 2].map(half);
        optimizer.step(&params, &grads, 1e-6)?;
        context.wait("bench")?;
        Ok(started.elapsed().as_secs_f64())
    };
    OptimizerConfig::NAMES
        .iter()
        .map(|&name| {
            tell(&format!("first use of {name}, {precision}"));
            let (cold, warm) = (once(name)?, once(name)?);
            // Afterwards, as a proof compiles.
            prove(context, name, precision)?;
            Ok(FirstUse {
                optimizer: name.into(),
                precision,
                cold,
                warm,
            })
        })
        .collect()
}
