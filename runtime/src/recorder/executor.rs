//! Running recorded kernels: what a driver would be given.

use std::marker::PhantomData;

use super::Source;

/// Something that can run a kernel's text.
pub trait Executor: Send {
    /// Runs `cubes` cubes of `kernel`.
    ///
    /// `buffers` are the kernel's buffers in the order of its parameters. `info` holds its scalars
    /// and lengths: for CUDA the bytes of `info_st`, the last parameter, which is passed by value,
    /// and shapes and strides, if the kernel takes any, are one more buffer before it; for WGSL and
    /// SPIR-V all of that is the last binding.
    ///
    /// # Errors
    ///
    /// What went wrong; it is reported as the failure of this launch.
    fn execute(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
    ) -> Result<(), String>;
}

/// The memory of one buffer during a launch. Two buffers of a launch may be the same memory.
#[derive(Debug)]
pub struct Buffer<'a> {
    start: *mut u8,
    length: usize,
    launch: PhantomData<&'a mut [u8]>,
}

impl<'a> Buffer<'a> {
    /// # Safety
    ///
    /// `start` must be valid for reads and writes of `length` bytes during `'a`, and the memory
    /// initialised; other buffers may overlap with it, references may not.
    pub(crate) unsafe fn new(start: *mut u8, length: usize) -> Self {
        Self {
            start,
            length,
            launch: PhantomData,
        }
    }

    /// The address of the first byte, aligned as a device would.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A copy of the bytes.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        // SAFETY: `new` requires valid, initialised memory of this length; `bytes` is fresh.
        unsafe {
            self.start
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), self.length)
        };
        bytes
    }

    /// Replaces the first bytes; those that do not fit are left out.
    pub fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(self.length);
        // SAFETY: `new` requires valid memory of `self.length` bytes; no reference overlaps with it.
        unsafe { self.start.copy_from_nonoverlapping(bytes.as_ptr(), length) };
    }
}
