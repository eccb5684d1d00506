//! NVIDIA's runtime compiler without a GPU: whether it takes a text, and what a unit of the kernel then needs.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null;

use libloading::Library;
use serde::{Deserialize, Serialize};

/// What a unit of a kernel needs, as NVIDIA's compiler lays it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Registers of 32 bits.
    pub registers: u32,
    /// Bytes written to and read from memory because registers were too few.
    pub spills: u32,
    /// Bytes of memory of its own: spilled registers, and arrays that are indexed at run time.
    pub stack: u32,
}

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
    /// The name of the folder that `scripts/nvrtc.sh` fills, in sonew's cache.
    pub const FOLDER: &str = "cuda-12.9.86";

    /// From a folder with `lib/libnvrtc.so.12` and CUDA's headers in `include`.
    ///
    /// # Errors
    /// What is missing there.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let include = folder.join("include");
        for header in ["cuda_runtime.h", "crt/mma.h"] {
            if !include.join(header).exists() {
                return Err(format!("no {}", include.join(header).display()));
            }
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
        self.with_compiled(text, sm, |program| self.size(program, "nvrtcGetPTXSize"))
    }

    /// What the units of the kernel of `text` need on sm_`sm`.
    ///
    /// # Errors
    /// The compiler's log.
    pub fn resources(&self, text: &str, sm: u32) -> Result<Resources, String> {
        let log = self.with_compiled(text, sm, |program| Ok(self.log(program)))?;
        Resources::of_log(&log).ok_or(log)
    }

    /// Compiles, and looks at what came of it.
    fn with_compiled<O>(
        &self,
        text: &str,
        sm: u32,
        look: impl FnOnce(Program) -> Result<O, String>,
    ) -> Result<O, String> {
        let feature = if sm >= 90 { "a" } else { "" };
        let options = [
            format!("--gpu-architecture=sm_{sm}{feature}"),
            format!("--include-path={}", self.include.display()),
            "-lineinfo".to_owned(),
            "--ptxas-options=-v".to_owned(),
        ]
        .map(|option| CString::new(option).expect("an option without a zero"));
        let text = CString::new(text).map_err(|error| error.to_string())?;
        let mut program = self.program(&text)?;
        let pointers = options.each_ref().map(|option| option.as_ptr());
        // SAFETY: the signature is that of nvrtc.h; the program is live and so are the options.
        let status = unsafe {
            let compile = self
                .function::<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status>(
                    "nvrtcCompileProgram",
                );
            compile(program, pointers.len() as c_int, pointers.as_ptr())
        };
        let result = if status == 0 {
            look(program)
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

impl Resources {
    /// From what the assembler says when it is asked to be verbose.
    fn of_log(log: &str) -> Option<Self> {
        let before = |what: &str| {
            let words = log.split(what).next().filter(|it| it.len() < log.len())?;
            words
                .rsplit([' ', ','])
                .find(|it| !it.is_empty())?
                .parse()
                .ok()
        };
        let spilled = |what| before(what).unwrap_or(0);
        Some(Self {
            registers: before(" registers")?,
            spills: spilled(" bytes spill stores") + spilled(" bytes spill loads"),
            stack: spilled(" bytes stack frame"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_from_the_assemblers_words() {
        let log = "ptxas info    : Function properties for k\n\
                   ptxas         .     256 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n\
                   ptxas info    : Used 32 registers, used 0 barriers, 256 bytes cumulative stack size\n";
        let found = Resources::of_log(log).unwrap();
        assert_eq!((found.registers, found.spills, found.stack), (32, 20, 256));
        assert_eq!(Resources::of_log("nothing of the kind"), None);
    }
}
