//! The kernels on vectors: one tensor of n values, laid out in an arena of its own.

use cubecl::Runtime;
use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{
    Adagrad, Adam, Buffers, FirstOrder, Hyper, Momentum, Nesterov, RmsProp, Sgd, descend,
};
use sonew_kernels::precision::F32;
use sonew_kernels::segments::Segments;
use sonew_kernels::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, PreconditionBuffers, StatisticsBuffers,
    Tolerance, factor, precondition, statistics,
};
use sonew_kernels::sweep::{Strategy, Sweep};

use super::{Job, KernelIoError, Results};
use crate::arrays::Array;

struct Vectors<'a, R: Runtime> {
    context: &'a Context<R>,
    job: Job,
    segments: Segments,
    n: usize,
}

pub(super) fn run<R: Runtime>(
    context: &Context<R>,
    mut job: Job,
) -> Result<Results, KernelIoError> {
    // The first one-dimensional input fixes n.
    let lead = job
        .spec
        .inputs
        .iter()
        .find(|(_, shape)| *shape == "[n]")
        .map_or("g", |(name, _)| name);
    let (shape, values) = job.arrays.take_f32(lead)?;
    if shape.len() != 1 || values.is_empty() {
        return Err(job.misshapen(lead, shape, "[n] with n ≥ 1"));
    }
    let n = values.len();
    let mut vectors = Vectors {
        context,
        job,
        segments: Segments::new(&[n])?,
        n,
    };
    let first = vectors.arena(&values)?;
    match vectors.job.spec.name {
        "statistics" => vectors.statistics(&first),
        "banded-ldl" => vectors.factor(&first),
        "precondition" => vectors.precondition(&first),
        "sgd" => vectors.descend::<Sgd>(lead, &first),
        "momentum" => vectors.descend::<Momentum>(lead, &first),
        "nesterov" => vectors.descend::<Nesterov>(lead, &first),
        "adagrad" => vectors.descend::<Adagrad>(lead, &first),
        "rmsprop" => vectors.descend::<RmsProp>(lead, &first),
        _ => vectors.descend::<Adam>(lead, &first),
    }
}

