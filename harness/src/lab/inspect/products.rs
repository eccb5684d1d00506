//! What the autoencoder's matrix products cost.
//!
//! Conflicts are those of plain accesses to shared memory. Matrix units are given their factors in registers, in PTX's layout of
//! mma.m16n8k16 (`kernels/src/product/matrix.rs`), so what they read there is counted too.
//!
//! A product repeats itself from cube to cube and from term to term, so a few cubes are run and the others counted.

use serde::{Deserialize, Serialize};
use sonew_kernels::network::{DenseLayers, Layer, Step, steps};
use sonew_kernels::product::{Blueprint, Factors, Multiplication};
use sonew_optimizers::{Context, PrecisionKind, Profile};
use sonew_runtime::recorder::host::HostCuda;
use sonew_runtime::recorder::record;

use super::recorder::Recorder;
use super::traffic::SECTOR;
use super::{Arch, InspectError, LaunchCost, Tools};
use crate::workloads::autoencoder::network::layers_in_arena;
use crate::workloads::autoencoder::weights::AUTOENCODER_SIZES;

/// What the command line calls them.
pub const PRODUCT: &str = "product";

/// Images of a batch.
const BATCH: usize = 1000;
/// Cubes of a launch that are run.
const CUBES: u32 = 2;

/// A launch of products.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductCost {
    /// Which.
    pub name: String,
    /// Its values' precision.
    pub precision: PrecisionKind,
    /// m, n and k of each product.
    pub shapes: Vec<[usize; 3]>,
    /// What units multiply.
    pub factors: Factors,
    /// Rows and columns of a tile.
    pub tile: [usize; 2],
    /// Units that share an entry.
    pub slices: usize,
    /// Bytes that units read and write over those of the sectors that they touch for it, in planes of 32 and of 64 units.
    pub access: Vec<f64>,
    /// The launch; its traffic and operations are those of a few cubes.
    pub launch: LaunchCost,
}

impl ProductCost {
    /// Products and sums, two for each term.
    pub fn operations(&self) -> f64 {
        let of = |&[m, n, k]: &[usize; 3]| 2.0 * (m * n * k) as f64;
        self.shapes.iter().map(of).sum()
    }

    /// Passes through shared memory beyond the least, relative to it.
    pub fn conflicts(&self) -> f64 {
        let traffic = &self.launch.traffic[0];
        traffic.shared_passes as f64 / traffic.shared_least.max(1) as f64 - 1.0
    }
}

/// Inspects the products of a training step of the paper's autoencoder, batch 1000, in the order in which they are launched.
///
/// # Errors
/// [`InspectError`].
pub fn products(
    arch: Arch,
    precision: PrecisionKind,
    tools: Tools,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<ProductCost>, InspectError> {
    let recording = record(arch.language());
    let recorder = Recorder::default();
    let host = HostCuda::new(tools.compiler);
    recording.execute_with(Box::new(recorder.executor(host, CUBES)));
    let context = Context::new(recording.client(), Profile::GPU);
    let (layers, arena): (Vec<Layer>, usize) = layers_in_arena(&AUTOENCODER_SIZES)?;
    let mut dense = DenseLayers::new(
        &context,
        layers,
        precision,
        arena,
        BATCH,
        Multiplication::Auto,
    )?;
    let zeros = |count: usize| context.upload(&vec![0f32; count]);
    let (params, gradient) = (zeros(arena), zeros(arena));
    let images = zeros(BATCH * AUTOENCODER_SIZES[0]);
    tell("forward");
    dense.place(&context, &images, BATCH)?;
    dense.forward(&context, &params, BATCH, Some(1.0), 0)?;
    tell("backward");
    dense.backward(&context, &params, &gradient)?;
    context.check("inspect")?;
    let seen = recorder.take();
    let steps = steps(&AUTOENCODER_SIZES, BATCH);
    // Before the products, the batch is placed.
    let launches = seen.iter().skip(seen.len() - steps.len());
    let cost = |((step, blueprint), seen): ((Step, Blueprint), _)| {
        tell(&step.name);
        let launch = LaunchCost::of(seen, tools.nvrtc.as_ref().ok(), arch);
        let access = launch.traffic.iter().map(|traffic| {
            let bytes: u64 = traffic.sites.iter().map(|it| it.bytes).sum();
            let sectors: u64 = traffic.sites.iter().map(|it| it.sectors).sum();
            bytes as f64 / (sectors * SECTOR) as f64
        });
        ProductCost {
            name: step.name,
            precision,
            shapes: step.shapes,
            factors: blueprint.factors,
            tile: [blueprint.rows, blueprint.columns],
            slices: blueprint.slices,
            access: access.collect(),
            launch,
        }
    };
    let steps = steps.into_iter().zip(dense.blueprints());
    Ok(steps.zip(launches).map(cost).collect())
}
