//! What there is to run, with inputs, outputs and options.

use std::collections::BTreeMap;

use super::KernelIoError;

/// What a kernel reads, writes and can be told.
pub struct KernelSpec {
    /// The name.
    pub name: &'static str,
    /// What it computes.
    pub summary: &'static str,
    /// Input arrays, f32, with shapes.
    pub inputs: &'static [(&'static str, &'static str)],
    /// Output arrays with shapes.
    pub outputs: &'static [(&'static str, &'static str)],
    /// Options: key, default, meaning.
    pub options: &'static [(&'static str, &'static str, &'static str)],
}

impl KernelSpec {
    /// The kernel of that name.
    pub(super) fn named(name: &str) -> Result<&'static Self, KernelIoError> {
        KERNELS
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| KernelIoError::Unknown {
                found: name.into(),
                known: KERNELS
                    .iter()
                    .map(|k| k.name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The options, defaults replaced by what is set.
    pub(super) fn with_settings(
        &self,
        settings: &[(String, String)],
    ) -> Result<BTreeMap<&'static str, String>, KernelIoError> {
        let mut options: BTreeMap<_, _> = self
            .options
            .iter()
            .map(|&(key, default, _)| (key, default.to_owned()))
            .collect();
        for (key, value) in settings {
            let Some(slot) = options.get_mut(key.as_str()) else {
                let known: Vec<_> = self.options.iter().map(|o| o.0).collect();
                return Err(KernelIoError::Option {
                    kernel: self.name,
                    found: key.clone(),
                    expected: format!("unknown; the kernel has {known:?}"),
                });
            };
            slot.clone_from(value);
        }
        Ok(options)
    }
}

const STEP: &[(&str, &str, &str)] = &[
    ("lr", "0.001", "learning rate"),
    ("beta1", "0.9", "decay of the momentum"),
    ("beta2", "0.999", "decay of the second moment"),
    ("epsilon", "1e-8", "ε"),
    ("weight-decay", "0", "decoupled weight decay"),
    (
        "step",
        "1",
        "steps taken, this one included; for bias correction",
    ),
];

/// The kernels of `sonew kernel`; of those on vectors: n values in one tensor, b off-diagonals, entry i of the k-th couples i and i+1+k.
pub const KERNELS: &[KernelSpec] = &[
    KernelSpec {
        name: "statistics",
        summary: "m ← β₁ m + (1−β₁) g; H ← β₂ H + (1−β₂) P(g gᵀ)",
        inputs: &[
            ("g", "[n]"),
            ("moment", "[n]"),
            ("diagonal", "[n]"),
            ("edges", "[b, n]"),
        ],
        outputs: &[("moment", "[n]"), ("diagonal", "[n]"), ("edges", "[b, n]")],
        options: &[
            ("beta1", "0.9", "decay of m"),
            ("beta2", "0.999", "decay of H"),
            ("lambda", "0", "if > 0: H ← H + P(g gᵀ)/λ instead"),
        ],
    },
    KernelSpec {
        name: "banded-ldl",
        summary: "X = L D Lᵀ with X⁻¹ = c·H + ε on the band: L_{j+1+k, j} = −psi[k, j], D = d",
        inputs: &[("diagonal", "[n]"), ("edges", "[b, n]")],
        outputs: &[
            ("psi", "[b, n]"),
            ("d", "[n]"),
            ("pivots_cut", "[1] u32"),
            ("first_cut", "[1] u32 (n if none)"),
        ],
        options: &[
            ("correction", "1", "c, the bias correction of H"),
            ("epsilon", "0", "ε, added to the diagonal"),
            ("gamma", "0", "absolute part of the pivot tolerance"),
            ("relative-gamma", "1e-7", "part relative to H_jj"),
            (
                "removal",
                "incident",
                "edges cut at a failing pivot: outgoing or incident; or none: clamp or reweight",
            ),
        ],
    },
    KernelSpec {
        name: "precondition",
        summary: "u = L D Lᵀ m",
        inputs: &[("psi", "[b, n]"), ("d", "[n]"), ("m", "[n]")],
        outputs: &[("u", "[n]")],
        options: &[],
    },
    KernelSpec {
        name: "inverse-root",
        summary: "X = (S + ridge · I)^(-1/p) of a symmetric positive semi-definite matrix",
        inputs: &[("s", "[n, n]")],
        outputs: &[
            ("x", "[n, n]"),
            ("ridge", "[1] (what was added to the diagonal)"),
            ("iterations", "[1] u32"),
            (
                "residual",
                "[1] (distance of M from I, or of S from its decomposition)",
            ),
            ("check", "[1] (|vᵀ X^(p/2) (S + ridge · I) X^(p/2) v − 1|)"),
            (
                "accepted",
                "[1] u32 (1 if residual and check are below 0.1)",
            ),
        ],
        options: &[
            ("p", "4", "the order"),
            ("relative-ridge", "0", "ε, for a ridge of ε · λ_max"),
            ("ridge", "0", "the ridge, if relative-ridge is 0"),
            (
                "root",
                "eigen",
                "eigen, newton, newton-double or newton-refreshed in host memory, or newton-device",
            ),
        ],
    },
    KernelSpec {
        name: "kronecker-apply",
        summary: "D = L G R, or L G without r, in host memory",
        inputs: &[
            ("g", "[m, n]"),
            ("l", "[m, m]"),
            ("r", "[n, n] (may be absent)"),
        ],
        outputs: &[("d", "[m, n]")],
        options: &[],
    },
    first_order_spec("sgd", &[("w", "[n]"), ("g", "[n]")], &[("w", "[n]")]),
    first_order_spec("momentum", VELOCITY_IN, VELOCITY_OUT),
    first_order_spec("nesterov", VELOCITY_IN, VELOCITY_OUT),
    first_order_spec(
        "adagrad",
        &[("w", "[n]"), ("g", "[n]"), ("accumulator", "[n]")],
        &[("w", "[n]"), ("accumulator", "[n]")],
    ),
    first_order_spec(
        "rmsprop",
        &[
            ("w", "[n]"),
            ("g", "[n]"),
            ("second_moment", "[n]"),
            ("velocity", "[n]"),
        ],
        &[("w", "[n]"), ("second_moment", "[n]"), ("velocity", "[n]")],
    ),
    first_order_spec(
        "adam",
        &[
            ("w", "[n]"),
            ("g", "[n]"),
            ("first_moment", "[n]"),
            ("second_moment", "[n]"),
        ],
        &[
            ("w", "[n]"),
            ("first_moment", "[n]"),
            ("second_moment", "[n]"),
        ],
    ),
];

const VELOCITY_IN: &[(&str, &str)] = &[("w", "[n]"), ("g", "[n]"), ("velocity", "[n]")];
const VELOCITY_OUT: &[(&str, &str)] = &[("w", "[n]"), ("velocity", "[n]")];

const fn first_order_spec(
    name: &'static str,
    inputs: &'static [(&'static str, &'static str)],
    outputs: &'static [(&'static str, &'static str)],
) -> KernelSpec {
    KernelSpec {
        name,
        summary: "one step of the rule; states are optional inputs that default to 0",
        inputs,
        outputs,
        options: STEP,
    }
}
