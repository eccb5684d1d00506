//! What the first step of training costs in a process: where every kernel of it is compiled, and where they were kept.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Context, PrecisionKind};
use sonew_runtime::Selector;

use super::BenchError;
use super::steps::{BATCH, Model, noisy_images};
use crate::workloads::autoencoder::network::{Network, Route};
use crate::workloads::autoencoder::weights::AUTOENCODER_SIZES;

/// The optimizer.
const OPTIMIZER: &str = "adam";

/// Folders where compilers keep what they made: ours, NVIDIA's driver's and Mesa's.
const CACHES: [&str; 3] = ["XDG_CACHE_HOME", "CUDA_CACHE_PATH", "MESA_SHADER_CACHE_DIR"];

/// Seconds of the first step of training in a process, from the network's sizes to the end of the step: on a thousand images, on an
/// open device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstStep {
    /// The optimizer.
    pub optimizer: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// Where nothing was kept.
    pub cold: f64,
    /// In the next process.
    pub kept: f64,
}

/// Takes the step in this process. Only the first call tells anything.
///
/// # Errors
/// Whatever a step of training refuses or reports.
pub fn first_step(context: &Rc<Context>, precision: PrecisionKind) -> Result<f64, BenchError> {
    let images = noisy_images();
    let model = Model::new(context, precision)?;
    context.wait("bench")?;
    let begun = Instant::now();
    let sizes = &AUTOENCODER_SIZES;
    let mut network = Network::new(context, precision, sizes, BATCH, Route::Auto)?;
    let mut optimizer = model.optimizer(OPTIMIZER)?;
    let set = network.image_set(context, &images)?;
    let order = network.order(context, &set, (0..BATCH as u32).collect())?;
    let scale = optimizer.loss_scale();
    let batch = (&set, &order);
    let grads = network.gradients_of(context, &model.params, batch, 0, scale)?;
    optimizer.step(&model.params, &grads, 1e-6)?;
    context.wait("bench")?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Takes the step in two processes of `program`, one after the other, which find no kept kernels but each other's.
///
/// # Errors
/// [`BenchError::FirstStep`] where a process fails.
pub fn first_steps(
    program: &Path,
    device: Selector,
    precision: PrecisionKind,
    tell: &mut dyn FnMut(&str),
) -> Result<FirstStep, BenchError> {
    let failed = |reason: String| BenchError::FirstStep { reason };
    let caches = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let mut step = |state: &str| {
        tell(&format!(
            "first step of training in a process, {state}, {precision}"
        ));
        let mut command = Command::new(program);
        command.args(["bench", "--kernel", super::FIRST_STEP, "--json"]);
        command.args(["--device", &device.to_string()]);
        command.args(["--precision", precision.name()]);
        command.envs(CACHES.map(|name| (name, caches.path())));
        let output = command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let seconds = serde_json::from_slice(&output.stdout).ok();
        let seconds = seconds.and_then(|it: serde_json::Value| it["first_step"].as_f64());
        seconds.ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            failed(said.lines().last().unwrap_or_default().to_owned())
        })
    };
    Ok(FirstStep {
        optimizer: OPTIMIZER.into(),
        precision,
        cold: step("nothing kept")?,
        kept: step("kernels kept")?,
    })
}
