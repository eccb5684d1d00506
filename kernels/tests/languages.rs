//! The text that every kernel compiles to, in every precision, without a device: what it is, and that NVIDIA's compiler takes
//! it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

use sonew_kernels::context::{Context, Profile};
use sonew_kernels::contract::{Coverage, Formats, SMALL};
use sonew_kernels::precision::PrecisionKind;
use sonew_runtime::recorder::nvrtc::Nvrtc;
use sonew_runtime::recorder::{Language, Recording, Source, record};

#[path = "kernels/tally.rs"]
mod tally;
#[path = "cuda/tools.rs"]
mod tools;

use tally::{Tally, case, name};
use tools::nvrtc_or_skip;

/// A kernel that a check launched for the first time.
struct Text {
    /// The check.
    name: String,
    /// In which precision.
    precision: &'static str,
    source: Source,
}

/// What the checks of a precision launch on a GPU, and whether it runs them.
fn of_precision(
    formats: Formats,
    recording: &Recording,
    texts: &mut Vec<Text>,
    coverage: &mut Tally,
) {
    let context = Context::new(recording.client(), Profile::GPU);
    for check in formats.checks() {
        let what = format!(
            "{} in {}",
            name(&check, formats.name()),
            recording.language()
        );
        // Nothing is computed, so what comes out is of no interest.
        let here = match check.run(&context, SMALL) {
            Ok(_) => formats.coverage(&context),
            Err(error) => Coverage::refused(&error).unwrap_or_else(|| panic!("{what}: {error}")),
        };
        coverage.note(&check, formats.name(), here.to_string());
        let launches = recording
            .take()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        for launch in launches {
            if texts.iter().all(|known| known.source != *launch.source) {
                texts.push(Text {
                    name: case(&check),
                    precision: formats.name(),
                    source: (*launch.source).clone(),
                });
            }
        }
    }
}

/// Every text of a language once, in the order of launches.
fn texts(language: Language, coverage: &mut Tally) -> Vec<Text> {
    let recording = record(language);
    let mut texts = Vec::new();
    for formats in Formats::ALL {
        of_precision(formats, &recording, &mut texts, coverage);
    }
    texts
}

/// FNV-1a of 64 bits.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Those that stand in the snapshots in full, one of each kind of kernel. `sonew source` prints the others, of which a snapshot
/// has the length and a digest: in full they are half a million lines.
const WHOLE: [&str; 4] = [
    "adam",
    "banded-ldl band 0",
    "norms",
    "statistics band 1, average",
];

fn follow_snapshots(language: Language, short: &str) {
    let mut coverage = Tally::default();
    let mut table = String::new();
    let mut whole: BTreeMap<String, String> = BTreeMap::new();
    for Text {
        name,
        precision,
        source,
    } in texts(language, &mut coverage)
    {
        let text = source.readable();
        writeln!(
            table,
            "{precision:<34} {name:<40} {:>5} lines {:016x} {}",
            text.lines().count(),
            digest(&text),
            source.entry
        )
        .unwrap();
        if WHOLE.contains(&name.as_str()) && ["f32", "bf16", "f16"].contains(&precision) {
            let file = format!(
                "{short}-{precision}-{}",
                name.replace(", ", "-").replace(' ', "-")
            );
            *whole.entry(file).or_default() += &text;
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        for (file, text) in whole {
            insta::assert_snapshot!(file, text);
        }
        insta::assert_snapshot!(format!("{short}-all"), table);
    });
    coverage.follows_snapshot(&format!("{short}-coverage"));
}

#[test]
fn every_kernel_compiles_to_the_wgsl_of_the_snapshots() {
    follow_snapshots(Language::Wgsl, "wgsl");
}

#[test]
fn every_kernel_compiles_to_the_cuda_of_the_snapshots() {
    follow_snapshots(Language::CudaSm80, "cuda");
}

/// Compiles all texts for an architecture, two at a time.
fn compiles(nvrtc: &Nvrtc, sm: u32, texts: &[Text]) {
    let next = Mutex::new(texts.iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let text = next.lock().unwrap().next();
                    let Some(Text {
                        name,
                        precision,
                        source,
                    }) = text
                    else {
                        return;
                    };
                    let length = nvrtc.compile(&source.text, sm).unwrap_or_else(|log| {
                        panic!("{name}, {precision}, sm_{sm}: {log}\n{}", source.readable())
                    });
                    assert!(length > 500, "{name}, {precision}: {length} bytes of PTX");
                }
            });
        }
    });
}

#[test]
fn nvrtc_takes_every_kernel_for_ampere_and_hopper() {
    let Some(nvrtc) = nvrtc_or_skip("nvrtc_takes_every_kernel_for_ampere_and_hopper") else {
        return;
    };
    let mut ignored = Tally::default();
    let ampere = texts(Language::CudaSm80, &mut ignored);
    compiles(&nvrtc, 80, &ampere);
    // What a Hopper is given differs in what CubeCL may use there; where it does not, its compiler takes the same text.
    let recording = record(Language::CudaSm90);
    let mut hopper = Vec::new();
    of_precision(
        PrecisionKind::F32.into(),
        &recording,
        &mut hopper,
        &mut ignored,
    );
    let changed = |text: &Text| {
        ampere
            .iter()
            .all(|other| other.source.text != text.source.text)
    };
    hopper.retain(changed);
    compiles(&nvrtc, 90, &hopper);
    compiles(&nvrtc, 90, &ampere);
}

#[test]
fn nvrtc_says_what_is_wrong_with_a_text() {
    let Some(nvrtc) = nvrtc_or_skip("nvrtc_says_what_is_wrong_with_a_text") else {
        return;
    };
    let log = nvrtc
        .compile("__global__ void f() { g(); }", 80)
        .unwrap_err();
    assert!(log.contains("identifier \"g\" is undefined"), "{log}");
}
