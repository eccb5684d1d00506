//! What stands around a step: conversions, and the look at a gradient.

use sonew_kernels::contract::Check;
use sonew_kernels::precision::{
    HostFormat, Native, Precision, Storage, convert, inspect, round_stochastically,
};
use sonew_kernels::sweep::{Strategy, Sweep};

use super::Times;
use crate::lab::bench::BenchError;
use crate::lab::bench::stopwatch::Output;

impl Times<'_> {
    /// From the format of the parameters to f32.
    pub(super) fn conversion<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        if !self.request.asks("convert") {
            return Ok(());
        }
        let from = self.filled::<P::Params>(0);
        let to = self.zeros::<Native<f32>>(self.segments.arena_len());
        let (context, segments) = (self.context, self.segments.clone());
        let sweep = Strategy::Forced(Sweep::plain::<P>(context, "convert"));
        let case = format!("{} to f32", <P::Params as HostFormat>::NAME);
        let proof = (checks, ("convert", <P::Params as HostFormat>::NAME));
        let bytes = <P::Params as Storage>::BYTES + 4;
        let written = vec![Output {
            handle: to.clone(),
            bytes: 4,
        }];
        self.time::<P>(("convert", case), proof, bytes, written, || {
            convert::<P::Params, Native<f32>>(context, &segments, &from, &to, sweep)?;
            Ok(())
        })
    }

    /// From f32 to the format of the parameters, to one of the neighbours of each value.
    pub(super) fn draws<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        let kernel = "stochastic-rounding";
        if !self.request.asks(kernel) {
            return Ok(());
        }
        let from = self.filled::<Native<f32>>(0);
        let to = self.zeros::<P::Params>(self.segments.arena_len());
        let (context, segments) = (self.context, self.segments.clone());
        let sweep = Strategy::Forced(Sweep::plain::<P>(context, kernel));
        let case = format!("to {}", <P::Params as HostFormat>::NAME);
        let bytes = <P::Params as Storage>::BYTES + 4;
        let proof = (checks, (kernel, ""));
        // What it draws depends on where a value lies.
        self.time::<P>((kernel, case), proof, bytes, Vec::new(), || {
            round_stochastically::<P::Params>(context, &segments, &from, &to, 5, 3, sweep)?;
            Ok(())
        })
    }

    /// A gradient looked at, widened and scaled.
    pub(super) fn inspection<P: Precision>(&mut self, checks: &[Check]) -> Result<(), BenchError> {
        if !self.request.asks("inspect") {
            return Ok(());
        }
        let grads = self.filled::<P::Params>(2);
        let to = self.zeros::<Native<f32>>(self.segments.arena_len());
        let (context, segments) = (self.context, self.segments.clone());
        let sweep = Sweep::plain::<P>(context, "inspect");
        let slots = self.slots(sweep);
        let sweep = Strategy::Forced(sweep);
        let bytes = <P::Params as Storage>::BYTES + 4;
        let subject = ("inspect", "scaled".into());
        let written = vec![Output {
            handle: to.clone(),
            bytes: 4,
        }];
        self.time::<P>(subject, (checks, ("inspect", "")), bytes, written, || {
            inspect::<P::Params>(context, &segments, &grads, Some(&to), 0.25, &slots, sweep)?;
            Ok(())
        })
    }
}
