//! The text that a kernel compiles to, for a person: what `sonew source` prints. No device takes part.

use std::fmt::Write;
use std::str::FromStr;

use sonew_kernels::contract::{Formats, SMALL};
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::precision::PrecisionKind;
use sonew_optimizers::{Context, Profile};
use sonew_runtime::recorder::{Language, record};
use thiserror::Error;

/// Why there is no text.
#[derive(Debug, Error)]
pub enum SourceError {
    /// No kernel has that name.
    #[error("no kernel is called `{found}`; there are {known}")]
    Unknown {
        /// The name.
        found: String,
        /// Those there are.
        known: String,
    },
    /// The program was built without what compiles to the language.
    #[error("this program was built without {what}; build it with --features {feature}")]
    NotBuilt {
        /// The language.
        what: &'static str,
        /// What it comes with.
        feature: &'static str,
    },
    /// The launch was refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel cannot be written in the language.
    #[error(transparent)]
    Recording(#[from] sonew_runtime::Error),
}

/// A language to compile to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// CUDA C++ for sm_80.
    Cuda,
    /// WGSL.
    Wgsl,
    /// SPIR-V, disassembled.
    Spirv,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cuda" => Ok(Self::Cuda),
            "wgsl" => Ok(Self::Wgsl),
            "spirv" => Ok(Self::Spirv),
            _ => Err(format!("expected cuda, wgsl or spirv, found `{text}`")),
        }
    }
}

/// The texts of every variant of a kernel that the contract checks, each once, with what is launched above it.
///
/// # Errors
/// [`SourceError`]: the name, what the program was built with, and what the kernel or the language refuses.
pub fn source(
    kernel: &str,
    target: Target,
    precision: PrecisionKind,
) -> Result<String, SourceError> {
    match target {
        #[cfg(feature = "cuda")]
        Target::Cuda => of(kernel, Language::CudaSm80, precision),
        #[cfg(feature = "wgpu")]
        Target::Wgsl => of(kernel, Language::Wgsl, precision),
        #[cfg(feature = "vulkan")]
        Target::Spirv => of(kernel, Language::Spirv, precision),
        #[cfg(not(feature = "cuda"))]
        Target::Cuda => Err(not_built("CUDA", "cuda")),
        #[cfg(not(feature = "wgpu"))]
        Target::Wgsl => Err(not_built("WGSL", "wgpu")),
        #[cfg(not(feature = "vulkan"))]
        Target::Spirv => Err(not_built("SPIR-V", "vulkan")),
    }
}

#[cfg(not(all(feature = "cuda", feature = "wgpu", feature = "vulkan")))]
fn not_built(what: &'static str, feature: &'static str) -> SourceError {
    SourceError::NotBuilt { what, feature }
}

fn of(kernel: &str, language: Language, precision: PrecisionKind) -> Result<String, SourceError> {
    let formats = Formats::from(precision);
    let recording = record(language);
    let context = Context::new(recording.client(), Profile::GPU);
    let all = formats.checks();
    let mut known = Vec::new();
    let (mut out, mut seen) = (String::new(), Vec::new());
    for check in &all {
        if !known.contains(&check.kernel) {
            known.push(check.kernel);
        }
        if check.kernel != kernel {
            continue;
        }
        check.run(&context, SMALL)?;
        for launch in recording.take()? {
            let source = launch.source;
            if seen.contains(&source.text) {
                continue;
            }
            let title = format!("{} {}", check.kernel, check.case);
            let (units, cubes) = (source.units, launch.cubes);
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "// {}, {} in {}: {}, {} × {} × {} cubes of {} × {} × {} units\n{}",
                title.trim(),
                formats.name(),
                language,
                source.kernel,
                cubes.0,
                cubes.1,
                cubes.2,
                units.0,
                units.1,
                units.2,
                source.readable()
            );
            seen.push(source.text.clone());
        }
    }
    if seen.is_empty() {
        return Err(SourceError::Unknown {
            found: kernel.into(),
            known: known.join(", "),
        });
    }
    Ok(out)
}
