//! The host's C++ compiler.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::parameters;
use super::program::Program;
use crate::recorder::Source;

/// What stands in for CUDA's headers, and what runs a kernel.
const INCLUDE: [(&str, &str); 9] = [
    ("barrier.h", include_str!("include/barrier.h")),
    ("buffer.h", include_str!("include/buffer.h")),
    ("cuda_bf16.h", include_str!("include/cuda_bf16.h")),
    ("cuda_fp16.h", include_str!("include/cuda_fp16.h")),
    ("cuda_runtime.h", include_str!("include/cuda_runtime.h")),
    ("launch.h", include_str!("include/launch.h")),
    ("matrix.h", include_str!("include/matrix.h")),
    ("mma.h", include_str!("include/mma.h")),
    ("trace.h", include_str!("include/trace.h")),
];

/// IEEE arithmetic as written, and the reinterpretations of CUDA.
const OPTIONS: [&str; 10] = [
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
];

/// The compiler, and a folder for what it makes.
pub struct HostCompiler {
    command: OsString,
    folder: PathBuf,
    made: AtomicUsize,
}

impl HostCompiler {
    /// The first of `commands` that takes an empty kernel. It works in `folder`, which is empty and the caller's to remove.
    ///
    /// # Errors
    /// What each of the commands said.
    pub fn open(
        commands: impl IntoIterator<Item = OsString>,
        folder: PathBuf,
    ) -> Result<Self, String> {
        let include = folder.join("include");
        fs::create_dir_all(&include).map_err(|error| error.to_string())?;
        for (name, text) in INCLUDE {
            fs::write(include.join(name), text).map_err(|error| error.to_string())?;
        }
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
        for command in commands {
            compiler.command = command;
            match compiler.compile(&empty, false) {
                Ok(_) => return Ok(compiler),
                Err(reason) => reasons.push(format!("{}: {reason}", compiler.command.display())),
            }
        }
        Err(reasons.join("; "))
    }

    /// Compiles and opens a kernel; `traced`, it tells of its accesses.
    ///
    /// # Errors
    /// The compiler's first complaint.
    pub(super) fn compile(&self, kernel: &Source, traced: bool) -> Result<Program, String> {
        let (text, parameters) = parameters::guarded(kernel)?;
        let text = if traced {
            parameters::with_traced_shared_memory(&text)
        } else {
            text
        };
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let file = |extension: &str| self.folder.join(format!("{number}.{extension}"));
        let (source, library) = (file("cpp"), file("so"));
        let mut switches = String::new();
        let matrix_units = text.contains("mma.sync");
        if text.contains("__syncthreads") || matrix_units {
            switches += "#define HOST_BARRIERS\n";
        }
        if traced {
            switches += "#define HOST_TRACE\n";
        }
        // The text's own numbers, those of the headers excepted.
        let counted = if traced {
            "#include <cuda_fp16.h>\n#define float host::Float\n"
        } else {
            ""
        };
        // Before the text's own numbers are counted.
        let units = if matrix_units {
            "#include <cuda_runtime.h>\n#include \"matrix.h\"\n"
        } else {
            ""
        };
        let text = format!(
            "#define HOST_ENTRY {}\n#define HOST_SHARED_BYTES {}\n{switches}#include \"buffer.h\"\n{units}{counted}#line 1\n{text}\n#undef float\n#undef asm\n#undef volatile\n#include \"launch.h\"\n",
            kernel.entry, kernel.shared_bytes,
        );
        fs::write(&source, text).map_err(|error| error.to_string())?;
        let output = Command::new(&self.command)
            .args(OPTIONS)
            .arg(self.folder.join("include"))
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
