//! SONew as an optimizer. One launch a step where the runs of a unit are long enough for few ghost columns, otherwise statistics,
//! then factor, precondition and descent. Two more launches where grafting needs norms, where ε is relative, which takes statistics
//! apart, and where the RMSProp graft normalises the gradient.

use std::marker::PhantomData;
use std::rc::Rc;

use cubecl::server::Handle;
use sonew_kernels::arena::{Arena, Segments, Slots};
use sonew_kernels::context::Context;
use sonew_kernels::evidence::{Evidence, PivotEvidence};
use sonew_kernels::first_order::Hyper;
use sonew_kernels::precision::{HostFormat, Precision, Storage};
use sonew_kernels::sonew::{
    Blueprint, Damping, Decay, Descent, Form, Ghosts, Graft, GraftBuffers, PerTensor, Reduction,
    StatisticsBuffers, StepBuffers, StepRates, Tolerance, UpdateBuffers, apply_graft,
    largest_row_sum, norm_per_tensor, statistics, step, update,
};
use sonew_kernels::sweep::{Strategy, Sweep};

use crate::{Error, Optimizer, SonewConfig, StatisticsForm, StepReport};

pub(crate) struct Sonew<P> {
    config: SonewConfig,
    context: Rc<Context>,
    segments: Segments,
    moment: Arena,
    diagonal: Arena,
    edges: Vec<Arena>,
    tensor_of_block: Handle,
    non_finite: Slots,
    cut: Slots,
    scratch: Option<Scratch>,
    /// Whether a step is one launch; the states then have ghost columns.
    fused: bool,
    sweep: Sweep,
    blueprint: Blueprint,
    step: u64,
    precision: PhantomData<P>,
}

/// What per-tensor norms need, allocated once.
struct Scratch {
    reduction: Reduction,
    /// One value for each block between the pads.
    block_partials: Handle,
    /// One value for each tensor: ‖H‖₁, then ‖g‖.
    row_sums: Handle,
    grad_norms: Handle,
    staged: Option<Staged>,
}

/// What grafting needs.
struct Staged {
    direction: Arena,
    block_norms: Handle,
    tensor_norms: Handle,
    second: Option<Arena>,
}

impl<P: Precision> Sonew<P> {
    pub(crate) fn new(
        config: SonewConfig,
        context: Rc<Context>,
        segments: &Segments,
    ) -> Result<Self, Error> {
        let sweep = Sweep::of::<P>(&context, "statistics", config.band);
        let grafting = config.graft != Graft::None;
        let relative = config.relative_epsilon > 0.0;
        let norms = grafting || relative;
        let factor = (config.band, config.removal);
        let (form, blueprint) =
            Form::choose::<P>(&context, segments, factor, config.graft, relative);
        let fused = form.one_launch;
        let ghosts = Ghosts::new(segments, config.band, config.removal, blueprint);
        blueprint.require::<P>("building SONew", &context, segments, factor, form)?;
        if fused {
            let bytes = (P::State::BYTES * ghosts.state_len()) as u64;
            context.require_buffer("building SONew", "a state with its ghost columns", bytes)?;
        }
        let arena = || Arena::zeros(&context, segments, P::State::FORMAT);
        let state = || {
            if fused {
                Arena::zeros_with_ghosts(&context, segments, P::State::FORMAT, ghosts)
            } else {
                Ok(arena())
            }
        };
        let values = |count: usize| context.upload(&vec![0f32; count]);
        let slots = |sweep: Sweep| Slots::of(&context, segments, sweep);
        let tensors = segments.tensors().len();
        let inner = segments.blocks() - 2;
        let staged = grafting.then(|| Staged {
            direction: arena(),
            block_norms: values(blueprint.sweep.norms(segments)),
            tensor_norms: values(2 * tensors),
            second: (config.graft == Graft::RmsProp).then(arena),
        });
        let scratch = norms.then(|| Scratch {
            reduction: Reduction::new(&context, segments),
            block_partials: values(inner),
            row_sums: values(tensors),
            grad_norms: values(tensors),
            staged,
        });
        Ok(Self {
            moment: state()?,
            diagonal: state()?,
            edges: (0..config.band)
                .map(|_| state())
                .collect::<Result<_, _>>()?,
            tensor_of_block: context.upload(&segments.tensor_of_block()),
            non_finite: slots(if fused { blueprint.sweep } else { sweep }),
            cut: slots(blueprint.sweep),
            scratch,
            fused,
            segments: segments.clone(),
            sweep,
            blueprint,
            config,
            context,
            step: 0,
            precision: PhantomData,
        })
    }

    fn decay(&self) -> Decay {
        match self.config.statistics {
            StatisticsForm::Average => Decay::Average(self.config.beta2),
            StatisticsForm::Sum => Decay::Sum(self.config.lambda),
        }
    }

    fn per_tensor<'a>(&'a self, values: &'a Handle) -> PerTensor<'a> {
        PerTensor {
            values,
            tensor_of_block: &self.tensor_of_block,
        }
    }

