//! The host's C++ compiler.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use sonew_runtime::source::Source;
use tempfile::TempDir;

use super::parameters;
use super::program::Program;

/// Where the headers are.
const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda/include");

/// IEEE arithmetic as written, and the reinterpretations of CUDA.
const OPTIONS: [&str; 11] = [
    "-std=c++20",
    "-O1",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    // Libraries of several texts share nothing.
    "-fno-gnu-unique",
    "-w",
    "-I",
    INCLUDE,
];

/// The compiler, and a folder for what it makes.
pub struct Compiler {
    command: OsString,
    folder: TempDir,
    made: AtomicUsize,
}

impl Compiler {
    /// The compiler, or nothing and a loud word about it. Panics instead if `SONEW_REQUIRE_HOST_CUDA` is 1.
    pub fn or_skip(test: &str) -> Option<Self> {
        let reason = match Self::open() {
            Ok(compiler) => return Some(compiler),
            Err(reason) => reason,
        };
        let required = env::var("SONEW_REQUIRE_HOST_CUDA").is_ok_and(|it| it == "1");
        assert!(!required, "{test} needs g++: {reason}");
        println!("SKIPPED: {test} needs g++: {reason}");
        None
    }

    /// The first of `CXX`, `c++` and `g++` that takes an empty kernel.
    fn open() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut compiler = Self {
            command: OsString::new(),
            folder,
            made: AtomicUsize::new(0),
        };
        let empty = Source {
            entry: "empty".to_owned(),
            kernel: "empty",
            text: "#include <cuda_runtime.h>\nextern \"C\" __global__ void empty (\nint info\n) {}"
                .to_owned(),
            units: (1, 1, 1),
            shared_bytes: 0,
        };
        let mut reasons = Vec::new();
        let set = env::var_os("CXX").filter(|it| !it.is_empty());
        for command in set.into_iter().chain(["c++".into(), "g++".into()]) {
            compiler.command = command;
            match compiler.compile(&empty) {
                Ok(_) => return Ok(compiler),
                Err(reason) => reasons.push(format!("{}: {reason}", compiler.command.display())),
            }
        }
        Err(reasons.join("; "))
    }

    /// Compiles and opens a kernel.
    ///
    /// # Errors
    /// The compiler's first complaint.
    pub fn compile(&self, kernel: &Source) -> Result<Program, String> {
        let (text, parameters) = parameters::guarded(kernel)?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let file = |extension: &str| self.folder.path().join(format!("{number}.{extension}"));
        let (source, library) = (file("cpp"), file("so"));
        let barriers = if text.contains("__syncthreads") {
            "#define HOST_BARRIERS\n"
        } else {
            ""
        };
        let text = format!(
            "#define HOST_ENTRY {}\n#define HOST_SHARED_BYTES {}\n{barriers}#include \"buffer.h\"\n{text}\n#include \"launch.h\"\n",
            kernel.entry, kernel.shared_bytes,
        );
        fs::write(&source, text).map_err(|error| error.to_string())?;
        let output = Command::new(&self.command)
            .args(OPTIONS)
            .args([OsStr::new("-o"), library.as_ref(), source.as_ref()])
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(complaint(&String::from_utf8_lossy(&output.stderr)));
        }
        Program::open(&library, parameters)
    }
}

/// The first error of a log, without its place.
fn complaint(log: &str) -> String {
    let error = log.lines().find_map(|line| line.split_once("error: "));
    error.map_or_else(|| log.trim().to_owned(), |(_, what)| what.to_owned())
}
