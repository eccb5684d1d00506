//! Factor, precondition and descend in one launch: w ← w − η (L D Lᵀ m̂ + λ w), the factor never leaving the registers.

use core::any::type_name;

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::blueprint::{Blueprint, EdgeRemoval, Form, Tolerance};
use super::elimination::{Gamma, GammaLaunch};
use super::graft::{Graft, GraftBuffers, Lengths, graft_direction, stage};
use super::walk::{Walk, append_moment, lower, move_on, precondition_vector, restart};
use super::window::{Plan, append};
use crate::buffers::{array, optional, require_arena, require_bytes};
use crate::context::Context;
use crate::error::{Error, require_non_negative};
use crate::evidence::{PivotsFound, Slots, require_slots, slots};
use crate::first_order::{Average, average};
use crate::precision::{Precision, Storage, held};
use crate::segments::Segments;
use crate::sweep::{Strategy, run_start};

/// The scalars of an update, as the kernel sees them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Scalars {
    lr: f32,
    shrink: f32,
    correction1: f32,
    correction2: f32,
    epsilon: f32,
    relative_epsilon: f32,
    graft_epsilon: f32,
    graft_decay: Average,
}

#[cube]
impl Scalars {
    /// A copy in registers.
    fn held(&self) -> Scalars {
        Scalars {
            lr: held(self.lr),
            shrink: held(self.shrink),
            correction1: held(self.correction1),
            correction2: held(self.correction2),
            epsilon: held(self.epsilon),
            relative_epsilon: held(self.relative_epsilon),
            graft_epsilon: held(self.graft_epsilon),
            graft_decay: self.graft_decay.held(),
        }
    }
}

/// ε, what is added to the diagonal of Ĥ.
#[derive(Clone, Copy)]
pub enum Damping<'a> {
    /// Ĥ_jj + ε.
    Absolute(f64),
    /// Ĥ_jj + max(ε · ‖Ĥ‖₁, 10⁻¹⁶) per tensor, with ‖H‖₁ from [`super::largest_row_sum`].
    Relative {
        /// ε ≥ 0.
        epsilon: f64,
        /// ‖H‖₁ of each tensor, before bias correction; f32.
        row_sums: &'a Handle,
    },
}

/// The arenas that an update reads, and its evidence.
#[derive(Clone, Copy)]
pub struct UpdateBuffers<'a> {
    /// First moment m.
    pub moment: &'a Handle,
    /// Diagonal of H.
    pub diagonal: &'a Handle,
    /// Off-diagonals of H, nearest first; as many as the band is wide.
    pub edges: &'a [Handle],
    /// What the factor saw, one slot a unit: [`crate::evidence::PivotEvidence`].
    pub evidence: &'a Slots,
    /// For each block the tensor it belongs to ([`Segments::tensor_of_block`]); u32.
    pub tensor_of_block: &'a Handle,
}

/// What becomes of u = L D Lᵀ m̂.
#[derive(Clone, Copy)]
pub enum Descent<'a> {
    /// w ← w − η (u + λ w).
    Apply {
        /// Parameters, updated in place.
        params: &'a Handle,
        /// Learning rate η.
        lr: f64,
        /// Decoupled weight decay λ.
        weight_decay: f64,
    },
    /// u is stored, with ‖u‖ and the norm of the graft's update for each run; [`super::apply_graft`] descends.
    Stage(GraftBuffers<'a>),
}

/// Comptime part of the update's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mode {
    apply: bool,
    relative: bool,
    graft: Graft,
}

