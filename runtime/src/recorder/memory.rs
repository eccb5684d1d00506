//! Device memory that is host memory.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;

use cubecl::backtrace::BackTrace;
use cubecl::server::IoError;
use cubecl::zspace::{Shape, Strides};
use cubecl_runtime::storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization};

/// As on a device, and enough for the widest vector type.
const ALIGNMENT: usize = 512;

/// Zeroed allocations by their number.
#[derive(Debug, Default)]
pub struct HostStorage {
    allocations: HashMap<StorageId, Allocation>,
}

#[derive(Debug)]
struct Allocation {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: an allocation owns its memory, which belongs to no thread.
unsafe impl Send for Allocation {}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this layout and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// A part of an allocation. Whoever uses it holds the binding that it came from, which keeps the
/// allocation.
#[derive(Debug)]
pub struct Region {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory belongs to no thread; the one server that hands out regions uses one at a time.
unsafe impl Send for Region {}

impl ComputeStorage for HostStorage {
    type Resource = Region;

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    fn get(&mut self, handle: &StorageHandle) -> Region {
        // The pools ask only for what they allocated; nothing is better than a wrong address.
        let Some(allocation) = self.allocations.get(&handle.id) else {
            return Region {
                start: NonNull::dangling().as_ptr(),
                length: 0,
            };
        };
        let size = allocation.layout.size();
        let offset = (handle.offset() as usize).min(size);
        Region {
            // SAFETY: the offset was just limited to the allocation's size.
            start: unsafe { allocation.start.as_ptr().add(offset) },
            length: (handle.size() as usize).min(size - offset),
        }
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let too_big = || IoError::BufferTooBig {
            size,
            backtrace: BackTrace::capture(),
        };
        let bytes = usize::try_from(size).map_err(|_| too_big())?;
        let layout = Layout::from_size_align(bytes.max(1), ALIGNMENT).map_err(|_| too_big())?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(too_big)?;
        let id = StorageId::new();
        self.allocations.insert(id, Allocation { start, layout });
        Ok(StorageHandle::new(
            id,
            StorageUtilization { offset: 0, size },
        ))
    }

    fn dealloc(&mut self, id: StorageId) {
        self.allocations.remove(&id);
    }

    fn flush(&mut self) {}
}

impl Region {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The elements of a tensor that lies here, without the gaps between its rows.
    pub(crate) fn gather(&self, rows: &Rows) -> Result<Vec<u8>, IoError> {
        rows.check(self.length)?;
        let mut bytes = vec![0; rows.width * rows.offsets.len()];
        for (row, &offset) in rows.offsets.iter().enumerate() {
            let target = &mut bytes[row * rows.width..][..rows.width];
            // SAFETY: `check` found the row inside the region, whose allocation the caller keeps; the
            // target is a fresh vector's.
            unsafe {
                let source = self.start.add(offset);
                source.copy_to_nonoverlapping(target.as_mut_ptr(), rows.width);
            }
        }
        Ok(bytes)
    }

    /// Writes the elements of a tensor that lies here.
    pub(crate) fn scatter(&mut self, rows: &Rows, bytes: &[u8]) -> Result<(), IoError> {
        rows.check(self.length)?;
        // An empty row makes no chunk.
        for (source, &offset) in bytes.chunks(rows.width.max(1)).zip(&rows.offsets) {
            // SAFETY: `check` found the row inside the region, whose allocation the caller keeps; the
            // source is the caller's and no part of it.
            unsafe {
                let target = self.start.add(offset);
                target.copy_from_nonoverlapping(source.as_ptr(), source.len());
            }
        }
        Ok(())
    }
}

/// Where the rows of a tensor start, and how long each is, in bytes.
#[derive(Debug)]
pub(crate) struct Rows {
    offsets: Vec<usize>,
    width: usize,
}

impl Rows {
    /// The rows of a tensor whose last axis has no gaps.
    pub(crate) fn new(shape: &Shape, strides: &Strides, element: usize) -> Result<Self, IoError> {
        let Some(last) = shape.len().checked_sub(1) else {
            return Ok(Self {
                offsets: vec![0],
                width: element,
            });
        };
        if strides.len() != shape.len() || (strides[last] != 1 && shape[last] > 1) {
            return Err(IoError::UnsupportedStrides {
                backtrace: BackTrace::capture(),
            });
        }
        let count: usize = (0..last).map(|axis| shape[axis]).product();
        let offset = |mut row: usize| {
            let mut at = 0;
            for axis in (0..last).rev() {
                at += row % shape[axis] * strides[axis];
                row /= shape[axis];
            }
            at * element
        };
        Ok(Self {
            offsets: (0..count).map(offset).collect(),
            width: shape[last] * element,
        })
    }

    fn check(&self, length: usize) -> Result<(), IoError> {
        let end = self.offsets.iter().max().map_or(0, |it| it + self.width);
        if end <= length {
            return Ok(());
        }
        Err(IoError::NotFound {
            backtrace: BackTrace::capture(),
            reason: format!("{end} bytes of a buffer of {length}").into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_gaps_are_written_and_read_without_touching_the_gaps() {
        let mut storage = HostStorage::default();
        let handle = storage.alloc(32).unwrap();
        let mut region = storage.get(&handle);
        assert_eq!(region.as_ptr() as usize % ALIGNMENT, 0);
        let rows = Rows::new(&[2, 3].into(), &Strides::new(&[4, 1]), 4).unwrap();
        let bytes: Vec<u8> = (1..=24).collect();
        region.scatter(&rows, &bytes).unwrap();
        assert_eq!(region.gather(&rows).unwrap(), bytes);
        let dense = Rows::new(&[32].into(), &Strides::new(&[1]), 1).unwrap();
        let all = region.gather(&dense).unwrap();
        assert_eq!(all[12..16], [0; 4]);
        assert_eq!(all[16], 13);

        let long = Rows::new(&[33].into(), &Strides::new(&[1]), 1).unwrap();
        assert!(region.gather(&long).is_err());
        assert!(region.scatter(&long, &bytes).is_err());
        assert!(Rows::new(&[2, 3].into(), &Strides::new(&[1, 2]), 4).is_err());
    }
}
