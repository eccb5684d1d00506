//! The CUDA C++ of every kernel, as an A100 would be given it, computes what its oracle says: run on the host's processor.
//!
//! This shows that the text means what the kernel means, that its geometry for a GPU covers the work, and that no result
//! depends on the order of units or cubes, as far as ascending and descending order tell. It does not show
//!
//! - what a GPU's many orders at once do: units run one after the other, between barriers too, and see each other's writes
//!   at once, so a missing fence or an atomic that should be one passes;
//! - anything of warps but products by matrix units, which are emulated as far as their sums are known, and by all units of a
//!   cube at once: a text with shuffles, votes or other assembly does not compile here and is listed as not executed;
//! - the GPU's rounding: here a product and a sum are two roundings where `nvcc` fuses them, and division, square root, `exp`,
//!   `log` and `powf` are the host's; subnormals are kept;
//! - that shared memory and a unit's own arrays are accessed within their bounds, which buffers are; what is read of shared
//!   memory before it is written is NaN;
//! - that NVIDIA's compiler takes the text, which `languages.rs` asks, nor what its optimiser makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sonew_kernels::context::{Context, Profile};
use sonew_kernels::contract::{Check, EDGES, Formats, SMALL};
use sonew_kernels::precision::PrecisionKind;
use sonew_runtime::recorder::host::HostCuda;
use sonew_runtime::recorder::{Buffer, Executor, Language, Recording, Source, record};

#[path = "kernels/agreement.rs"]
mod agreement;
#[path = "cuda/faults.rs"]
mod faults;
#[path = "kernels/tally.rs"]
mod tally;
#[path = "cuda/tools.rs"]
mod tools;

use agreement::{follows_snapshot, hold};
use tally::{Tally, name};
use tools::compiler_or_skip;

/// What the texts are written for.
const LANGUAGE: Language = Language::CudaSm80;

/// A device that is yet to be given something to run its launches.
struct Device {
    recording: Recording,
    context: Context,
}

impl Device {
    fn new() -> Self {
        let recording = record(LANGUAGE);
        Self {
            context: Context::new(recording.client(), Profile::GPU),
            recording,
        }
    }
}

/// The contract, with what takes long to compile.
fn checks(formats: Formats) -> impl Iterator<Item = Check> {
    formats.checks().into_iter().chain(formats.long_checks())
}

/// The texts of each check. Nothing is computed, so what the checks find does not matter.
fn record_texts(
    formats: Formats,
    device: &Device,
    texts: &mut BTreeMap<String, Vec<Arc<Source>>>,
    lengths: &[usize],
) {
    for check in checks(formats) {
        let _ = check.run(&device.context, lengths);
        let launches = device.recording.take().unwrap();
        let sources = launches.into_iter().map(|launch| launch.source);
        texts
            .entry(name(&check, formats.name()))
            .or_default()
            .extend(sources);
    }
}

/// Holds what was compiled to its oracle, and notes each check and precision, or why it was not executed.
fn follows(formats: Formats, device: &Device, refused: &HashMap<String, String>, done: &mut Tally) {
    for check in checks(formats) {
        let what = match refused.get(&name(&check, formats.name())) {
            Some(reason) => format!("not executed ({reason})"),
            None => {
                let held = |lengths| {
                    hold(&check, &device.context, lengths, formats.name())
                        .expect("a text was recorded")
                };
                follows_snapshot(&check, &held(SMALL));
                held(EDGES);
                "executed".to_owned()
            }
        };
        done.note(&check, formats.name(), what);
    }
}

#[test]
fn the_cuda_text_of_every_kernel_in_every_precision_follows_its_oracle() {
    let test = "the_cuda_text_of_every_kernel_in_every_precision_follows_its_oracle";
    let Some((compiler, _folder)) = compiler_or_skip(test) else {
        return;
    };
    let device = Device::new();
    let mut texts = BTreeMap::new();
    for formats in Formats::ALL {
        record_texts(formats, &device, &mut texts, SMALL);
    }

    let mut seen = HashSet::new();
    let kernels: Vec<&Source> = texts
        .values()
        .flatten()
        .map(Arc::as_ref)
        .filter(|kernel| seen.insert(&kernel.text))
        .collect();
    let mut executor = HostCuda::new(compiler);
    let reasons = executor.prepare(&kernels);
    let reason = |source: &Arc<Source>| {
        let reason = reasons.get(&source.text)?;
        Some(format!("{}: {reason}", source.entry))
    };
    let refused = texts
        .iter()
        .filter_map(|(name, texts)| Some((name.clone(), texts.iter().find_map(reason)?)))
        .collect();

    device.recording.execute_with(Box::new(executor));
    let mut done = Tally::default();
    for formats in Formats::ALL {
        follows(formats, &device, &refused, &mut done);
    }
    done.follows_snapshot("cuda-executed");
}

/// Runs a text with its first subtraction made an addition.
struct Wrong(HostCuda);

impl Executor for Wrong {
    fn execute(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
    ) -> Result<(), String> {
        let text = kernel.text.replacen(" - ", " + ", 1);
        assert!(text != kernel.text);
        let wrong = Source {
            text,
            ..kernel.clone()
        };
        self.0.execute(&wrong, cubes, buffers, info)
    }
}

#[test]
fn a_wrong_sign_in_a_text_is_seen() {
    let Some((compiler, _folder)) = compiler_or_skip("a_wrong_sign_in_a_text_is_seen") else {
        return;
    };
    let device = Device::new();
    let executor = Wrong(HostCuda::new(compiler));
    device.recording.execute_with(Box::new(executor));
    let sgd = &Formats::from(PrecisionKind::F32).checks()[0];
    assert_eq!(sgd.kernel, "sgd");
    let outcomes = sgd.run(&device.context, SMALL).unwrap();
    let worst = outcomes[0].worst().unwrap();
    assert!(worst.ratio() > 1.0, "{worst:?}");
}
