//! Several optimizers over one arena, each with its part.

use std::time::Duration;

use sonew_kernels::arena::{Arena, Layout, Part};
use sonew_kernels::error::Error as KernelError;

use crate::{Error, Keeper, Optimizer, RootsReport, StepReport};

pub(crate) struct Parts {
    layout: Layout,
    parts: Vec<OwnPart>,
    /// What each tensor gets, in words.
    words: Vec<String>,
    steps: u64,
}

pub(crate) struct OwnPart {
    pub part: Part,
    /// Unlike that of the others.
    pub label: String,
    pub optimizer: Box<dyn Optimizer>,
    /// The largest factor of its learning rates.
    pub most: f64,
}

impl Parts {
    pub fn new(layout: &Layout, parts: Vec<OwnPart>, words: Vec<String>) -> Self {
        Self {
            layout: layout.clone(),
            parts,
            words,
            steps: 0,
        }
    }

    /// Refuses what a part would refuse, before any has moved.
    fn check(&self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        for (argument, arena) in [("params", params), ("grads", grads)] {
            arena.require("step", argument, &self.layout, params.format())?;
        }
        let most = self.parts.iter().map(|it| it.most).fold(1.0, f64::max);
        if lr >= 0.0 && ((lr * most) as f32).is_finite() {
            return Ok(());
        }
        Err(Error::Kernel(KernelError::Range {
            operation: "step",
            argument: "lr",
            found: lr,
            expected: "≥ 0 and finite in f32 times the factors of all groups",
        }))
    }

    /// The mean over all values, those of frozen tensors included, of what is told per value of a part.
    fn per_parameter(&self, of: impl Fn(&dyn Optimizer) -> f64) -> f64 {
        let parts = self.parts.iter();
        let all = parts.map(|it| of(&*it.optimizer) * it.part.layout().parameters() as f64);
        // A sum of nothing is −0.
        all.fold(0.0, |sum, it| sum + it) / self.layout.parameters() as f64
    }
}

impl Optimizer for Parts {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        self.check(params, grads, lr)?;
        for own in &mut self.parts {
            let of_part = |argument, arena| own.part.of("step", argument, arena);
            let (params, grads) = (of_part("params", params)?, of_part("grads", grads)?);
            own.optimizer.step(&params, &grads, lr)?;
        }
        self.steps += 1;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let mut all = StepReport {
            step: self.steps,
            ..StepReport::default()
        };
        for own in &self.parts {
            let report = own.optimizer.report()?;
            let whole = |(tensor, at): (usize, usize)| (own.part.tensors()[tensor], at);
            let earlier = |a: Option<(usize, usize)>, b: Option<(usize, usize)>| {
                a.into_iter().chain(b.map(whole)).min()
            };
            let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
            };
            all.non_finite_gradients += report.non_finite_gradients;
            all.first_non_finite = earlier(all.first_non_finite, report.first_non_finite);
            all.pivots_cut = sum(all.pivots_cut, report.pivots_cut);
            all.first_cut = earlier(all.first_cut, report.first_cut);
            all.pivots_out_of_range = sum(all.pivots_out_of_range, report.pivots_out_of_range);
            all.roots = match (all.roots, report.roots) {
                (Some(a), Some(b)) => Some(together(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(all)
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        keeper.record("steps", &mut self.steps)?;
        for own in &mut self.parts {
            keeper.scoped(&own.label, |keeper| own.optimizer.keep(keeper))?;
        }
        Ok(())
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        self.per_parameter(|it| it.state_bytes_per_parameter())
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        self.per_parameter(|it| it.scratch_bytes_per_parameter())
    }

    fn parts(&self) -> Vec<(&'static str, Duration)> {
        let mut all: Vec<(&'static str, Duration)> = Vec::new();
        for (part, spent) in self.parts.iter().flat_map(|it| it.optimizer.parts()) {
            match all.iter_mut().find(|(known, _)| *known == part) {
                Some((_, total)) => *total += spent,
                None => all.push((part, spent)),
            }
        }
        all
    }

    fn assignments(&self) -> Vec<String> {
        let mut all = self.words.clone();
        for own in &self.parts {
            let more = own.optimizer.assignments();
            for (&tensor, more) in own.part.tensors().iter().zip(more) {
                all[tensor] += &format!(": {more}");
            }
        }
        all
    }
}

fn together(a: RootsReport, b: RootsReport) -> RootsReport {
    RootsReport {
        refused: a.refused + b.refused,
        raised: a.raised + b.raised,
        most_iterations: a.most_iterations.max(b.most_iterations),
        largest_residual: a.largest_residual.max(b.largest_residual),
        largest_check: a.largest_check.max(b.largest_check),
    }
}
