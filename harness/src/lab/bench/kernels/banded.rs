//! SONew: its parts, and everything in one launch.

use cubecl::server::Handle;
use sonew_kernels::contract::Check;
use sonew_kernels::precision::{Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, EdgeRemoval, FactorBuffers, Ghosts, PreconditionBuffers, StatisticsBuffers,
    StepBuffers, Tolerance, factor, precondition, statistics, step,
};
use sonew_kernels::sweep::{Strategy, Sweep};

use super::{RATES, Times};
use crate::lab::bench::BenchError;

pub(super) const GAMMA: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0078,
};

impl Times<'_> {
    pub(super) fn statistics<P: Precision>(
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
        let written = Self::outputs::<P>([], &states);
        self.time::<P>(("statistics", case), proof, bytes, written, || {
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
    pub(super) fn factor<P: Precision>(
        &mut self,
        checks: &[Check],
        band: usize,
    ) -> Result<(), BenchError> {
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
            let written = Self::outputs::<P>([], psi.iter().chain([&outputs[0]]));
            self.time::<P>(("banded-ldl", case.clone()), proof, bytes, written, || {
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
            let written = Self::outputs::<P>([], [&outputs[1]]);
            self.time::<P>(("precondition", case), proof, bytes, written, || {
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
    pub(super) fn step<P: Precision>(
        &mut self,
        checks: &[Check],
        band: usize,
    ) -> Result<(), BenchError> {
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
        let written = Self::outputs::<P>([&params], &states);
        self.time::<P>(("sonew-step", case), proof, bytes, written, || {
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