#[cube(launch_unchecked)]
fn update_kernel<S: Precision, NP: Size, NS: Size>(
    moment: &Array<Vector<<S::State as Storage>::Word, NS>>,
    diagonal: &Array<Vector<<S::State as Storage>::Word, NS>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    row_sums: &Sequence<Array<f32>>,
    tensor_of_block: &Array<u32>,
    grads: &Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    grad_norms: &Sequence<Array<f32>>,
    params: &mut Sequence<Array<Vector<<S::Params as Storage>::Word, NP>>>,
    second: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    direction: &mut Sequence<Array<Vector<<S::State as Storage>::Word, NS>>>,
    norms: &mut Sequence<Array<f32>>,
    evidence: &mut Array<u32>,
    stamp: u32,
    scalars: &Scalars,
    gamma: &Gamma,
    runs: u32,
    #[comptime] plan: Plan,
    #[comptime] mode: Mode,
) {
    let mut run = ABSOLUTE_POS;
    let scalars = scalars.held();
    let gamma = gamma.held();
    let mut found = PivotsFound::new();
    let mut walk = Walk::new(plan);
    while run < runs as usize {
        // Runs start behind the leading pad.
        let start = run_start(run, plan.sweep);
        let tensor = tensor_of_block[run / comptime!(plan.sweep.runs_per_block()) + 1] as usize;
        let mut epsilon = scalars.epsilon;
        if comptime!(mode.relative) {
            // Norms, and what is computed from them alone, are f32 in every precision. The product of the two numbers first:
            // ‖H‖₁ times the bias correction may be more than f32 holds.
            let factor = scalars.relative_epsilon * scalars.correction2;
            epsilon = max(factor * row_sums.index(0usize)[tensor], 1e-16f32);
        }
        restart(&mut walk, plan);
        let origin = start - plan.behind;
        for step in 0..plan.ahead {
            move_on(&mut walk, plan);
            read::<S, NS>(
                &mut walk,
                moment,
                diagonal,
                edges,
                origin + step,
                &scalars,
                epsilon,
                plan,
            );
        }
        let mut lengths = Lengths::new();
        for step in 0..comptime!(plan.behind + plan.sweep.run) {
            let at = origin + step;
            let owned = step >= plan.behind;
            move_on(&mut walk, plan);
            read::<S, NS>(
                &mut walk,
                moment,
                diagonal,
                edges,
                at + plan.ahead,
                &scalars,
                epsilon,
                plan,
            );
            let u = precondition_vector::<S::Math>(&mut walk, &mut found, owned, at, gamma, plan);
            if owned {
                if comptime!(mode.apply) {
                    let weights = S::Params::load::<NP>(params.index(0usize), at, plan.width);
                    let lowered =
                        lower::<S::Math>(&weights, &u, scalars.lr, scalars.shrink, plan.width);
                    S::Params::store::<NP>(params.index_mut(0usize), at, &lowered, plan.width);
                } else {
                    let other = graft_direction::<S, NP, NS>(
                        &walk.moment,
                        diagonal,
                        grads,
                        grad_norms,
                        second,
                        at,
                        tensor,
                        scalars.correction2,
                        scalars.graft_epsilon,
                        &scalars.graft_decay,
                        plan.width,
                        mode.graft,
                    );
                    let direction = direction.index_mut(0usize);
                    stage::<S::State, NS>(&u, &other, direction, &mut lengths, at, plan.width);
                }
            }
        }
        if comptime!(!mode.apply) {
            norms.index_mut(0usize)[run * 2] = lengths.u.root();
            norms.index_mut(0usize)[run * 2 + 1] = lengths.graft.root();
        }
        run += CUBE_COUNT * CUBE_DIM as usize;
    }
    crate::evidence::write_pivots(&found, evidence, stamp);
}

/// Reads Ĥ + ε and m̂ of the vector `at` into the end of the window.
#[cube]
fn read<S: Precision, N: Size>(
    walk: &mut Walk,
    moment: &Array<Vector<<S::State as Storage>::Word, N>>,
    diagonal: &Array<Vector<<S::State as Storage>::Word, N>>,
    edges: &Sequence<Array<Vector<<S::State as Storage>::Word, N>>>,
    at: usize,
    scalars: &Scalars,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    append::<S, N>(
        &mut walk.window,
        diagonal,
        edges,
        at,
        scalars.correction2,
        epsilon,
        plan,
    );
    let values = S::State::load::<N>(moment, at, plan.width);
    append_moment::<S::Math>(walk, &values, scalars.correction1, plan);
}

