//! One kernel on arrays from a file: for kernel developers and for other languages that want to check one.

use std::collections::BTreeMap;
use std::path::Path;

use cubecl::Runtime;
use cubecl::server::Handle;
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
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

use crate::arrays::{self, Array, Arrays, ArraysError};

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

/// The kernels of `sonew kernel`; n values in one tensor, b off-diagonals, entry i of the k-th couples i and i+1+k.
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
            ("first_cut", "[1] u32, n if none"),
        ],
        options: &[
            ("correction", "1", "c, the bias correction of H"),
            ("epsilon", "0", "ε, added to the diagonal"),
            ("gamma", "0", "absolute part of the pivot tolerance"),
            ("relative-gamma", "1e-7", "part relative to H_jj"),
            (
                "removal",
                "incident",
                "edges cut at a failing pivot: outgoing or incident",
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

/// Why a kernel could not be run on a file.
#[derive(Debug, thiserror::Error)]
pub enum KernelIoError {
    /// No kernel has this name.
    #[error("no kernel is called `{found}`; `sonew kernel --list` shows them: {known}")]
    Unknown {
        /// The name found.
        found: String,
        /// The names there are.
        known: String,
    },
    /// An option is not one of the kernel's, or cannot be read.
    #[error("kernel {kernel}: option {found}: {expected}")]
    Option {
        /// The kernel.
        kernel: &'static str,
        /// What was given.
        found: String,
        /// What it expects.
        expected: String,
    },
    /// An array does not have the shape the others ask for.
    #[error("kernel {kernel}: array `{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The array.
        array: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape expected.
        expected: String,
    },
    /// The file.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A kernel, its options and its file.
struct Job<'a, R: Runtime> {
    context: &'a Context<R>,
    spec: &'static KernelSpec,
    options: BTreeMap<&'static str, String>,
    arrays: Arrays,
    segments: Segments,
    n: usize,
}

/// Runs the kernel `name` on the arrays of `input` and writes its outputs to `output`.
///
/// # Errors
/// Unknown names and options, missing or misshapen arrays, and whatever the kernel refuses.
pub fn run<R: Runtime>(
    context: &Context<R>,
    name: &str,
    input: &Path,
    output: &Path,
    settings: &[(String, String)],
) -> Result<(), KernelIoError> {
    let spec = KERNELS
        .iter()
        .find(|spec| spec.name == name)
        .ok_or_else(|| KernelIoError::Unknown {
            found: name.into(),
            known: KERNELS
                .iter()
                .map(|k| k.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let mut options: BTreeMap<_, _> = spec
        .options
        .iter()
        .map(|&(key, default, _)| (key, default.to_owned()))
        .collect();
    for (key, value) in settings {
        match options.get_mut(key.as_str()) {
            Some(slot) => slot.clone_from(value),
            None => {
                let known: Vec<_> = spec.options.iter().map(|o| o.0).collect();
                return Err(KernelIoError::Option {
                    kernel: spec.name,
                    found: key.clone(),
                    expected: format!("unknown; the kernel has {known:?}"),
                });
            }
        }
    }
    let mut arrays = Arrays::read(input)?;
    // The first one-dimensional input fixes n.
    let lead = spec
        .inputs
        .iter()
        .find(|(_, shape)| *shape == "[n]")
        .map_or("g", |(name, _)| name);
    let (shape, values) = arrays.take_f32(lead)?;
    let n = values.len();
    let vector = shape.len() == 1 && n > 0;
    if !vector {
        return Err(KernelIoError::Shape {
            kernel: spec.name,
            array: lead,
            found: shape,
            expected: "[n] with n ≥ 1".into(),
        });
    }
    let segments = Segments::new(&[n])?;
    let job = Job {
        context,
        spec,
        options,
        arrays,
        segments,
        n,
    };
    let results = job.dispatch(lead, &values)?;
    arrays::write(output, &results)?;
    Ok(())
}

type Results = BTreeMap<String, Array>;

impl<R: Runtime> Job<'_, R> {
    fn dispatch(mut self, lead: &'static str, values: &[f32]) -> Result<Results, KernelIoError> {
        let first = self.arena(values)?;
        match self.spec.name {
            "statistics" => self.statistics(&first),
            "banded-ldl" => self.factor(&first),
            "precondition" => self.precondition(&first),
            "sgd" => self.descend::<Sgd>(lead, &first),
            "momentum" => self.descend::<Momentum>(lead, &first),
            "nesterov" => self.descend::<Nesterov>(lead, &first),
            "adagrad" => self.descend::<Adagrad>(lead, &first),
            "rmsprop" => self.descend::<RmsProp>(lead, &first),
            _ => self.descend::<Adam>(lead, &first),
        }
    }

    fn statistics(&mut self, grads: &Handle) -> Result<Results, KernelIoError> {
        let moment = self.vector("moment")?;
        let diagonal = self.vector("diagonal")?;
        let edges = self.band("edges")?;
        let sweep = Sweep::infer(self.context.processor());
        let evidence = self.slots(sweep);
        let lambda = self.number("lambda")?;
        let decay = if lambda > 0.0 {
            Decay::Sum(lambda)
        } else {
            Decay::Average(self.number("beta2")?)
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
            self.number("beta1")?,
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
        let blueprint = Blueprint::infer(self.context.processor(), edges.len());
        let evidence = self.slots(blueprint.sweep);
        let removal = match self.options["removal"].as_str() {
            "outgoing" => EdgeRemoval::Outgoing,
            "incident" => EdgeRemoval::Incident,
            other => {
                return Err(self.bad_option("removal", other, "outgoing or incident"));
            }
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
            self.number("correction")?,
            self.number("epsilon")?,
            Tolerance {
                absolute: self.number("gamma")?,
                relative: self.number("relative-gamma")?,
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
            .map(|name| match self.arrays.get(name) {
                Some(_) => self.vector(name),
                None => self.arena(&vec![0f32; self.n]),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let sweep = Sweep::infer(self.context.processor());
        let evidence = self.slots(sweep);
        let step = self.number("step")?;
        if step < 1.0 || step.fract() != 0.0 {
            return Err(self.bad_option("step", &step.to_string(), "a whole number from 1 on"));
        }
        let hyper = Hyper {
            lr: self.number("lr")?,
            beta1: self.number("beta1")?,
            beta2: self.number("beta2")?,
            epsilon: self.number("epsilon")?,
            weight_decay: self.number("weight-decay")?,
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
        let (shape, values) = self.arrays.take_f32(name)?;
        if shape != [self.n] {
            return Err(self.misshapen(name, shape, format!("[{}]", self.n)));
        }
        self.arena(&values)
    }

    fn band(&mut self, name: &'static str) -> Result<Vec<Handle>, KernelIoError> {
        let (shape, values) = self.arrays.take_f32(name)?;
        if shape.len() != 2 || shape[1] != self.n {
            return Err(self.misshapen(name, shape, format!("[b, {}]", self.n)));
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
        let values: Vec<f32> = self.context.download(self.spec.name, arena)?;
        let tensor = self.segments.scatter(&values).swap_remove(0);
        Ok(Array::f32(vec![self.n], tensor))
    }

    fn read_band(&self, arenas: &[Handle]) -> Result<Array, KernelIoError> {
        let mut all = Vec::with_capacity(arenas.len() * self.n);
        for arena in arenas {
            let values: Vec<f32> = self.context.download(self.spec.name, arena)?;
            all.extend(self.segments.scatter(&values).swap_remove(0));
        }
        Ok(Array::f32(vec![arenas.len(), self.n], all))
    }

    fn number(&self, key: &'static str) -> Result<f64, KernelIoError> {
        let text = &self.options[key];
        text.parse()
            .map_err(|_| self.bad_option(key, text, "a number"))
    }

    fn bad_option(&self, key: &str, found: &str, expected: &str) -> KernelIoError {
        KernelIoError::Option {
            kernel: self.spec.name,
            found: format!("{key}={found}"),
            expected: format!("expected {expected}"),
        }
    }

    fn misshapen(&self, array: &'static str, found: Vec<usize>, expected: String) -> KernelIoError {
        KernelIoError::Shape {
            kernel: self.spec.name,
            array,
            found,
            expected,
        }
    }
}
