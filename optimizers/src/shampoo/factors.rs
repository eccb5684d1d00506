//! Where the factors of Shampoo live: statistics, and the directions that their roots give.

use std::borrow::Cow;

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{self, Blocking, DeviceBlocking, Workspace};
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Format, HostFormat, Native, Precision, Storage, convert};

use super::FactorFormat;
use crate::Error;

/// Statistics and directions, in the memory where their products run.
pub(super) enum Factors {
    /// No tensor is preconditioned: the direction is 0.
    None(Arena),
    /// In host memory; a step waits for the gradient.
    Host(Box<Host>),
    /// In device memory; only the roots wait for statistics.
    Device(Box<Device>),
}

pub(super) struct Host {
    statistics: Vec<f32>,
    format: FactorFormat,
    direction: Vec<f32>,
    workspace: Workspace,
}

pub(super) struct Device {
    pub statistics: Handle,
    pub roots: Handle,
    direction: Arena,
    scratch: Arena,
    /// Gradient and direction in f32 and in the states' format, where those differ.
    wide_grads: Option<Arena>,
    narrow_direction: Option<Arena>,
    products: DeviceBlocking,
}

impl Factors {
    pub fn on_host(
        layout: &Layout,
        blocking: &Blocking,
        statistics: Vec<f32>,
        format: FactorFormat,
    ) -> Self {
        Self::Host(Box::new(Host {
            statistics,
            format,
            direction: vec![0.0; layout.arena_len()],
            workspace: Workspace::new(blocking),
        }))
    }

    pub fn on_device<P: Precision>(
        context: &Context,
        layout: &Layout,
        blocking: &Blocking,
        statistics: &[f32],
        roots: &[f32],
    ) -> Result<Self, Error> {
        let arena = || Arena::zeros(context, layout, Format::F32);
        Ok(Self::Device(Box::new(Device {
            statistics: context.upload(statistics),
            roots: context.upload(roots),
            direction: arena(),
            scratch: arena(),
            wide_grads: (<P::Params as Storage>::BYTES < 4).then(arena),
            narrow_direction: (<P::State as Storage>::BYTES < 4)
                .then(|| Arena::zeros(context, layout, P::State::FORMAT)),
            products: DeviceBlocking::new(context, layout, blocking, Default::default())?,
        })))
    }

    /// Whether a step waits for its parts, so that their times mean something.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// As [`Factors::Host`] and [`Factors::Device`], for a blocking without blocks.
    pub fn none<P: Precision>(context: &Context, layout: &Layout) -> Self {
        Self::None(Arena::zeros(context, layout, P::State::FORMAT))
    }

    /// Adds a gradient to the statistics. `values` is what [`Factors::read`] returned for it.
    pub fn accumulate(
        &mut self,
        context: &Context,
        blocking: &Blocking,
        grads: &Arena,
        values: &[f32],
        beta2: f64,
    ) -> Result<(), Error> {
        match self {
            Self::None(_) => {}
            Self::Host(host) => {
                kronecker::statistics(blocking, values, &mut host.statistics, beta2)?;
                host.format.round(&mut host.statistics);
            }
            Self::Device(device) => {
                let grads = device.wide_grads.as_ref().unwrap_or(grads);
                let statistics = &device.statistics;
                device
                    .products
                    .statistics(context, grads, statistics, beta2)?;
            }
        }
        Ok(())
    }

    /// The gradient in f32: returned where host products need it, widened in place where those of the device do.
    pub fn read<P: Precision>(&self, context: &Context, grads: &Arena) -> Result<Vec<f32>, Error> {
        match self {
            Self::None(_) => {}
            Self::Host(_) => {
                return Ok(grads.view(context, "reading gradients", <[f32]>::to_vec)?);
            }
            Self::Device(device) => {
                if let Some(wide) = &device.wide_grads {
                    let sweep = Strategy::Forced(Sweep::plain::<P>(context, "convert"));
                    convert::<P::Params, Native<f32>>(context, grads, wide, sweep)?;
                }
            }
        }
        Ok(Vec::new())
    }

    /// The statistics of all factors.
    pub fn statistics(&self, context: &Context) -> Result<Cow<'_, [f32]>, Error> {
        Ok(match self {
            Self::None(_) => Cow::Borrowed(&[]),
            Self::Host(host) => Cow::Borrowed(&host.statistics[..]),
            Self::Device(device) => {
                Cow::Owned(context.download("reading statistics", &device.statistics)?)
            }
        })
    }

    /// Goes on from the statistics of another.
    pub fn set_statistics(&mut self, context: &Context, statistics: Vec<f32>) {
        match self {
            Self::None(_) => {}
            Self::Host(host) => host.statistics = statistics,
            Self::Device(device) => device.statistics = context.upload(&statistics),
        }
    }

    /// Takes new roots into use.
    pub fn renew(&mut self, context: &Context, roots: &[f32]) {
        if let Self::Device(device) = self {
            device.roots = context.upload(roots);
        }
    }

    /// The preconditioned gradient, on the device in the states' format.
    pub fn direction<P: Precision>(
        &mut self,
        context: &Context,
        layout: &Layout,
        blocking: &Blocking,
        roots: &[f32],
        grads: &Arena,
        values: &[f32],
    ) -> Result<Arena, Error> {
        match self {
            Self::None(zero) => Ok(zero.clone()),
            Self::Host(host) => {
                let out = &mut host.direction;
                kronecker::direction(blocking, roots, values, out, &mut host.workspace)?;
                Ok(Arena::from_values(context, layout, P::State::FORMAT, out)?)
            }
            Self::Device(device) => {
                let grads = device.wide_grads.as_ref().unwrap_or(grads);
                let Device {
                    roots,
                    scratch,
                    direction,
                    ..
                } = &**device;
                device
                    .products
                    .direction(context, roots, grads, scratch, direction)?;
                let Some(narrow) = &device.narrow_direction else {
                    return Ok(direction.clone());
                };
                let sweep = Strategy::Forced(Sweep::plain::<P>(context, "convert"));
                convert::<Native<f32>, P::State>(context, direction, narrow, sweep)?;
                Ok(narrow.clone())
            }
        }
    }

    /// Bytes of arenas beside the states, per parameter.
    pub fn arena_bytes<P: Precision>(&self) -> usize {
        let state = <P::State as Storage>::BYTES;
        match self {
            Self::None(_) => state,
            Self::Host(_) => 4,
            Self::Device(device) => {
                let wide = 4 * usize::from(device.wide_grads.is_some());
                let narrow = device.narrow_direction.as_ref().map_or(0, |_| state);
                8 + wide + narrow
            }
        }
    }
}
