//! Small inputs for every kernel, made from its declaration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sonew_harness::arrays::{self, Array, Values};
use sonew_harness::lab::kernel_files::{Absent, Found, KernelFileError, KernelSpec, Prepared};
use tempfile::TempDir;

/// Options, as they are given.
pub type Set = Vec<(&'static str, String)>;

pub fn set(pairs: &[(&'static str, &str)]) -> Set {
    pairs
        .iter()
        .map(|&(key, text)| (key, text.into()))
        .collect()
}

/// Values of either sign up to 1, of seven binary digits.
fn dyadic(seed: usize, i: usize) -> f32 {
    let mixed = ((i + 1000 * seed) as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56;
    (mixed as f32 - 127.5).floor() / 128.0
}

fn length(spec: &KernelSpec, axis: &str) -> usize {
    let sides = spec.inputs.iter().map(|input| input.shape.len()).max();
    let matrices = spec
        .inputs
        .iter()
        .any(|input| input.shape.iter().any(|it| it.name == "m"));
    match axis {
        "b" => 2,
        "m" => 6,
        "k" => 5,
        "p" => 3,
        "n" if matrices || sides == Some(2) && spec.inputs.len() == 1 => 7,
        "n" => 300,
        other => panic!("no length for the axis {other}"),
    }
}

/// A value of an input that makes sense there: what is a sum of squares is not negative, what is factored is dominated by its
/// diagonal.
fn value(name: &str, sides: usize, i: usize, seed: usize) -> f32 {
    let x = dyadic(seed, i);
    match (name, sides) {
        ("diagonal", _) => 2.0 + x.abs(),
        ("edges" | "psi", _) => 0.25 * x,
        ("d", _) => 0.5 + x.abs(),
        ("accumulator" | "second_moment" | "second" | "targets", _) => x.abs(),
        // Indices below the length of the axis k or n.
        ("codes" | "classes", _) => ((i + i / 3) % 5) as f32,
        // Of all sizes, and of more digits than a half has.
        ("x", _) => 1.2345 * x * ((i % 40) as f32 - 20.0).exp2(),
        _ => x,
    }
}

/// The inputs of a kernel by name; those that may be absent too if `whole`.
pub fn inputs(spec: &KernelSpec, whole: bool) -> BTreeMap<String, Array> {
    let mut file = BTreeMap::new();
    for (seed, input) in spec.inputs.iter().enumerate() {
        if !whole && input.absent != Absent::Refused {
            continue;
        }
        let shape: Vec<usize> = input
            .shape
            .iter()
            .map(|axis| length(spec, axis.name))
            .collect();
        let count = shape.iter().product();
        let mut values: Vec<f32> = (0..count)
            .map(|i| value(input.name, shape.len(), i, seed))
            .collect();
        if input.name == "s" {
            values = symmetric(shape[0]);
        }
        // Of numbers with few digits every part but the first is 0.
        if spec.name == "matrix-units" {
            values.iter_mut().for_each(|x| *x /= 3.0);
        }
        file.insert(input.name.to_owned(), Array::f32(shape, values));
    }
    file
}

/// A well-conditioned matrix.
pub fn symmetric(n: usize) -> Vec<f32> {
    let entry = |at: usize| {
        let (i, j) = ((at / n).min(at % n), (at / n).max(at % n));
        let own = if i == j { 2.0 } else { 0.0 };
        own + 0.125 * dyadic(3, i * n + j)
    };
    (0..n * n).map(entry).collect()
}

/// A folder with an input.
pub struct Case {
    folder: TempDir,
}

impl Case {
    pub fn new(file: &BTreeMap<String, Array>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        arrays::write(folder.path().join("in.safetensors"), file).unwrap();
        Self { folder }
    }

    pub fn input(&self) -> PathBuf {
        self.folder.path().join("in.safetensors")
    }

    pub fn output(&self) -> PathBuf {
        self.folder.path().join("out.safetensors")
    }

    /// The command line of a run.
    pub fn args(&self, kernel: &str, set: &Set, more: &[&str]) -> Vec<String> {
        let mut args = vec!["kernel".to_owned(), kernel.into()];
        for (flag, path) in [("--in", self.input()), ("--out", self.output())] {
            args.extend([flag.into(), text(&path).to_owned()]);
        }
        for (key, value) in set {
            args.extend(["--set".into(), format!("{key}={value}")]);
        }
        args.extend(more.iter().map(|&it| it.to_owned()));
        args
    }

    /// What the oracle says, without a process of its own.
    pub fn oracle(&self, kernel: &str, set: &Set) -> Result<Found, KernelFileError> {
        let set: Vec<_> = set
            .iter()
            .map(|(key, text)| ((*key).to_owned(), text.clone()))
            .collect();
        let prepared = Prepared::new(kernel, &self.input(), &set, true)?;
        Ok(prepared.on_host()?.expect("an oracle needs no device"))
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The values of an array.
pub fn numbers(array: &Array) -> Vec<f64> {
    match &array.values {
        Values::F32(values) => values.iter().map(|&x| x.into()).collect(),
        Values::U32(values) => values.iter().map(|&x| x.into()).collect(),
    }
}