/// Factors, preconditions and descends (or stages for grafting) over the whole arena, in one launch.
///
/// `correction1` = 1/(1−β₁ᵗ) and `correction2` = 1/(1−β₂ᵗ), or 1 where statistics are sums.
///
/// # Errors
/// [`Error::Length`] if a buffer has another length than the arena or tables need, [`Error::Range`] for a
/// hyperparameter outside its range; launch errors as [`Context::launch`].
pub fn update<S: Precision>(
    context: &Context,
    segments: &Segments,
    buffers: UpdateBuffers<'_>,
    descent: Descent<'_>,
    damping: Damping<'_>,
    gamma: Tolerance,
    removal: EdgeRemoval,
    corrections: (f64, f64),
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let operation = "sonew update";
    let band = buffers.edges.len();
    let blueprint = strategy
        .resolve(|| Blueprint::of_step::<S>(context, band).walking::<S>(context.processor(), band));
    blueprint.check::<S>(
        operation,
        band,
        removal,
        segments,
        context.processor(),
        false,
    )?;
    gamma.check(operation)?;
    let n = segments.arena_len();
    require_arena::<S::State>(operation, "moment", buffers.moment, n)?;
    require_arena::<S::State>(operation, "diagonal", buffers.diagonal, n)?;
    for edge in buffers.edges {
        require_arena::<S::State>(operation, "edges", edge, n)?;
    }
    let table = 4 * segments.blocks() as u64;
    require_bytes(operation, "tensor_of_block", buffers.tensor_of_block, table)?;
    let per_tensor = 4 * segments.tensors().len() as u64;
    let non_negative = |argument, found| require_non_negative(operation, argument, found);
    let (epsilon, relative_epsilon, row_sums) = match damping {
        Damping::Absolute(epsilon) => (non_negative("epsilon", epsilon)?, 0.0, None),
        Damping::Relative { epsilon, row_sums } => {
            require_bytes(operation, "row_sums", row_sums, per_tensor)?;
            (
                0.0,
                non_negative("relative-epsilon", epsilon)?,
                Some(row_sums),
            )
        }
    };
    // The trailing and the leading pad are not walked.
    let runs = blueprint.sweep.runs(segments);
    let (params, stage, lr, weight_decay) = match descent {
        Descent::Apply {
            params,
            lr,
            weight_decay,
        } => {
            require_arena::<S::Params>(operation, "params", params, n)?;
            let lr = non_negative("lr", lr)?;
            (
                Some(params),
                None,
                lr,
                non_negative("weight-decay", weight_decay)?,
            )
        }
        Descent::Stage(stage) => {
            stage.check::<S>(operation, n, 8 * runs as u64, per_tensor)?;
            (None, Some(stage), 0.0, 0.0)
        }
    };
    let mode = Mode {
        apply: params.is_some(),
        relative: row_sums.is_some(),
        graft: stage.map_or(Graft::None, |stage| stage.graft),
    };
    let plan = Plan::new(band, removal, blueprint);
    let form = Form {
        one_launch: false,
        graft: mode.graft,
        relative: mode.relative,
    };
    let grid = blueprint.sweep.grid(segments, form.buffers(band));
    let (evidence, stamp) = require_slots(operation, buffers.evidence, grid)?;
    let vectors = n / plan.width;
    let variant = (type_name::<S>(), plan, mode, blueprint);
    context.launch(operation, variant, grid, move |client, cubes, units| {
        let mut edges = SequenceArg::new();
        for edge in buffers.edges {
            edges.push(array(edge, vectors));
        }
        let tensors = segments.tensors().len();
        let scalars = ScalarsLaunch::new(
            lr,
            lr * weight_decay,
            corrections.0 as f32,
            corrections.1 as f32,
            epsilon,
            relative_epsilon,
            stage.map_or(0.0, |s| s.epsilon as f32),
            average(stage.map_or(0.0, |s| s.decay)),
        );
        // SAFETY: every arena was checked to hold n values, every table and partial sum to have its length, and the
        // evidence a slot for each unit. Runs cover the blocks between the pads; a run reads at most
        // 3 · reach · width < BLOCK values before and after itself, which lie in the arena.
        unsafe {
            update_kernel::launch_unchecked::<S, Gpu>(
                client,
                cubes,
                units,
                plan.width / S::Params::PER_WORD,
                plan.width / S::State::PER_WORD,
                array(buffers.moment, vectors),
                array(buffers.diagonal, vectors),
                edges,
                optional(row_sums, tensors),
                array(buffers.tensor_of_block, segments.blocks()),
                optional(stage.and_then(|s| s.grads), vectors),
                optional(stage.and_then(|s| s.grad_norms), tensors),
                optional(params, vectors),
                optional(stage.and_then(|s| s.second), vectors),
                optional(stage.map(|s| s.direction), vectors),
                optional(stage.map(|s| s.norms), 2 * runs),
                slots(evidence, grid),
                stamp,
                scalars,
                GammaLaunch::new(gamma.absolute as f32, gamma.relative as f32),
                runs as u32,
                plan,
                mode,
            );
        }
    })
}
