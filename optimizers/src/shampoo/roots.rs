//! The roots in use: computed on the host from statistics that a step waits for, or on the device by launches.

use std::ops::Range;

use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{
    Blocking, DeviceRoots, Method, Root, RootEvidence, RootHistory, RootProblem, Side, inverse_root,
};

use super::factors::{Device, Factors};
use super::{FactorFormat, Shampoo};
use crate::{Error, RootsReport};

pub(super) enum Roots {
    Host(HostRoots),
    Device(Box<OnDevice>),
}

impl Roots {
    /// `start` holds the statistics, `identity` the roots of all factors before the first step.
    pub fn new(
        context: &Context,
        config: &Shampoo,
        blocking: &Blocking,
        factors: &Factors,
        start: &[f32],
        identity: Vec<f32>,
    ) -> Result<Self, Error> {
        let on_device = matches!(factors, Factors::Device(_));
        let method = match (config.root.method(), on_device) {
            (None | Some(Method::NewtonRefreshed), true) => {
                let device = OnDevice::new(context, config, blocking, start, &identity)?;
                return Ok(Self::Device(Box::new(device)));
            }
            (None, false) if config.factors == FactorFormat::Bf16 => Method::NewtonBf16,
            (method, _) => method.unwrap_or_default(),
        };
        Ok(Self::Host(HostRoots {
            method,
            pending: config.spread_roots.then(|| Pending {
                statistics: start.to_vec(),
                roots: identity.clone(),
            }),
            values: identity,
            found: vec![RootHistory::default(); blocking.factors().len()],
        }))
    }

    /// Whether a step waits for its roots.
    pub fn wait(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// Those on the host; those on the device lie with the statistics.
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Host(host) => &host.values,
            Self::Device(_) => &[],
        }
    }

    /// Renews the roots that are due in `step`.
    pub fn renew(
        &mut self,
        context: &Context,
        config: &Shampoo,
        blocking: &Blocking,
        factors: &mut Factors,
        step: u64,
    ) -> Result<(), Error> {
        let phase = step % config.root_interval;
        match self {
            Self::Host(host) => host.renew(context, config, blocking, factors, phase),
            Self::Device(device) => match factors {
                Factors::Device(factors) => device.renew(context, config, factors, phase),
                Factors::None(_) | Factors::Host(_) => Ok(()),
            },
        }
    }

    /// What was found.
    ///
    /// # Errors
    /// [`Error::Root`] if a root on the device has failed more often in a row than is tolerated; on the host that ended a
    /// step.
    pub fn report(
        &self,
        context: &Context,
        config: &Shampoo,
        blocking: &Blocking,
    ) -> Result<RootsReport, Error> {
        let found = self.found(context)?;
        if matches!(self, Self::Device(_)) {
            for (k, found) in found.iter().enumerate() {
                if let Some(last) = found.last {
                    tolerated(config, blocking, k, found.longest, last)?;
                }
            }
        }
        let computed = found.iter().filter_map(|found| found.last);
        Ok(RootsReport {
            refused: found.iter().map(|found| u64::from(found.refused)).sum(),
            raised: computed.clone().filter(|e| e.raises > 0).count() as u64,
            most_iterations: computed.clone().map(|e| e.iterations).max().unwrap_or(0),
            largest_residual: computed.clone().map(|e| e.residual).fold(0.0, f64::max),
            largest_check: computed.map(|e| e.check).fold(0.0, f64::max),
        })
    }

    /// What became of the root of each factor.
    pub fn found(&self, context: &Context) -> Result<Vec<RootHistory>, Error> {
        Ok(match self {
            Self::Host(host) => host.found.clone(),
            Self::Device(device) => device.roots.evidence(context)?,
        })
    }

    /// Goes on with what became of the roots of another.
    pub fn set_found(&mut self, context: &Context, found: Vec<RootHistory>) -> Result<(), Error> {
        match self {
            Self::Host(host) => host.found = found,
            Self::Device(device) => device.roots.set_evidence(context, &found)?,
        }
        Ok(())
    }

    /// The roots in use.
    pub fn in_use(&self, context: &Context, factors: &Factors) -> Result<Vec<f32>, Error> {
        match (self, factors) {
            (Self::Device(_), Factors::Device(device)) => {
                Ok(context.download("reading roots", &device.roots)?)
            }
            _ => Ok(self.values().to_vec()),
        }
    }

    /// Goes on with the roots of another.
    pub fn use_instead(&mut self, context: &Context, factors: &mut Factors, roots: Vec<f32>) {
        factors.renew(context, &roots);
        if let Self::Host(host) = self {
            host.values = roots;
        }
    }

    /// With spread roots: what the roots of this interval are computed from, and those computed so far.
    pub fn pending(&self, context: &Context) -> Result<(Vec<f32>, Vec<f32>), Error> {
        Ok(match self {
            Self::Host(host) => host.pending.as_ref().map_or_else(Default::default, |it| {
                (it.statistics.clone(), it.roots.clone())
            }),
            Self::Device(device) => match &device.pending {
                None => Default::default(),
                Some(Pending { statistics, roots }) => (
                    context.download("reading statistics", statistics)?,
                    context.download("reading roots", roots)?,
                ),
            },
        })
    }

    /// Goes on with those of another.
    pub fn set_pending(&mut self, context: &Context, statistics: Vec<f32>, roots: Vec<f32>) {
        match self {
            Self::Host(host) => host.pending = Some(Pending { statistics, roots }),
            Self::Device(device) => {
                device.pending = Some(Pending {
                    statistics: context.upload(&statistics),
                    roots: context.upload(&roots),
                });
            }
        }
    }

    /// Bytes beside statistics and roots.
    pub fn scratch_bytes(&self, blocking: &Blocking) -> usize {
        let pending = 2 * 4 * blocking.factor_values();
        match self {
            Self::Host(host) => host.pending.as_ref().map_or(0, |_| pending),
            Self::Device(device) => {
                device.roots.scratch_bytes() + device.pending.as_ref().map_or(0, |_| pending)
            }
        }
    }
}

