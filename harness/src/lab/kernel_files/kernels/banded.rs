//! SONew's factor, and what it is applied to.

use sonew_kernels::context::Context;
use sonew_kernels::evidence::PivotEvidence;
use sonew_kernels::launch::Strategy;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::{
    Blueprint, EdgeRemoval, FactorBuffers, PreconditionBuffers, Tolerance, factor, precondition,
    reference,
};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::{Setting, Settings};
use crate::lab::kernel_files::spec::{B, KernelSpec, N};
use crate::lab::kernel_files::table::{Entry, Kernel};
use crate::lab::kernel_files::tensor::{Noted, Tensor};

/// The kernels of this file.
pub(in crate::lab::kernel_files) fn entries() -> Vec<Entry> {
    vec![Entry::of::<BandedLdl>(), Entry::of::<Precondition>()]
}

/// Columns whose pivot has no normal reciprocal in f32: their d is 0, or has lost digits.
const OUT_OF_RANGE: &str = "pivots_out_of_range";

/// Statistics of a tensor, and how small a pivot may be.
struct BandedLdl {
    diagonal: Vec<f32>,
    edges: Vec<Vec<f32>>,
    correction: f64,
    epsilon: f64,
    pivots: Pivots,
}

/// What becomes of small pivots.
#[derive(Clone, Copy)]
pub(super) struct Pivots {
    pub gamma: Tolerance,
    pub removal: EdgeRemoval,
}

impl Pivots {
    pub fn settings() -> [Setting; 3] {
        [
            Setting::non_negative("gamma", "0", "absolute part of the pivot tolerance"),
            Setting::decay("relative-gamma", "1e-7", "part relative to H_jj"),
            Setting::choice(
                "removal",
                &EdgeRemoval::ALL,
                "edges cut at a failing pivot, outgoing or incident, or what else becomes of it",
            )
            .by_default("incident"),
        ]
    }

    pub fn of(settings: &Settings) -> Self {
        Self {
            gamma: Tolerance {
                absolute: settings.number("gamma"),
                relative: settings.number("relative-gamma"),
            },
            removal: settings.choice("removal", &EdgeRemoval::ALL),
        }
    }

    /// The pivots that an oracle cut.
    pub fn exact(found: Found, factor: &reference::Factor) -> Found {
        let first = factor.cut.first().copied().unwrap_or(factor.d.len());
        Self::noted(
            found,
            &Noted {
                count: factor.cut.len() as u64,
                first: first as u64,
            },
        )
    }

    /// The pivots that were cut.
    pub fn noted(found: Found, cut: &Noted) -> Found {
        found
            .count("pivots_cut", cut.count)
            .count("first_cut", cut.first)
    }

    /// Declares the two counts.
    pub fn declared(spec: KernelSpec) -> KernelSpec {
        spec.counts("pivots_cut").counts("first_cut")
    }
}

impl Kernel for BandedLdl {
    fn spec() -> KernelSpec {
        let summary = "X = L D Lᵀ with X⁻¹ = c·H + ε on the band: L_{j+1+k, j} = −psi[k, j], D = d; first_cut is n if none is";
        let spec = KernelSpec::new("banded-ldl", summary)
            .needs("diagonal", &[N])
            .needs("edges", &[B, N])
            .gives("psi", &[B, N])
            .gives("d", &[N])
            .set(Setting::non_negative(
                "correction",
                "1",
                "c, the bias correction of H",
            ))
            .set(Setting::non_negative(
                "epsilon",
                "0",
                "ε, added to the diagonal",
            ))
            .passes_over(&["moment", "non_finite"]);
        let spec = Pivots::declared(spec).counts(OUT_OF_RANGE);
        Pivots::settings().into_iter().fold(spec, KernelSpec::set)
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            correction: inputs.settings.number("correction"),
            epsilon: inputs.settings.number("epsilon"),
            pivots: Pivots::of(&inputs.settings),
            diagonal: inputs.take("diagonal"),
            edges: inputs.take_band("edges"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let (n, band) = (self.diagonal.len(), self.edges.len());
        let h = reference::Statistics {
            moment: Vec::new(),
            diagonal: wide(&self.diagonal),
            edges: self.edges.iter().map(|edge| wide(edge)).collect(),
        };
        let Pivots { gamma, removal } = self.pivots;
        let damped = h.damped(self.correction, self.epsilon);
        let factor = reference::factor(&damped, gamma, removal);
        let found = Found::new()
            .exact("psi", [band, n], &factor.psi.concat())
            .exact("d", [n], &factor.d);
        let normal = f64::from(f32::MIN_POSITIVE)..=1.0 / f64::from(f32::MIN_POSITIVE);
        let lost = damped.diagonal.iter().zip(&factor.d);
        let lost = lost.filter(|(h, d)| **h != 0.0 && !normal.contains(*d));
        Ok(Pivots::exact(found, &factor).count(OUT_OF_RANGE, lost.count() as u64))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let (n, band) = (self.diagonal.len(), self.edges.len());
        let tensor = Tensor::new(context, "banded-ldl", n)?;
        let diagonal = tensor.upload(&self.diagonal)?;
        let edges = tensor.upload_all(&self.edges)?;
        let psi: Vec<_> = edges.iter().map(|_| tensor.empty()).collect();
        let d = tensor.empty();
        let blueprint = Blueprint::of::<F32>(context, "banded-ldl", band);
        let evidence = tensor.slots(blueprint.sweep);
        factor::<F32>(
            context,
            FactorBuffers {
                diagonal: &diagonal,
                edges: &edges,
                psi: &psi,
                d: &d,
                evidence: &evidence,
            },
            self.correction,
            self.epsilon,
            self.pivots.gamma,
            self.pivots.removal,
            Strategy::Forced(blueprint),
        )?;
        let found = Found::new()
            .values("psi", [band, n], tensor.read_all(&psi)?)
            .values("d", [n], tensor.read(&d)?);
        let lost = PivotEvidence::read(context, "banded-ldl", &evidence)?.out_of_range;
        Ok(Pivots::noted(found, &tensor.noted(&evidence)?).count(OUT_OF_RANGE, lost.count))
    }
}

/// A factor, and what it is applied to.
struct Precondition {
    psi: Vec<Vec<f32>>,
    d: Vec<f32>,
    m: Vec<f32>,
}

impl Kernel for Precondition {
    fn spec() -> KernelSpec {
        KernelSpec::new("precondition", "u = L D Lᵀ m")
            .needs("psi", &[B, N])
            .needs("d", &[N])
            .needs("m", &[N])
            .gives("u", &[N])
            .passes_over(&["pivots_cut", "first_cut", "pivots_out_of_range"])
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        Ok(Self {
            psi: inputs.take_band("psi"),
            d: inputs.take("d"),
            m: inputs.take("m"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let factor = reference::Factor {
            psi: self.psi.iter().map(|psi| wide(psi)).collect(),
            d: wide(&self.d),
            cut: Vec::new(),
        };
        let u = factor.precondition(&wide(&self.m));
        Ok(Found::new().exact("u", [u.len()], &u))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let n = self.m.len();
        let tensor = Tensor::new(context, "precondition", n)?;
        let psi = tensor.upload_all(&self.psi)?;
        let (d, moment) = (tensor.upload(&self.d)?, tensor.upload(&self.m)?);
        let direction = tensor.empty();
        let buffers = PreconditionBuffers {
            psi: &psi,
            d: &d,
            moment: &moment,
            direction: &direction,
        };
        precondition::<F32>(context, buffers, Strategy::Inferred)?;
        Ok(Found::new().values("u", [n], tensor.read(&direction)?))
    }
}