    /// ‖H‖₁ per tensor, where ε is relative to it.
    fn damping(&self) -> Result<Damping<'_>, Error> {
        let Some(scratch) = self
            .scratch
            .as_ref()
            .filter(|_| self.config.relative_epsilon > 0.0)
        else {
            return Ok(Damping::Absolute(self.config.epsilon));
        };
        largest_row_sum::<P>(
            &self.context,
            &scratch.reduction,
            &self.diagonal,
            &self.edges,
            &scratch.block_partials,
            &scratch.row_sums,
        )?;
        Ok(Damping::Relative {
            epsilon: self.config.relative_epsilon,
            row_sums: self.per_tensor(&scratch.row_sums),
        })
    }

    /// (1/(1−β₁ᵗ), 1/(1−β₂ᵗ)), the latter 1 where statistics are sums.
    fn corrections(&self, t: u64) -> (f64, f64) {
        let second = match self.config.statistics {
            StatisticsForm::Average => Hyper::correction(self.config.beta2, t),
            StatisticsForm::Sum => 1.0,
        };
        (Hyper::correction(self.config.beta1, t), second)
    }

    fn gamma(&self) -> Tolerance {
        Tolerance {
            absolute: self.config.gamma,
            relative: self.config.relative_gamma.resolve::<P>(),
        }
    }

    /// Everything in one launch; with a graft u is staged.
    fn step_fused(
        &self,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
        lr: f64,
        t: u64,
    ) -> Result<(), Error> {
        let config = self.config;
        step::<P>(
            &self.context,
            StepBuffers {
                params,
                graft,
                grads,
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                non_finite: &self.non_finite,
                cut: &self.cut,
            },
            StepRates {
                lr,
                weight_decay: config.weight_decay,
                beta1: config.beta1,
                decay: self.decay(),
                epsilon: config.epsilon,
                corrections: self.corrections(t),
            },
            self.gamma(),
            config.removal,
            Strategy::Forced(self.blueprint),
        )?;
        Ok(())
    }

    /// Statistics in a launch of their own, then what needs them.
    fn step_apart(
        &self,
        params: &Arena,
        grads: &Arena,
        graft: Option<GraftBuffers<'_>>,
        lr: f64,
        t: u64,
    ) -> Result<(), Error> {
        let config = self.config;
        statistics::<P>(
            &self.context,
            StatisticsBuffers {
                grads,
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                evidence: &self.non_finite,
            },
            config.beta1,
            self.decay(),
            Strategy::Forced(self.sweep),
        )?;
        let damping = self.damping()?;
        let descent = match graft {
            Some(stage) => Descent::Stage(stage),
            None => Descent::Apply {
                params,
                lr,
                weight_decay: config.weight_decay,
            },
        };
        self.update(descent, damping, t)
    }

    /// What grafting needs, where there is a graft.
    fn staged(&self) -> Option<(&Scratch, &Staged)> {
        let scratch = self.scratch.as_ref()?;
        Some((scratch, scratch.staged.as_ref()?))
    }

    /// Where u is staged for the graft, and the norm of the gradient if it needs that.
    fn stage<'a>(&'a self, grads: &'a Arena) -> Result<Option<GraftBuffers<'a>>, Error> {
        let config = self.config;
        let Some((scratch, staged)) = self.staged() else {
            return Ok(None);
        };
        let rmsprop = config.graft == Graft::RmsProp;
        if rmsprop {
            norm_per_tensor::<P>(
                &self.context,
                &scratch.reduction,
                grads,
                &scratch.block_partials,
                &scratch.grad_norms,
            )?;
        }
        Ok(Some(GraftBuffers {
            graft: config.graft,
            epsilon: config.graft_epsilon,
            decay: config.beta2,
            direction: &staged.direction,
            norms: &staged.block_norms,
            grads: (rmsprop || config.graft == Graft::Sgd).then_some(grads),
            grad_norms: rmsprop.then(|| self.per_tensor(&scratch.grad_norms)),
            second: staged.second.as_ref(),
        }))
    }

    /// Takes the norms of the blocks together, and descends along what was staged.
    fn graft(&self, params: &Arena, lr: f64) -> Result<(), Error> {
        let Some((scratch, staged)) = self.staged() else {
            return Ok(());
        };
        scratch.reduction.pairs_of_norms(
            &self.context,
            &staged.block_norms,
            self.blueprint.sweep,
            &staged.tensor_norms,
        )?;
        apply_graft::<P>(
            &self.context,
            params,
            &staged.direction,
            &staged.tensor_norms,
            &self.tensor_of_block,
            lr,
            self.config.weight_decay,
            Strategy::Inferred,
        )?;
        Ok(())
    }

    fn update(&self, descent: Descent<'_>, damping: Damping<'_>, t: u64) -> Result<(), Error> {
        update::<P>(
            &self.context,
            UpdateBuffers {
                moment: &self.moment,
                diagonal: &self.diagonal,
                edges: &self.edges,
                evidence: &self.cut,
            },
            descent,
            damping,
            self.gamma(),
            self.config.removal,
            self.corrections(t),
            Strategy::Forced(self.blueprint),
        )?;
        Ok(())
    }
}

impl<P: Precision> Optimizer for Sonew<P> {
    fn step(&mut self, params: &Arena, grads: &Arena, lr: f64) -> Result<(), Error> {
        let t = self.step + 1;
        let graft = self.stage(grads)?;
        if self.fused {
            self.step_fused(params, grads, graft, lr, t)?;
        } else {
            self.step_apart(params, grads, graft, lr, t)?;
        }
        self.graft(params, lr)?;
        self.step = t;
        Ok(())
    }

    fn report(&self) -> Result<StepReport, Error> {
        let operation = "sonew report";
        let non_finite = Evidence::read(&self.context, operation, &self.non_finite)?;
        let pivots = PivotEvidence::read(&self.context, operation, &self.cut)?;
        Ok(StepReport::new(
            self.step,
            &self.segments,
            non_finite,
            Some(pivots),
        ))
    }

    fn steps(&self) -> u64 {
        self.step
    }

    fn state_bytes_per_parameter(&self) -> f64 {
        let graft = usize::from(self.config.graft == Graft::RmsProp);
        (P::State::BYTES * (2 + self.config.band + graft)) as f64
    }

    fn scratch_bytes_per_parameter(&self) -> f64 {
        let staged = usize::from(self.config.graft != Graft::None);
        (P::State::BYTES * staged) as f64
    }
}
