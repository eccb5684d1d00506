//! The kernels that stream over the arena, and the least that each has to move.

mod banded;
mod conversions;
mod grafts;

pub(crate) use banded::removal;

use cubecl::server::Handle;
use serde::{Deserialize, Serialize};
use sonew_kernels::contract::{Check, Formats};
use sonew_kernels::evidence::Slots;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::precision::{HostFormat, Precision, PrecisionKind, PrecisionVisitor, Storage};
use sonew_kernels::sonew::{Decay, StepRates};
use sonew_kernels::sweep::{Strategy, Sweep};
use sonew_optimizers::{Context, Segments};

use super::BenchError;
use super::noise::arena;
use super::proof::prove;
use super::request::Request;
use super::stopwatch::Work;

/// A kernel, and what it goes over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The kernel.
    pub kernel: String,
    /// Its variant.
    pub case: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// Parameters that it went over.
    pub values: usize,
    /// The least that the operation has to read and write.
    pub bytes: u64,
}

/// What times kernels.
pub trait Timer {
    /// Times the launches of a kernel that was proven.
    ///
    /// # Errors
    /// As [`Work::run`].
    fn time(&mut self, subject: Subject, work: Work<'_>) -> Result<(), BenchError>;
}

/// Proves the kernels, and has `timer` time them.
///
/// # Errors
/// [`BenchError::Wrong`] for a kernel that is, and whatever launches refuse or report.
pub fn kernels(
    context: &Context,
    request: &Request,
    timer: &mut dyn Timer,
) -> Result<(), BenchError> {
    for &precision in &request.precisions {
        for lengths in &request.sizes {
            precision.accept(Times {
                context,
                request,
                precision,
                lengths,
                segments: Segments::new(lengths)?,
                timer,
            })?;
        }
    }
    Ok(())
}

const HYPER: Hyper = Hyper {
    lr: 1e-6,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-3,
    weight_decay: 0.0,
    step: 10,
};
const RATES: StepRates = StepRates {
    lr: 1e-6,
    weight_decay: 0.0,
    beta1: 0.9,
    decay: Decay::Average(0.99),
    epsilon: 1e-2,
    corrections: (1.0, 1.0),
};
struct Times<'a> {
    context: &'a Context,
    request: &'a Request,
    precision: PrecisionKind,
    lengths: &'a [usize],
    segments: Segments,
    timer: &'a mut dyn Timer,
}

impl PrecisionVisitor for Times<'_> {
    type Output = Result<(), BenchError>;

    fn visit<P: Precision>(mut self) -> Self::Output {
        let formats = Formats::from(self.precision);
        let all = formats.checks();
        self.conversion::<P>(&all)?;
        self.draws::<P>(&all)?;
        self.inspection::<P>(&all)?;
        self.rule::<Sgd, P>(&all)?;
        self.rule::<Momentum, P>(&all)?;
        self.rule::<Nesterov, P>(&all)?;
        self.rule::<Adagrad, P>(&all)?;
        self.rule::<RmsProp, P>(&all)?;
        self.rule::<Adam, P>(&all)?;
        self.graft::<P>(&all)?;
        self.kronecker::<P>(&all)?;
        for &band in &self.request.bands {
            let checks = formats.checks_of_band(band);
            self.statistics::<P>(&checks, band)?;
            self.factor::<P>(&checks, band)?;
            self.step::<P>(&checks, band)?;
        }
        Ok(())
    }
}

impl Times<'_> {
    /// Proves a kernel by the checks whose case begins with `proof`, times it, and notes that it has to move `bytes` bytes for each parameter.
    fn time<P: Precision>(
        &mut self,
        (kernel, case): (&'static str, String),
        (checks, proof): (&[Check], (&'static str, &str)),
        bytes: usize,
        work: impl FnMut() -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        if self.request.proven {
            prove::<P>(self.context, checks, proof, self.lengths)?;
        }
        let values = self.segments.parameters();
        let subject = Subject {
            kernel: kernel.into(),
            case,
            precision: self.precision,
            values,
            bytes: (bytes * values) as u64,
        };
        self.timer.time(subject, Work::new(self.context, work))
    }

    /// An arena of a format, of which the values of the tensors are unstructured.
    fn filled<S: HostFormat>(&self, seed: usize) -> Handle {
        let values = arena(&self.segments, seed);
        self.context.upload(&S::encode(&values))
    }

    fn zeros<S: HostFormat>(&self, count: usize) -> Handle {
        self.context.upload(&S::encode(&vec![0.0; count]))
    }

    fn empty<S: HostFormat>(&self, count: usize) -> Vec<Handle> {
        let zeros = |_| self.zeros::<S>(self.segments.arena_len());
        (0..count).map(zeros).collect()
    }

    fn slots(&self, sweep: Sweep) -> Slots {
        Slots::of(self.context, &self.segments, sweep)
    }

    fn rule<L: FirstOrder, P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        if !self.request.asks(L::NAME) {
            return Ok(());
        }
        let (params, grads) = (self.filled::<P::Params>(1), self.filled::<P::Params>(2));
        let states = self.empty::<P::State>(L::STATES.len());
        let evidence = self.slots(Sweep::of::<P>(self.context, L::NAME, 0));
        let (context, segments) = (self.context, self.segments.clone());
        // Gradients are read, parameters and states read and written.
        let bytes =
            3 * <P::Params as Storage>::BYTES + 2 * states.len() * <P::State as Storage>::BYTES;
        let proof = (checks, (L::NAME, ""));
        self.time::<P>((L::NAME, String::new()), proof, bytes, || {
            let buffers = Buffers {
                params: &params,
                grads: &grads,
                states: &states,
                evidence: &evidence,
            };
            descend::<L, P>(context, &segments, buffers, HYPER, Strategy::Inferred)?;
            Ok(())
        })
    }
}
