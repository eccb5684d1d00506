//! Where the factors of Shampoo live: statistics, and the directions that their roots give.

use std::borrow::Cow;

use cubecl::Runtime;
use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{self, Blocking, DeviceBlocking, Workspace};
use sonew_kernels::segments::Segments;

use crate::Error;

/// Statistics and directions, in the memory where their products run.
pub(super) enum Factors {
    /// No tensor is preconditioned: the direction is 0.
    None(Handle),
    /// In host memory; a step waits for the gradient.
    Host(Box<Host>),
    /// In device memory; only the roots wait for statistics.
    Device(Box<Device>),
}

pub(super) struct Host {
    statistics: Vec<f32>,
    direction: Vec<f32>,
    workspace: Workspace,
}

pub(super) struct Device {
    pub statistics: Handle,
    pub roots: Handle,
    direction: Handle,
    scratch: Handle,
    products: DeviceBlocking,
}

impl Factors {
    pub fn on_host(segments: &Segments, blocking: &Blocking, statistics: Vec<f32>) -> Self {
        Self::Host(Box::new(Host {
            statistics,
            direction: vec![0.0; segments.arena_len()],
            workspace: Workspace::new(blocking),
        }))
    }

    pub fn on_device<R: Runtime>(
        context: &Context<R>,
        segments: &Segments,
        blocking: &Blocking,
        statistics: &[f32],
        roots: &[f32],
    ) -> Result<Self, Error> {
        let arena = || context.upload(&vec![0f32; segments.arena_len()]);
        Ok(Self::Device(Box::new(Device {
            statistics: context.upload(statistics),
            roots: context.upload(roots),
            direction: arena(),
            scratch: arena(),
            products: DeviceBlocking::new(context, segments, blocking, Default::default())?,
        })))
    }

    /// Whether a step waits for its parts, so that their times mean something.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// As [`Factors::Host`] and [`Factors::Device`], for a blocking without blocks.
    pub fn none<R: Runtime>(context: &Context<R>, segments: &Segments) -> Self {
        Self::None(context.upload(&vec![0f32; segments.arena_len()]))
    }

    /// Adds a gradient to the statistics. `values` is what [`Factors::read`] returned for it.
    pub fn accumulate<R: Runtime>(
        &mut self,
        context: &Context<R>,
        blocking: &Blocking,
        grads: &Handle,
        values: &[f32],
        beta2: f64,
    ) -> Result<(), Error> {
        match self {
            Self::None(_) => {}
            Self::Host(host) => {
                kronecker::statistics(blocking, values, &mut host.statistics, beta2)?;
            }
            Self::Device(device) => {
                let statistics = &device.statistics;
                device
                    .products
                    .statistics(context, grads, statistics, beta2)?;
            }
        }
        Ok(())
    }

    /// The gradient, where host products need it; empty otherwise.
    pub fn read<R: Runtime>(
        &self,
        context: &Context<R>,
        grads: &Handle,
    ) -> Result<Vec<f32>, Error> {
        Ok(match self {
            Self::Host(_) => context.download("reading gradients", grads)?,
            Self::None(_) | Self::Device(_) => Vec::new(),
        })
    }

    /// The statistics of all factors.
    pub fn statistics<R: Runtime>(&self, context: &Context<R>) -> Result<Cow<'_, [f32]>, Error> {
        Ok(match self {
            Self::None(_) => Cow::Borrowed(&[]),
            Self::Host(host) => Cow::Borrowed(&host.statistics[..]),
            Self::Device(device) => {
                Cow::Owned(context.download("reading statistics", &device.statistics)?)
            }
        })
    }

    /// Takes new roots into use.
    pub fn renew<R: Runtime>(&mut self, context: &Context<R>, roots: &[f32]) {
        if let Self::Device(device) = self {
            device.roots = context.upload(roots);
        }
    }

    /// The preconditioned gradient, an arena on the device.
    pub fn direction<R: Runtime>(
        &mut self,
        context: &Context<R>,
        blocking: &Blocking,
        roots: &[f32],
        grads: &Handle,
        values: &[f32],
    ) -> Result<Handle, Error> {
        match self {
            Self::None(zero) => Ok(zero.clone()),
            Self::Host(host) => {
                let out = &mut host.direction;
                kronecker::direction(blocking, roots, values, out, &mut host.workspace)?;
                Ok(context.upload(out))
            }
            Self::Device(device) => {
                device.products.direction(
                    context,
                    &device.roots,
                    grads,
                    &device.scratch,
                    &device.direction,
                )?;
                Ok(device.direction.clone())
            }
        }
    }

    /// Arenas beside the states.
    pub fn arenas(&self) -> usize {
        match self {
            Self::None(_) | Self::Host(_) => 1,
            Self::Device(_) => 2,
        }
    }
}