impl<R: Runtime> Vectors<'_, R> {
    fn statistics(&mut self, grads: &Handle) -> Result<Results, KernelIoError> {
        let moment = self.vector("moment")?;
        let diagonal = self.vector("diagonal")?;
        let edges = self.band("edges")?;
        let sweep = Sweep::of::<F32, R>(self.context, "statistics", edges.len());
        let evidence = self.slots(sweep);
        let lambda = self.job.number("lambda")?;
        let decay = if lambda > 0.0 {
            Decay::Sum(lambda)
        } else {
            Decay::Average(self.job.number("beta2")?)
        };
        statistics::<F32, R>(
            self.context,
            &self.segments,
            StatisticsBuffers {
                grads,
                moment: &moment,
                diagonal: &diagonal,
                edges: &edges,
                evidence: &evidence,
            },
            self.job.number("beta1")?,
            decay,
            Strategy::Forced(sweep),
        )?;
        let mut out = Results::new();
        out.insert("moment".into(), self.read(&moment)?);
        out.insert("diagonal".into(), self.read(&diagonal)?);
        out.insert("edges".into(), self.read_band(&edges)?);
        Ok(out)
    }

    fn factor(&mut self, diagonal: &Handle) -> Result<Results, KernelIoError> {
        let edges = self.band("edges")?;
        let zeros = vec![0f32; self.n];
        let psi = (0..edges.len())
            .map(|_| self.arena(&zeros))
            .collect::<Result<Vec<_>, _>>()?;
        let d = self.arena(&zeros)?;
        let blueprint = Blueprint::of::<F32, R>(self.context, "banded-ldl", edges.len());
        let evidence = self.slots(blueprint.sweep);
        let name = &self.job.options["removal"];
        let known = EdgeRemoval::ALL.into_iter();
        let Some((_, removal)) = known.into_iter().find(|(known, _)| known == name) else {
            let known = EdgeRemoval::ALL.map(|(name, _)| name).join(", ");
            return Err(self.job.bad_option("removal", name, &known));
        };
        factor::<F32, R>(
            self.context,
            &self.segments,
            FactorBuffers {
                diagonal,
                edges: &edges,
                psi: &psi,
                d: &d,
                evidence: &evidence,
            },
            self.job.number("correction")?,
            self.job.number("epsilon")?,
            Tolerance {
                absolute: self.job.number("gamma")?,
                relative: self.job.number("relative-gamma")?,
            },
            removal,
            Strategy::Forced(blueprint),
        )?;
        let cut = Evidence::read(self.context, "banded-ldl", &evidence)?;
        let first = cut
            .first
            .and_then(|at| self.segments.locate(at))
            .map_or(self.n, |(_, index)| index);
        let mut out = Results::new();
        out.insert("psi".into(), self.read_band(&psi)?);
        out.insert("d".into(), self.read(&d)?);
        let word = |value: usize| Array::u32(vec![1], vec![value as u32]);
        out.insert("pivots_cut".into(), word(cut.count as usize));
        out.insert("first_cut".into(), word(first));
        Ok(out)
    }

    fn precondition(&mut self, d: &Handle) -> Result<Results, KernelIoError> {
        let psi = self.band("psi")?;
        let moment = self.vector("m")?;
        let direction = self.arena(&vec![0f32; self.n])?;
        precondition::<F32, R>(
            self.context,
            &self.segments,
            PreconditionBuffers {
                psi: &psi,
                d,
                moment: &moment,
                direction: &direction,
            },
            Strategy::Inferred,
        )?;
        Ok(Results::from([("u".into(), self.read(&direction)?)]))
    }

    fn descend<L: FirstOrder>(
        &mut self,
        lead: &'static str,
        params: &Handle,
    ) -> Result<Results, KernelIoError> {
        let grads = self.vector("g")?;
        let states = L::STATES
            .iter()
            .map(|name| match self.job.arrays.get(name) {
                Some(_) => self.vector(name),
                None => self.arena(&vec![0f32; self.n]),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let sweep = Sweep::of::<F32, R>(self.context, L::NAME, 0);
        let evidence = self.slots(sweep);
        let step = self.job.number("step")?;
        if step < 1.0 || step.fract() != 0.0 {
            return Err(self
                .job
                .bad_option("step", &step.to_string(), "a whole number from 1 on"));
        }
        let hyper = Hyper {
            lr: self.job.number("lr")?,
            beta1: self.job.number("beta1")?,
            beta2: self.job.number("beta2")?,
            epsilon: self.job.number("epsilon")?,
            weight_decay: self.job.number("weight-decay")?,
            step: step as u64,
        };
        let buffers = Buffers {
            params,
            grads: &grads,
            states: &states,
            evidence: &evidence,
        };
        descend::<L, F32, R>(
            self.context,
            &self.segments,
            buffers,
            hyper,
            Strategy::Forced(sweep),
        )?;
        let mut out = Results::from([(lead.to_owned(), self.read(params)?)]);
        for (name, state) in L::STATES.iter().zip(&states) {
            out.insert((*name).to_owned(), self.read(state)?);
        }
        Ok(out)
    }

    fn arena(&self, values: &[f32]) -> Result<Handle, KernelIoError> {
        Ok(self.context.upload(&self.segments.gather(&[values])?))
    }

    fn vector(&mut self, name: &'static str) -> Result<Handle, KernelIoError> {
        let (shape, values) = self.job.arrays.take_f32(name)?;
        if shape != [self.n] {
            return Err(self.job.misshapen(name, shape, format!("[{}]", self.n)));
        }
        self.arena(&values)
    }

    fn band(&mut self, name: &'static str) -> Result<Vec<Handle>, KernelIoError> {
        let (shape, values) = self.job.arrays.take_f32(name)?;
        if shape.len() != 2 || shape[1] != self.n {
            return Err(self.job.misshapen(name, shape, format!("[b, {}]", self.n)));
        }
        let n = self.n;
        (0..shape[0])
            .map(|k| {
                let mut line = values[k * n..(k + 1) * n].to_vec();
                // What would couple to a value beyond the tensor is no edge.
                line[n.saturating_sub(k + 1)..].fill(0.0);
                self.arena(&line)
            })
            .collect()
    }

    fn slots(&self, sweep: Sweep) -> Handle {
        let words = Evidence::bytes(sweep.total_units(&self.segments)) / 4;
        self.context.upload(&vec![0u32; words])
    }

    fn read(&self, arena: &Handle) -> Result<Array, KernelIoError> {
        let values: Vec<f32> = self.context.download(self.job.spec.name, arena)?;
        let tensor = self.segments.scatter(&values).swap_remove(0);
        Ok(Array::f32(vec![self.n], tensor))
    }

    fn read_band(&self, arenas: &[Handle]) -> Result<Array, KernelIoError> {
        let mut all = Vec::with_capacity(arenas.len() * self.n);
        for arena in arenas {
            let values: Vec<f32> = self.context.download(self.job.spec.name, arena)?;
            all.extend(self.segments.scatter(&values).swap_remove(0));
        }
        Ok(Array::f32(vec![arenas.len(), self.n], all))
    }
}
