//! NVIDIA's runtime compiler without a GPU, from the folder that `scripts/nvrtc.sh` fills.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null;

use libloading::Library;

/// As in `scripts/nvrtc.sh`.
const VERSION: &str = "12.9.86";

/// The compiler and the headers that it reads.
pub struct Nvrtc {
    library: Library,
    include: PathBuf,
}

/// `nvrtcProgram`.
type Program = *mut c_void;
/// `nvrtcResult`; 0 is success.
type Status = c_int;

impl Nvrtc {
    /// The compiler, or nothing and a loud word about it. Panics instead if `SONEW_REQUIRE_NVRTC` is 1.
    pub fn or_skip(test: &str) -> Option<Self> {
        let reason = match Self::open() {
            Ok(nvrtc) => return Some(nvrtc),
            Err(reason) => reason,
        };
        let advice = "run scripts/nvrtc.sh to have it";
        let required = env::var("SONEW_REQUIRE_NVRTC").is_ok_and(|it| it == "1");
        assert!(!required, "{test} needs NVRTC: {reason}; {advice}");
        println!("SKIPPED: {test} needs NVRTC: {reason}; {advice}");
        None
    }

    fn open() -> Result<Self, String> {
        let folder = folder()?;
        let include = folder.join("include");
        if !include.join("cuda_runtime.h").exists() {
            return Err(format!("no {}", include.join("cuda_runtime.h").display()));
        }
        let path = folder.join("lib").join("libnvrtc.so.12");
        // SAFETY: NVRTC's initialisers only set up the library itself.
        let library = unsafe { Library::new(&path) }
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { library, include })
    }

    /// The length of the PTX that `text` compiles to for sm_`sm`, with the options of `CubeCL`'s CUDA runtime.
    ///
    /// # Errors
    /// The compiler's log.
    pub fn compile(&self, text: &str, sm: u32) -> Result<usize, String> {
        let feature = if sm >= 90 { "a" } else { "" };
        let options = [
            format!("--gpu-architecture=sm_{sm}{feature}"),
            format!("--include-path={}", self.include.display()),
            "-lineinfo".to_owned(),
        ]
        .map(|option| CString::new(option).expect("an option without a zero"));
        let text = CString::new(text).map_err(|error| error.to_string())?;
        let mut program = self.program(&text)?;
        let pointers = options.each_ref().map(|option| option.as_ptr());
        // SAFETY: the signature is that of nvrtc.h; the program is live and so are the three options.
        let status = unsafe {
            let compile = self
                .function::<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status>(
                    "nvrtcCompileProgram",
                );
            compile(program, 3, pointers.as_ptr())
        };
        let result = if status == 0 {
            self.size(program, "nvrtcGetPTXSize")
        } else {
            Err(self.log(program))
        };
        // SAFETY: the signature is that of nvrtc.h; the program is not used any more.
        unsafe {
            let destroy = self
                .function::<unsafe extern "C" fn(*mut Program) -> Status>("nvrtcDestroyProgram");
            destroy(&mut program);
        }
        result
    }

    fn program(&self, text: &CString) -> Result<Program, String> {
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: the signature is that of nvrtc.h, which allows no name and no headers; the text ends with a zero.
        let status = unsafe {
            let create = self.function::<unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> Status>("nvrtcCreateProgram");
            create(&mut program, text.as_ptr(), null(), 0, null(), null())
        };
        if status == 0 {
            Ok(program)
        } else {
            Err(format!("nvrtcCreateProgram: error {status}"))
        }
    }

    fn size(&self, program: Program, of: &str) -> Result<usize, String> {
        let mut size = 0usize;
        // SAFETY: both functions that are asked for have this signature in nvrtc.h; the program is live.
        let status = unsafe {
            self.function::<unsafe extern "C" fn(Program, *mut usize) -> Status>(of)(
                program, &mut size,
            )
        };
        if status == 0 {
            Ok(size)
        } else {
            Err(format!("{of}: error {status}"))
        }
    }

    fn log(&self, program: Program) -> String {
        let size = match self.size(program, "nvrtcGetProgramLogSize") {
            Ok(size) => size,
            Err(error) => return error,
        };
        let mut log = vec![0u8; size];
        // SAFETY: the signature is that of nvrtc.h, which writes as many bytes as it just said.
        unsafe {
            let get = self.function::<unsafe extern "C" fn(Program, *mut c_char) -> Status>(
                "nvrtcGetProgramLog",
            );
            get(program, log.as_mut_ptr().cast());
        }
        String::from_utf8_lossy(&log)
            .trim_end_matches('\0')
            .to_owned()
    }

    /// # Safety
    /// `F` must be the type of the function in nvrtc.h.
    unsafe fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: as the caller says.
        let symbol = unsafe { self.library.get::<F>(name.as_bytes()) };
        *symbol.unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Where `scripts/nvrtc.sh` puts it.
fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = set("SONEW_NVRTC") {
        return Ok(folder);
    }
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or("neither SONEW_NVRTC nor HOME is set")?;
    Ok(cache
        .join(Path::new("sonew"))
        .join(format!("nvrtc-{VERSION}")))
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|it| !it.is_empty())
        .map(PathBuf::from)
}
