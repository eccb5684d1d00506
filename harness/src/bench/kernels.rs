//! The kernels that stream over the arena, and the least that each has to move.

use cubecl::server::Handle;
use serde::{Deserialize, Serialize};
use sonew_kernels::contract::{Check, Formats};
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::precision::{
    HostFormat, Native, Precision, PrecisionKind, PrecisionVisitor, Storage, convert,
};
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, Ghosts, PreconditionBuffers, StatisticsBuffers,
    StepBuffers, StepRates, Tolerance, factor, precondition, statistics, step,
};
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
const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0078,
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
        self.rule::<Sgd, P>(&all)?;
        self.rule::<Momentum, P>(&all)?;
        self.rule::<Nesterov, P>(&all)?;
        self.rule::<Adagrad, P>(&all)?;
        self.rule::<RmsProp, P>(&all)?;
        self.rule::<Adam, P>(&all)?;
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
        prove::<P>(
            self.context,
            checks,
            proof,
            self.lengths,
            self.request.proven,
        )?;
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

    fn slots(&self, sweep: Sweep) -> Handle {
        let words = Evidence::bytes(sweep.total_units(&self.segments)) / 4;
        self.context.upload(&vec![0u32; words])
    }

    /// From the format of the parameters to f32.
    fn conversion<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        if !self.request.asks("convert") {
            return Ok(());
        }
        let from = self.filled::<P::Params>(0);
        let to = self.zeros::<Native<f32>>(self.segments.arena_len());
        let (context, segments) = (self.context, self.segments.clone());
        let case = format!("{} to f32", <P::Params as HostFormat>::NAME);
        let proof = (checks, ("convert", <P::Params as HostFormat>::NAME));
        let bytes = <P::Params as Storage>::BYTES + 4;
        self.time::<P>(("convert", case), proof, bytes, || {
            convert::<P::Params, Native<f32>>(context, &segments, &from, &to)?;
            Ok(())
        })
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

    fn statistics<P: Precision>(
        &mut self,
        checks: &[Check],
        band: usize,
    ) -> Result<(), BenchError> {
        if !self.request.asks("statistics") {
            return Ok(());
        }
        let grads = self.filled::<P::Params>(2);
        let states = self.empty::<P::State>(2 + band);
        let evidence = self.slots(Sweep::of::<P>(self.context, "statistics", band));
        let (context, segments) = (self.context, self.segments.clone());
        let bytes = <P::Params as Storage>::BYTES + 2 * states.len() * <P::State as Storage>::BYTES;
        let case = format!("band {band}");
        let proof = (checks, ("statistics", ""));
        self.time::<P>(("statistics", case), proof, bytes, || {
            let buffers = StatisticsBuffers {
                grads: &grads,
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                evidence: &evidence,
            };
            let (beta, decay) = (RATES.beta1, RATES.decay);
            statistics::<P>(context, &segments, buffers, beta, decay, Strategy::Inferred)?;
            Ok(())
        })
    }

    /// The factor, and L D Lᵀ m by it.
    fn factor<P: Precision>(&mut self, checks: &[Check], band: usize) -> Result<(), BenchError> {
        let asked = ["banded-ldl", "precondition"].map(|kernel| self.request.asks(kernel));
        if asked == [false, false] {
            return Ok(());
        }
        let (context, segments) = (self.context, self.segments.clone());
        let (moment, grads) = (self.filled::<P::State>(3), self.filled::<P::Params>(2));
        // Statistics of a gradient, which the first launch below damps.
        let h = self.empty::<P::State>(2 + band);
        let blueprint = Blueprint::of::<P>(context, "banded-ldl", band);
        let evidence = self.slots(Sweep::of::<P>(context, "statistics", band));
        let buffers = StatisticsBuffers {
            grads: &grads,
            moment: &h[0],
            diagonal: &h[1],
            edges: &h[2..],
            evidence: &evidence,
        };
        let decay = RATES.decay;
        statistics::<P>(context, &segments, buffers, 0.9, decay, Strategy::Inferred)?;
        let (psi, outputs) = (self.empty::<P::State>(band), self.empty::<P::State>(2));
        let cut = self.slots(blueprint.sweep);
        let proof = (checks, ("banded-ldl", ""));
        let case = format!("band {band}");
        let state = <P::State as Storage>::BYTES;
        if asked[0] {
            let bytes = 2 * (1 + band) * state;
            self.time::<P>(("banded-ldl", case.clone()), proof, bytes, || {
                let buffers = FactorBuffers {
                    diagonal: &h[1],
                    edges: &h[2..],
                    psi: &psi,
                    d: &outputs[0],
                    evidence: &cut,
                };
                let (removal, inferred) = (removal(band), Strategy::Inferred);
                factor::<P>(
                    context, &segments, buffers, 1.0, 1e-2, GAMMA, removal, inferred,
                )?;
                Ok(())
            })?;
        }
        if asked[1] {
            let bytes = (3 + band) * state;
            self.time::<P>(("precondition", case), proof, bytes, || {
                let buffers = PreconditionBuffers {
                    psi: &psi,
                    d: &outputs[0],
                    moment: &moment,
                    direction: &outputs[1],
                };
                precondition::<P>(context, &segments, buffers, Strategy::Inferred)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Everything in one launch.
    fn step<P: Precision>(&mut self, checks: &[Check], band: usize) -> Result<(), BenchError> {
        if !self.request.asks("sonew-step") {
            return Ok(());
        }
        let (context, segments) = (self.context, self.segments.clone());
        let removal = removal(band);
        let blueprint = Blueprint::of::<P>(context, "sonew-step", band);
        let values = Ghosts::new(&segments, band, removal, blueprint).state_len();
        let states: Vec<Handle> = (0..2 + band)
            .map(|_| self.zeros::<P::State>(values))
            .collect();
        let (params, grads) = (self.filled::<P::Params>(1), self.filled::<P::Params>(2));
        let (non_finite, cut) = (self.slots(blueprint.sweep), self.slots(blueprint.sweep));
        let bytes =
            3 * <P::Params as Storage>::BYTES + 2 * states.len() * <P::State as Storage>::BYTES;
        let case = format!("band {band}");
        let proven = format!("band {band}, {removal:?}, unstructured").to_lowercase();
        let proof = (checks, ("sonew-step", proven.as_str()));
        self.time::<P>(("sonew-step", case), proof, bytes, || {
            let buffers = StepBuffers {
                params: &params,
                graft: None,
                grads: &grads,
                moment: &states[0],
                diagonal: &states[1],
                edges: &states[2..],
                non_finite: &non_finite,
                cut: &cut,
            };
            let inferred = Strategy::Inferred;
            step::<P>(context, &segments, buffers, RATES, GAMMA, removal, inferred)?;
            Ok(())
        })
    }
}

/// The rule of edge removal that is the default of a band.
pub(crate) fn removal(band: usize) -> EdgeRemoval {
    if band <= 1 {
        EdgeRemoval::Outgoing
    } else {
        EdgeRemoval::Incident
    }
}
