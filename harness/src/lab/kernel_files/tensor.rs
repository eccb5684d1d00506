//! One tensor of n values on a device, in an arena of its own.

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout, Slots, TensorRate, TensorRates};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::launch::Sweep;
use sonew_kernels::norms::Reduction;
use sonew_kernels::precision::Format;
use sonew_kernels::sonew::RowChains;

use super::KernelFileError;
use super::descending::Descending;

/// The arena, and what goes there and comes back.
pub(super) struct Tensor<'a> {
    pub context: &'a Context,
    pub layout: Layout,
    kernel: &'static str,
    n: usize,
}

/// What a sweep noted: how often, and at which value first, n if never.
pub(super) struct Noted {
    pub count: u64,
    pub first: u64,
}

impl<'a> Tensor<'a> {
    pub fn new(
        context: &'a Context,
        kernel: &'static str,
        n: usize,
    ) -> Result<Self, KernelFileError> {
        let layout = Layout::new(&[n])?;
        // States may hold copies of some columns beside the arena.
        require_room(context, kernel, layout.arena_len() / 8 * 9)?;
        Ok(Self {
            context,
            layout,
            kernel,
            n,
        })
    }

    /// n values as an arena.
    pub fn upload(&self, values: &[f32]) -> Result<Arena, KernelError> {
        Arena::of(self.context, &self.layout, Format::F32, &[values])
    }

    /// Arenas of n values each.
    pub fn upload_all(&self, lines: &[Vec<f32>]) -> Result<Vec<Arena>, KernelError> {
        lines.iter().map(|line| self.upload(line)).collect()
    }

    /// An arena of zeros.
    pub fn empty(&self) -> Arena {
        Arena::zeros(self.context, &self.layout, Format::F32)
    }

    /// Zeros.
    pub fn zeros(&self, count: usize) -> Handle {
        self.context.upload(&vec![0f32; count])
    }

    /// Slots of evidence.
    pub fn slots(&self, sweep: Sweep) -> Slots {
        Slots::of(self.context, &self.layout, sweep)
    }

    /// For each block the tensor it belongs to.
    pub fn table(&self) -> Handle {
        self.context.upload(&self.layout.tensor_of_block())
    }

    /// The table of its own rate, if it has one.
    pub fn rates(&self, descending: &Descending) -> Result<Option<TensorRates>, KernelError> {
        let Some(lr) = descending.factor else {
            return Ok(None);
        };
        let rate = TensorRate {
            lr,
            weight_decay: descending.weight_decay,
        };
        TensorRates::new(self.context, &self.layout, &[rate]).map(Some)
    }

    /// The table of its rows, if they are chains of their own.
    pub fn rows(&self, row: usize) -> Result<Option<RowChains>, KernelError> {
        if row == 0 {
            return Ok(None);
        }
        RowChains::new(self.context, &self.layout, &[row]).map(Some)
    }

    /// Sums over the tensor, and scratch for them.
    pub fn reduction(&self) -> (Reduction, Handle) {
        let partials = self.zeros(self.layout.blocks() - 2);
        (Reduction::new(self.context, &self.layout), partials)
    }

    /// The values of an arena.
    pub fn read(&self, arena: &Arena) -> Result<Vec<f32>, KernelError> {
        let start = self.layout.tensors()[0].start;
        let n = self.n;
        arena.view(self.context, self.kernel, |values| {
            values[start..start + n].to_vec()
        })
    }

    /// Those of several, one after the other.
    pub fn read_all(&self, arenas: &[Arena]) -> Result<Vec<f32>, KernelError> {
        let mut all = Vec::with_capacity(arenas.len() * self.n);
        for arena in arenas {
            all.extend(self.read(arena)?);
        }
        Ok(all)
    }

    /// What was noted in slots.
    pub fn noted(&self, slots: &Slots) -> Result<Noted, KernelError> {
        let seen = Evidence::read(self.context, self.kernel, slots)?;
        let first = seen.first.and_then(|at| self.layout.locate(at));
        Ok(Noted {
            count: seen.count,
            first: first.map_or(self.n, |(_, index)| index) as u64,
        })
    }
}

/// Requires that the device has a buffer of so many f32: it is not asked for one that would end its driver.
pub(super) fn require_room(
    context: &Context,
    kernel: &'static str,
    values: usize,
) -> Result<(), KernelError> {
    context.require_buffer(kernel, "an array", 4 * values as u64)
}