/// Whether `failures` of the `k`-th root in a row are an error.
fn tolerated(
    config: &Shampoo,
    blocking: &Blocking,
    k: usize,
    failures: u32,
    last: RootEvidence,
) -> Result<(), Error> {
    if failures <= config.tolerated_failures {
        return Ok(());
    }
    let factor = &blocking.factors()[k];
    let tensor = blocking.blocks()[factor.block].tensor;
    let first = blocking
        .blocks()
        .partition_point(|other| other.tensor < tensor);
    Err(Error::Root {
        tensor,
        block: factor.block - first,
        side: match factor.side {
            Side::Left => "left",
            Side::Right => "right",
        },
        failures,
        reason: format!("{:?}, check {:e}", last.stop, last.check),
        residual: last.residual,
    })
}

/// The roots due in a phase of the interval, if they are spread over it.
fn share(count: usize, phase: u64, interval: u64) -> Range<usize> {
    let at = |phase: u64| (u128::from(phase) * count as u128 / u128::from(interval)) as usize;
    at(phase)..at(phase + 1)
}

pub(super) struct HostRoots {
    method: Method,
    values: Vec<f32>,
    /// With spread roots: what the roots of this interval are computed from, and those computed so far.
    pending: Option<Pending<Vec<f32>>>,
    found: Vec<RootHistory>,
}

struct Pending<T> {
    /// The statistics of the interval's start.
    statistics: T,
    /// The roots in use from the interval's end on.
    roots: T,
}

impl HostRoots {
    fn renew(
        &mut self,
        context: &Context,
        config: &Shampoo,
        blocking: &Blocking,
        factors: &mut Factors,
        phase: u64,
    ) -> Result<(), Error> {
        let count = blocking.factors().len();
        if phase == 0 {
            let statistics = factors.statistics(context)?.into_owned();
            match &mut self.pending {
                None => {
                    for k in 0..count {
                        let root = self.root(config, blocking, &statistics, k)?;
                        if self.judge(config, blocking, k, &root)? {
                            let range = blocking.factors()[k].range.clone();
                            self.values[range].copy_from_slice(&root.values);
                        }
                    }
                    factors.renew(context, &self.values);
                    return Ok(());
                }
                Some(pending) => {
                    pending.statistics = statistics;
                    self.values.copy_from_slice(&pending.roots);
                    factors.renew(context, &self.values);
                }
            }
        }
        for k in share(count, phase, config.root_interval) {
            let Some(pending) = &self.pending else {
                break;
            };
            let root = self.root(config, blocking, &pending.statistics, k)?;
            let accepted = self.judge(config, blocking, k, &root)?;
            if let (true, Some(pending)) = (accepted, &mut self.pending) {
                let range = blocking.factors()[k].range.clone();
                pending.roots[range].copy_from_slice(&root.values);
            }
        }
        Ok(())
    }

    /// The root of the `k`-th factor, `statistics` being those of all.
    fn root(
        &self,
        config: &Shampoo,
        blocking: &Blocking,
        statistics: &[f32],
        k: usize,
    ) -> Result<Root, Error> {
        let factor = &blocking.factors()[k];
        let mut root = inverse_root(
            &statistics[factor.range.clone()],
            factor.n,
            factor.order,
            config.root_ridge(),
            self.method,
        )?;
        config.factors.round(&mut root.values);
        Ok(root)
    }

    /// Whether a root may be used; too many failures in a row are an error.
    fn judge(
        &mut self,
        config: &Shampoo,
        blocking: &Blocking,
        k: usize,
        root: &Root,
    ) -> Result<bool, Error> {
        let found = &mut self.found[k];
        if found.note(root.evidence, config.residual_threshold) {
            return Ok(true);
        }
        tolerated(config, blocking, k, found.failures, root.evidence)?;
        Ok(false)
    }
}

pub(super) struct OnDevice {
    roots: DeviceRoots,
    pending: Option<Pending<Handle>>,
    count: usize,
}

impl OnDevice {
    fn new(
        context: &Context,
        config: &Shampoo,
        blocking: &Blocking,
        start: &[f32],
        identity: &[f32],
    ) -> Result<Self, Error> {
        let factors = blocking.factors().iter();
        let problems: Vec<RootProblem> = factors
            .map(|factor| RootProblem {
                start: factor.range.start,
                n: factor.n,
                p: factor.order,
            })
            .collect();
        Ok(Self {
            roots: DeviceRoots::new(context, &problems, Default::default())?,
            pending: config.spread_roots.then(|| Pending {
                statistics: context.upload(start),
                roots: context.upload(identity),
            }),
            count: problems.len(),
        })
    }

    fn renew(
        &self,
        context: &Context,
        config: &Shampoo,
        factors: &Device,
        phase: u64,
    ) -> Result<(), Error> {
        let (which, from, to) = match &self.pending {
            None if phase > 0 => return Ok(()),
            None => (0..self.count, &factors.statistics, &factors.roots),
            Some(Pending { statistics, roots }) => {
                if phase == 0 {
                    self.roots.copy(context, &factors.statistics, statistics)?;
                    self.roots.copy(context, roots, &factors.roots)?;
                }
                let which = share(self.count, phase, config.root_interval);
                (which, statistics, roots)
            }
        };
        let (ridge, threshold) = (config.root_ridge(), config.residual_threshold);
        Ok(self
            .roots
            .compute(context, from, to, which, ridge, threshold)?)
    }
}
