//! What a kernel costs on a GPU, told without one: its CUDA C++ runs on the host's processor, which sees every access to memory,
//! and NVIDIA's compiler says how many registers it takes.
//!
//! This is a model. It knows sectors, a first cache and shared memory's banks; it knows nothing of time, of the second cache, of
//! memory's pages, or of what the compiler makes of a text but for its registers.

mod cache;
mod multiprocessor;
mod products;
mod recorder;
pub mod tables;
mod traffic;

pub use multiprocessor::Arch;
pub use products::{PRODUCT, ProductCost, products};
pub use traffic::{SECTOR, Site, Traffic};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sonew_kernels::catalogue::Kernel;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::launch::{Tuned, Tuning};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::sonew::Blueprint;
use sonew_optimizers::{Context, Profile};
use sonew_runtime::recorder::host::{HostCompiler, HostCuda};
use sonew_runtime::recorder::nvrtc::{Nvrtc, Resources};
use sonew_runtime::recorder::record;

use crate::lab::bench::{self, BenchError, Effort, Subject, Timer, Work, kernels};
use recorder::{Recorder, Seen};
use traffic::bytes_ahead;

/// Values that are inspected: enough cubes for several times what a multiprocessor has at once.
pub const VALUES: usize = 1 << 18;

/// What a multiprocessor is taken to have at once where no compiler tells the registers.
const UNITS_WITHOUT_REGISTERS: u32 = 1024;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No kernel has that name.
    #[error("no kernel called `{found}` can be inspected; there are {known}")]
    Unknown {
        /// The name.
        found: String,
        /// Those there are.
        known: String,
    },
    /// No C++ compiler.
    #[error(
        "inspecting runs the kernel's text on the host's processor, which needs a C++ compiler (g++ or clang++, or name one in CXX): {reason}"
    )]
    Compiler {
        /// What was tried.
        reason: String,
    },
    /// The catalogue of kernels refused.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A launch was refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The network was refused.
    #[error(transparent)]
    Network(#[from] crate::workloads::autoencoder::network::NetworkError),
}

/// What is inspected.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// One of [`Kernel::all`], or all of them.
    pub kernel: Option<String>,
    /// In these precisions.
    pub precisions: Vec<PrecisionKind>,
    /// For these bands, where it has any.
    pub bands: Vec<usize>,
    /// On so many values in one tensor.
    pub values: usize,
    /// For this architecture.
    pub arch: Arch,
    /// Laid out so, not by default.
    pub blueprint: Option<Blueprint>,
}

/// What stands in for a GPU.
pub struct Tools {
    /// Compiles for the host.
    pub compiler: HostCompiler,
    /// NVIDIA's compiler, or why there is none.
    pub nvrtc: Result<Nvrtc, String>,
}

impl Tools {
    /// The first C++ compiler of CXX, `c++`, `g++` and `clang++`, which works in `folder`, and NVRTC where `scripts/nvrtc.sh`
    /// puts it.
    ///
    /// # Errors
    /// [`InspectError::Compiler`].
    pub fn find(folder: PathBuf) -> Result<Self, InspectError> {
        let named = std::env::var_os("CXX").filter(|it| !it.is_empty());
        let others = ["c++", "g++", "clang++"].map(Into::into);
        let compiler = HostCompiler::open(named.into_iter().chain(others), folder)
            .map_err(|reason| InspectError::Compiler { reason })?;
        Ok(Self {
            compiler,
            nvrtc: nvrtc_folder().and_then(|folder| Nvrtc::open(&folder)),
        })
    }
}

/// Where `scripts/nvrtc.sh` puts NVIDIA's compiler.
fn nvrtc_folder() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
    if let Some(folder) = set("SONEW_NVRTC") {
        return Ok(folder.into());
    }
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.ok_or("neither SONEW_NVRTC nor HOME is set")?;
    Ok(cache.join("sonew").join(Nvrtc::FOLDER))
}

/// A launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchCost {
    /// The kernel's name in its text.
    pub entry: String,
    /// Cubes.
    pub cubes: u32,
    /// Units of a cube.
    pub units: u32,
    /// Bytes of shared memory of a cube.
    pub shared_bytes: usize,
    /// What NVIDIA's compiler says of a unit.
    #[serde(flatten)]
    pub resources: Option<Resources>,
    /// Units that a multiprocessor has at once; of 1024 where registers are not known.
    pub resident_units: u32,
    /// Bytes that a unit asks for before it waits, in the mean.
    pub bytes_ahead: f64,
    /// Those of all resident units.
    pub bytes_in_flight: f64,
    /// Floating-point operations.
    pub operations: u64,
    /// In planes of 32 and of 64 units.
    pub traffic: Vec<Traffic>,
}

/// A kernel, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// Of what.
    #[serde(flatten)]
    pub subject: Subject,
    /// The least bytes over those that travel, in planes of 32 and of 64 units.
    pub efficiency: Vec<f64>,
    /// Its launches.
    pub launches: Vec<LaunchCost>,
}

