//! A compiled text in this process.

use std::ffi::{CStr, c_char, c_uint, c_ulong, c_void};
use std::path::Path;

use super::parameters::Parameter;
use crate::recorder::Buffer;
use libloading::Library;

/// A kernel that can be run.
pub(super) struct Program {
    library: Library,
    parameters: Vec<Parameter>,
}

/// Which cube and which unit of it come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// One access of one unit, `host::Access` in trace.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The unit of the cube.
    pub unit: c_uint,
    /// The line of the text, from 1; 0 for a barrier, which has nothing else.
    pub line: c_uint,
    /// The buffer, by its place among the parameters, or [`SHARED`].
    pub place: c_uint,
    /// 1 for a write, 0 for a read.
    pub store: c_uint,
    /// Where it begins, in bytes from the buffer's start.
    pub at: c_ulong,
    /// Its bytes.
    pub bytes: c_ulong,
}

/// What [`Access::place`] is for the shared memory of the cube.
pub const SHARED: c_uint = 0xffff;

/// Whoever is shown the accesses of each cube, and how many floating-point operations it took.
pub(super) type Listener<'a> = &'a mut dyn FnMut(&[Access], u64);

/// `host::Memory` in launch.h.
#[repr(C)]
struct Memory {
    start: *mut c_void,
    bytes: c_ulong,
}

/// `host::Launch` in launch.h.
#[repr(C)]
struct Launch {
    buffers: *const Memory,
    buffer_count: c_ulong,
    info: *const c_void,
    info_bytes: c_ulong,
    cubes: [c_uint; 3],
    units: [c_uint; 3],
    descending: c_uint,
    /// Cubes that run at most.
    most: c_uint,
    /// Shown the accesses of each cube, if the program was compiled to tell.
    seen: unsafe extern "C" fn(*mut c_void, *const Access, c_ulong, c_ulong),
    listener: *mut c_void,
}

/// Hands a cube's accesses to the [`Listener`] behind the pointer.
unsafe extern "C" fn seen(
    listener: *mut c_void,
    start: *const Access,
    length: c_ulong,
    operations: c_ulong,
) {
    if listener.is_null() {
        return;
    }
    // SAFETY: `run` passes a listener of its own stack frame, and launch.h as many accesses as it says, for the time of the call.
    let (see, accesses) = unsafe {
        let see = &mut *listener.cast::<Listener<'_>>();
        let accesses = match start.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(start, length as usize),
        };
        (see, accesses)
    };
    see(accesses, operations);
}

impl Program {
    pub(super) fn open(path: &Path, parameters: Vec<Parameter>) -> Result<Self, String> {
        // SAFETY: the library has no initialisers but those of the compiler.
        let library = unsafe { Library::new(path) }.map_err(|error| error.to_string())?;
        Ok(Self {
            library,
            parameters,
        })
    }

    /// Runs cubes, `most` of them, those that come first.
    ///
    /// # Errors
    /// What a GPU would not have noticed.
    pub fn run(
        &mut self,
        (cubes, units): ((u32, u32, u32), (u32, u32, u32)),
        buffers: &[Buffer<'_>],
        info: &[u64],
        order: Order,
        most: u32,
        mut listener: Option<Listener<'_>>,
    ) -> Result<(), String> {
        self.keeps_promises(buffers)?;
        let memories: Vec<Memory> = buffers
            .iter()
            .map(|buffer| Memory {
                start: buffer.as_ptr().cast(),
                bytes: buffer.len() as c_ulong,
            })
            .collect();
        let launch = Launch {
            buffers: memories.as_ptr(),
            buffer_count: memories.len() as c_ulong,
            info: info.as_ptr().cast(),
            info_bytes: size_of_val(info) as c_ulong,
            cubes: cubes.into(),
            units: units.into(),
            descending: (order == Order::Descending).into(),
            most,
            seen,
            listener: listener
                .as_mut()
                .map_or(std::ptr::null_mut(), |it| std::ptr::from_mut(it).cast()),
        };
        // SAFETY: the signature is that of launch.h, which compares the counts with the text's; accesses outside of the buffers
        // are turned away there. A listener that panics aborts. `&mut self` and the buffers are this call's alone, and what comes back is a literal or a static
        // text that the next call writes.
        let wrong = unsafe {
            let run = self
                .library
                .get::<unsafe extern "C" fn(*const Launch) -> *const c_char>(b"host_run")
                .map_err(|error| error.to_string())?;
            let wrong = run(&launch);
            (!wrong.is_null()).then(|| CStr::from_ptr(wrong).to_string_lossy().into_owned())
        };
        wrong.map_or(Ok(()), Err)
    }

    /// Whether nothing that the text may write overlaps with what it promises that nobody writes.
    fn keeps_promises(&self, buffers: &[Buffer<'_>]) -> Result<(), String> {
        let range = |buffer: &Buffer<'_>| {
            let start = buffer.as_ptr() as usize;
            start..start + buffer.len()
        };
        let declared = || self.parameters.iter().zip(buffers).enumerate();
        for (i, (_, read)) in declared().filter(|(_, (it, _))| it.constant) {
            for (j, (_, written)) in declared().filter(|(_, (it, _))| it.writable) {
                let (a, b) = (range(read), range(written));
                if a.start < b.end && b.start < a.end {
                    return Err(format!(
                        "buffer_{i} is const and __restrict__, and buffer_{j} may write it"
                    ));
                }
            }
        }
        Ok(())
    }
}
