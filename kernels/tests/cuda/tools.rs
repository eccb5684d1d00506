//! The compilers that these tests need, or a loud word about what is missing.

use std::env;
use std::path::PathBuf;

use sonew_runtime::recorder::host::HostCompiler;
use sonew_runtime::recorder::nvrtc::Nvrtc;
use tempfile::TempDir;

/// The host's C++ compiler, the first of CXX, `c++` and `g++` that works, and the folder that it works in. Panics instead of
/// giving nothing if `SONEW_REQUIRE_HOST_CUDA` is 1.
#[allow(dead_code, reason = "each test crate needs one of the two")]
pub fn compiler_or_skip(test: &str) -> Option<(HostCompiler, TempDir)> {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let commands = set("CXX")
        .into_iter()
        .chain(["c++".into(), "g++".into()])
        .map(PathBuf::into_os_string);
    found_or_skip(
        test,
        "g++",
        "SONEW_REQUIRE_HOST_CUDA",
        HostCompiler::open(commands, folder.path().into()).map(|compiler| (compiler, folder)),
    )
}

/// NVIDIA's compiler, from the folder that `scripts/nvrtc.sh` fills. Panics instead of giving nothing if
/// `SONEW_REQUIRE_NVRTC` is 1.
#[allow(dead_code, reason = "each test crate needs one of the two")]
pub fn nvrtc_or_skip(test: &str) -> Option<Nvrtc> {
    let advice = "NVRTC (scripts/nvrtc.sh fetches it)";
    let opened = folder().and_then(|folder| Nvrtc::open(&folder));
    found_or_skip(test, advice, "SONEW_REQUIRE_NVRTC", opened)
}

fn found_or_skip<T>(
    test: &str,
    needed: &str,
    variable: &str,
    found: Result<T, String>,
) -> Option<T> {
    let reason = match found {
        Ok(found) => return Some(found),
        Err(reason) => reason,
    };
    let required = env::var(variable).is_ok_and(|it| it == "1");
    assert!(!required, "{test} needs {needed}: {reason}");
    println!("SKIPPED: {test} needs {needed}: {reason}");
    None
}

/// Where `scripts/nvrtc.sh` puts it.
fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = set("SONEW_NVRTC") {
        return Ok(folder);
    }
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or("neither SONEW_NVRTC nor HOME is set")?;
    Ok(cache.join("sonew").join(Nvrtc::FOLDER))
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|it| !it.is_empty())
        .map(PathBuf::from)
}
