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
use super::proof::{MOST, prove};
use super::request::Request;
use super::stopwatch::{Output, Work};
use super::windows::{Alone, Windows};

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
            let (whole, values) = ((lengths.as_slice(), 0), lengths.iter().sum());
            if !request.proven || lengths.len() > 1 || values <= MOST {
                over(context, request, precision, whole, timer)?;
                continue;
            }
            let mut windows = Windows::of(values, timer);
            over(context, request, precision, whole, &mut windows)?;
            // What was measured is held to its windows, whatever the time is.
            let again = Request {
                proven: false,
                until: None,
                ..request.clone()
            };
            for (place, seen) in windows.seen() {
                let mut alone = Alone::new(place, seen, precision);
                let window = (&[place.values][..], place.at);
                over(context, &again, precision, window, &mut alone)?;
            }
        }
    }
    Ok(())
}

/// The kernels over tensors of these lengths, whose values lie so far into a larger arena.
fn over(
    context: &Context,
    request: &Request,
    precision: PrecisionKind,
    (lengths, shift): (&[usize], usize),
    timer: &mut dyn Timer,
) -> Result<(), BenchError> {
    precision.accept(Times {
        context,
        request,
        precision,
        lengths,
        segments: Segments::new(lengths)?,
        shift,
        timer,
    })
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
    /// How far into a larger arena its values lie.
    shift: usize,
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
            if band == 1 && self.request.grafts {
                self.grafted_step::<P>(&all)?;
            }
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
        outputs: Vec<Output>,
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
        let work = Work::new(self.context, work).writing(outputs);
        self.timer.time(subject, work)
    }

    /// An arena of a format, of which the values of the tensors are unstructured.
    fn filled<S: HostFormat>(&self, seed: usize) -> Handle {
        let values = arena(&self.segments, seed + self.shift);
        self.context.upload(&S::encode(&values))
    }

    fn zeros<S: HostFormat>(&self, count: usize) -> Handle {
        self.context.upload(&S::encode(&vec![0.0; count]))
    }

    fn empty<S: HostFormat>(&self, count: usize) -> Vec<Handle> {
        let zeros = |_| self.zeros::<S>(self.segments.arena_len());
        (0..count).map(zeros).collect()
    }

    /// What a launch writes: arenas in the format of the parameters, and of the states.
    fn outputs<'h, P: Precision>(
        params: impl IntoIterator<Item = &'h Handle>,
        states: impl IntoIterator<Item = &'h Handle>,
    ) -> Vec<Output> {
        let of = |bytes: usize| {
            move |handle: &Handle| Output {
                handle: handle.clone(),
                bytes,
            }
        };
        let params = params.into_iter().map(of(<P::Params as Storage>::BYTES));
        let states = states.into_iter().map(of(<P::State as Storage>::BYTES));
        params.chain(states).collect()
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
        let written = Self::outputs::<P>([&params], &states);
        self.time::<P>((L::NAME, String::new()), proof, bytes, written, || {
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
