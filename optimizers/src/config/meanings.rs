//! What each setting means, in words, for `sonew optimizers`.

use serde::Serialize;

/// One setting of an optimizer, for listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key of `--set key=value`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it means.
    pub meaning: &'static str,
}

pub(super) const MEANINGS: &[(&str, &str)] = &[
    (
        "beta1",
        "decay of the momentum, 0 ≤ β < 1 (also called momentum)",
    ),
    (
        "beta2",
        "decay of the second moment or of the statistics, 0 ≤ β < 1 (Shampoo: 0 < β)",
    ),
    (
        "epsilon",
        "ε ≥ 0: Adam outside the root, Adagrad and RMSProp inside, SONew on the diagonal of Ĥ, Shampoo the ridge of a root",
    ),
    (
        "weight-decay",
        "decoupled weight decay λ ≥ 0: w loses η λ w",
    ),
    (
        "initial-accumulator",
        "where Adagrad's sum of squares starts, ≥ 0",
    ),
    (
        "statistics",
        "average (moving average, bias-corrected) or sum (H + g gᵀ/λ)",
    ),
    ("lambda", "λ > 0 of statistics=sum"),
    (
        "relative-epsilon",
        "if > 0: max(this · ‖Ĥ‖₁, 1e-16) per tensor replaces epsilon",
    ),
    ("gamma", "absolute part of the pivot tolerance γ, ≥ 0"),
    (
        "relative-gamma",
        "part of the pivot tolerance γ relative to Ĥ_jj, 0 ≤ γ < 1",
    ),
    (
        "removal",
        "edges of a failing pivot that are cut: outgoing (to later neighbours) or incident (all); or none: clamp (the pivot is raised to γ) or reweight (the farthest entry is changed until it is γ)",
    ),
    (
        "graft",
        "whose step length is taken over, per tensor: none, sgd, momentum (SONew only), adam, rmsprop",
    ),
    ("graft-epsilon", "ε ≥ 0 of the graft"),
    (
        "ridge",
        "relative (epsilon · λ_max of each factor) or absolute",
    ),
    (
        "exponent",
        "p of the inverse p-th roots, at most 64; 0: twice the number of axes",
    ),
    (
        "root",
        "how roots are computed: eigen (f64), newton (f32, as published), newton-double (f64) or newton-bf16, all on the host; newton-refreshed (f32), where the products are; auto: eigen if that is the host, else newton-refreshed, and newton-bf16 of bf16 factors",
    ),
    (
        "factors",
        "how statistics and roots are held: f32, or bf16 (on the host), to see what that costs",
    ),
    (
        "products",
        "where statistics and directions are multiplied: auto (host on a software driver), host or device",
    ),
    (
        "residual-threshold",
        "a root whose residual or check is not below this is refused, > 0",
    ),
    (
        "tolerated-failures",
        "refused roots of one factor in a row that are no error; the last good one stays in use",
    ),
    (
        "root-interval",
        "steps between computations of the roots, ≥ 1",
    ),
    (
        "spread-roots",
        "true: an interval's roots are computed over it, a few each step, and used from its end on",
    ),
    (
        "statistics-interval",
        "steps between updates of the statistics, ≥ 1",
    ),
    (
        "start-step",
        "first step, from 0 on, along the preconditioned gradient; the graft's update before",
    ),
    ("nesterov", "true: Nesterov's form of the momenta"),
    (
        "vectors",
        "true: vectors are preconditioned with p = 2; false: left to the graft",
    ),
    ("block-size", "longest side of a block, ≥ 1"),
    (
        "merge-size",
        "neighbouring axes are merged while their product is at most this",
    ),
    (
        "largest-size",
        "tensors with a longer axis than this are left to the graft",
    ),
];