impl Inspected {
    /// Seconds for the least bytes at `copy` bytes a second, and for the operations at `rate` of them a second.
    pub fn floor(&self, copy: f64, rate: f64) -> (f64, f64) {
        let operations: u64 = self.launches.iter().map(|it| it.operations).sum();
        (self.subject.bytes as f64 / copy, operations as f64 / rate)
    }

    /// The launch that moves the most.
    pub(crate) fn heaviest(&self) -> Option<&LaunchCost> {
        let moved = |it: &&LaunchCost| it.traffic.first().map_or(0, |it| it.moved);
        self.launches.iter().max_by_key(moved)
    }
}

/// Inspects a kernel in every precision and band of the request; `tell` hears of what is next.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(
    request: &Request,
    tools: Tools,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Inspected>, InspectError> {
    let asked: Vec<Kernel> = match &request.kernel {
        None => Kernel::all(),
        Some(name) => match Kernel::named(name) {
            Some(kernel) => vec![kernel],
            None => {
                return Err(InspectError::Unknown {
                    found: name.clone(),
                    known: format!("{}, {PRODUCT}", Kernel::names().join(", ")),
                });
            }
        },
    };
    let recording = record(request.arch.language());
    let recorder = Recorder::default();
    recording.execute_with(Box::new(
        recorder.executor(HostCuda::new(tools.compiler), u32::MAX),
    ));
    let tuned = request.forced(&asked);
    let context = Context::new(recording.client(), Profile::GPU).with_tuned(tuned);
    let mut costs = Costs {
        recorder,
        nvrtc: tools.nvrtc.ok(),
        arch: request.arch,
        found: Vec::new(),
        tell,
    };
    for kernel in asked {
        let catalogue = bench::Request {
            kernels: vec![kernel.name.into()],
            precisions: request.precisions.clone(),
            sizes: vec![vec![request.values]],
            bands: request.bands_of(kernel),
            effort: Effort::QUICK,
            // Nothing is timed.
            proven: false,
            grafts: true,
            until: None,
        };
        kernels(&context, &catalogue, &mut costs)?;
    }
    Ok(costs.found)
}

impl Request {
    /// The bands that a kernel is laid out for.
    fn bands_of(&self, kernel: Kernel) -> Vec<usize> {
        if kernel.banded {
            self.bands.clone()
        } else {
            vec![0]
        }
    }

    /// The blueprint, if there is one, for all that is inspected.
    fn forced(&self, asked: &[Kernel]) -> Tuned {
        let mut tuned = Tuned::default();
        let Some(blueprint) = self.blueprint else {
            return tuned;
        };
        for &kernel in asked {
            for precision in &self.precisions {
                for band in self.bands_of(kernel) {
                    tuned.put(Tuning {
                        kernel: kernel.name.into(),
                        precision: precision.name().into(),
                        band,
                        blueprint,
                    });
                }
            }
        }
        tuned
    }
}

/// Looks at launches instead of timing them.
struct Costs<'a> {
    recorder: Recorder,
    nvrtc: Option<Nvrtc>,
    arch: Arch,
    found: Vec<Inspected>,
    tell: &'a mut dyn FnMut(&str),
}

impl Timer for Costs<'_> {
    fn time(&mut self, subject: Subject, mut work: Work<'_>) -> Result<(), BenchError> {
        (self.tell)(&format!(
            "{} {} in {}",
            subject.kernel, subject.case, subject.precision
        ));
        // What was launched to make its inputs is waited for, and forgotten.
        work.run(0)?;
        self.recorder.take();
        work.run(1)?;
        let seen = self.recorder.take();
        let nvrtc = self.nvrtc.as_ref();
        let launches: Vec<LaunchCost> = seen
            .iter()
            .map(|it| LaunchCost::of(it, nvrtc, self.arch))
            .collect();
        let efficiency = [0, 1].map(|plane| {
            let moved: u64 = launches.iter().map(|it| it.traffic[plane].moved).sum();
            subject.bytes as f64 / moved as f64
        });
        self.found.push(Inspected {
            subject,
            efficiency: efficiency.into(),
            launches,
        });
        Ok(())
    }
}

impl LaunchCost {
    fn of(seen: &Seen, nvrtc: Option<&Nvrtc>, arch: Arch) -> Self {
        let source = &seen.source;
        let units = source.units.0 * source.units.1 * source.units.2;
        let resources = nvrtc.and_then(|nvrtc| nvrtc.resources(&source.text, arch.number()).ok());
        let resident = match resources {
            Some(it) => arch.resident_cubes(units, it.registers, source.shared_bytes),
            None => (UNITS_WITHOUT_REGISTERS / units.max(1)).max(1),
        };
        let cache = arch.cache_bytes(resident, source.shared_bytes);
        let bytes_ahead = bytes_ahead(&seen.cubes);
        Self {
            entry: source.entry.clone(),
            cubes: seen.count,
            units,
            shared_bytes: source.shared_bytes,
            resources,
            resident_units: resident * units,
            bytes_ahead,
            bytes_in_flight: bytes_ahead * f64::from(resident * units),
            operations: seen.operations,
            traffic: [32, 64]
                .map(|plane| Traffic::count(&seen.cubes, plane, resident as usize, cache))
                .into(),
        }
    }
}
