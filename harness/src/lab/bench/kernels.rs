//! The kernels that stream over the arena, and the least that each has to move.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use sonew_kernels::catalogue::{Ground, Proof, Sample, SampleVisitor, samples};
use sonew_kernels::contract::Formats;
use sonew_kernels::precision::{Precision, PrecisionKind, PrecisionVisitor};
use sonew_optimizers::{Context, Layout};

use super::BenchError;
use super::noise::arena;
use super::proof::{MOST, prove};
use super::request::Request;
use super::stopwatch::Work;
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
        layout: Layout::new(lengths)?,
        shift,
        timer,
    })
}

struct Times<'a> {
    context: &'a Context,
    request: &'a Request,
    precision: PrecisionKind,
    lengths: &'a [usize],
    layout: Layout,
    /// How far into a larger arena its values lie.
    shift: usize,
    timer: &'a mut dyn Timer,
}

impl PrecisionVisitor for Times<'_> {
    type Output = Result<(), BenchError>;

    fn visit<P: Precision>(self) -> Self::Output {
        let (layout, shift) = (self.layout.clone(), self.shift);
        let ground = Ground {
            context: self.context,
            layout: &layout,
            values: &|seed| arena(&layout, seed + shift),
            bands: &self.request.bands,
            grafts: self.request.grafts,
        };
        let mut proven = Proven::<P> {
            times: self,
            precision: PhantomData,
        };
        samples::<P, _>(&ground, &mut proven)
    }
}

/// Proves what it times.
struct Proven<'a, P> {
    times: Times<'a>,
    precision: PhantomData<P>,
}

impl<P: Precision> SampleVisitor for Proven<'_, P> {
    type Error = BenchError;

    fn wants(&self, kernel: &str) -> bool {
        self.times.request.asks(kernel)
    }

    fn visit(&mut self, sample: Sample<'_>) -> Result<(), BenchError> {
        let Times {
            context,
            request,
            precision,
            lengths,
            layout,
            timer,
            ..
        } = &mut self.times;
        let Proof { kernel, case, band } = sample.proof;
        if request.proven {
            let formats = Formats::from(*precision);
            let checks = band.map_or_else(|| formats.checks(), |band| formats.checks_of_band(band));
            prove::<P>(context, &checks, (kernel, &case), lengths)?;
        }
        let values = layout.parameters();
        let subject = Subject {
            kernel: sample.kernel.into(),
            case: sample.case,
            precision: *precision,
            values,
            bytes: (sample.bytes * values) as u64,
        };
        let mut launch = sample.launch;
        let work = Work::new(context, move || Ok(launch()?)).writing(sample.outputs);
        timer.time(subject, work)
    }
}
