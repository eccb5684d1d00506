//! Inverse roots, on the host by each method and on the device.

use sonew_kernels::context::Context;
use sonew_kernels::kronecker::{Method, Ridge, Root, RootEvidence, Stop, inverse_root, reference};

use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::{Found, wide};
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, N, ONE};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::roots::on_device;

/// A root below this residual and check may be used.
const THRESHOLD: f64 = 0.1;

/// How a root is computed.
#[derive(Clone, Copy)]
enum Way {
    Host(Method),
    Device,
}

/// The methods of the host, and the one of the device.
fn ways() -> Vec<(&'static str, Way)> {
    let on_host = Method::ALL.map(|(name, method)| (name, Way::Host(method)));
    let device = ("newton-device", Way::Device);
    on_host.into_iter().chain([device]).collect()
}

/// A matrix, and which root of it.
pub(in crate::lab::kernel_files) struct InverseRoot {
    n: usize,
    s: Vec<f32>,
    p: u32,
    ridge: Ridge,
    way: Way,
}

impl InverseRoot {
    fn at(&self, place: usize) -> String {
        format!("row {}, column {}", place / self.n, place % self.n)
    }

    /// Why no method should look at the matrix.
    fn flaw(&self) -> Option<String> {
        if let Some(at) = self.s.iter().position(|x| !x.is_finite()) {
            let count = self.s.iter().filter(|x| !x.is_finite()).count();
            let (value, place) = (self.s[at], self.at(at));
            return Some(format!(
                "s is not finite: {count} of its values, the first of them {value} in {place}"
            ));
        }
        let largest = self.s.iter().fold(0f32, |most, x| most.max(x.abs()));
        let transposed = |at: usize| (at % self.n) * self.n + at / self.n;
        let skew = |at: usize| (f64::from(self.s[at]) - f64::from(self.s[transposed(at)])).abs();
        let worst = (0..self.s.len()).max_by(|&a, &b| skew(a).total_cmp(&skew(b)))?;
        // As much as rounding to f32 may have left of a sum of squares.
        let rounding = 8.0 * self.n as f64 * f64::from(f32::EPSILON) * f64::from(largest);
        (skew(worst) > rounding).then(|| {
            format!(
                "s is not symmetric: {} differs from its mirror image by {:.1e}, {rounding:.1e} is what rounding may leave; take (S + Sᵀ) / 2 if that is meant",
                self.at(worst.min(transposed(worst))),
                skew(worst)
            )
        })
    }

    /// The matrix without what rounding left of asymmetry, so that no method depends on the half it reads.
    fn symmetric(&self) -> Vec<f32> {
        let entry = |at: usize| {
            let mirrored = self.s[(at % self.n) * self.n + at / self.n];
            ((f64::from(self.s[at]) + f64::from(mirrored)) / 2.0) as f32
        };
        (0..self.s.len()).map(entry).collect()
    }

    fn no_root(&self, reason: String) -> Found {
        self.found(
            vec![0.0; self.n * self.n],
            &RootEvidence {
                iterations: 0,
                residual: f64::INFINITY,
                check: f64::INFINITY,
                ridge: 0.0,
                raises: 0,
                stop: Stop::NotFinite,
            },
        )
        .refused(Some(reason))
    }

    fn judged(&self, root: Root) -> Found {
        let evidence = root.evidence;
        let reason = (!evidence.accepted(THRESHOLD)).then(|| reason(&evidence));
        self.found(root.values, &evidence).refused(reason)
    }

    fn found(&self, values: Vec<f32>, evidence: &RootEvidence) -> Found {
        Found::new()
            .values("x", [self.n, self.n], values)
            .number("ridge", evidence.ridge)
            .count("iterations", evidence.iterations.into())
            .number("residual", evidence.residual)
            .number("check", evidence.check)
            .count("accepted", evidence.accepted(THRESHOLD).into())
    }
}

/// Why a root was not accepted.
fn reason(evidence: &RootEvidence) -> String {
    let RootEvidence {
        iterations,
        residual,
        check,
        ridge,
        ..
    } = evidence;
    let measured = format!(
        "residual {residual:.1e}, check {check:.1e}, both of which must be below {THRESHOLD}"
    );
    match evidence.stop {
        Stop::NotFinite => format!("the root of S + {ridge:.1e} · I is not finite in f32"),
        Stop::Indefinite => {
            format!("S + {ridge:.1e} · I is not positive definite: a larger ridge would make it so")
        }
        Stop::Iterations => format!("the method is out of rounds after {iterations}: {measured}"),
        Stop::Diverging => format!("the iteration diverges in round {iterations}: {measured}"),
        Stop::Converged | Stop::Direct => format!("the root that was found is none: {measured}"),
    }
}

impl Kernel for InverseRoot {
    fn spec() -> KernelSpec {
        let summary = "X = (S + ridge · I)^(-1/p) of a symmetric positive semi-definite matrix; ridge is what was added, residual the distance of M from I or of S from its decomposition, check |vᵀ X^(p/2) (S + ridge · I) X^(p/2) v − 1|, accepted 1 if both are below 0.1";
        KernelSpec::new("inverse-root", summary)
            .needs("s", &[N, N])
            .gives("x", &[N, N])
            .gives("ridge", &[ONE])
            .counts("iterations")
            .of_the_way()
            .gives("residual", &[ONE])
            .of_the_way()
            .gives("check", &[ONE])
            .of_the_way()
            .counts("accepted")
            .may_refuse()
            .set(Setting::whole("p", "4", 1..=64, "the order"))
            .set(Setting::non_negative("ridge", "0", "the ridge"))
            .set(
                Setting::non_negative(
                    "relative-ridge",
                    "none",
                    "instead of ridge: ε, for a ridge of ε · λ_max",
                )
                .or_none(),
            )
            .set(Setting::choice("root", &ways(), "how"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let settings = &inputs.settings;
        let ridge = match settings.optional_number("relative-ridge") {
            Some(epsilon) => Ridge::Relative(epsilon),
            None => Ridge::Absolute(settings.number("ridge")),
        };
        Ok(Self {
            p: settings.whole("p") as u32,
            ridge,
            way: settings.choice("root", &ways()),
            n: inputs.size(N),
            s: inputs.take("s"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        if let Some(reason) = self.flaw() {
            return Ok(self.no_root(reason));
        }
        let s = wide(&self.symmetric());
        let (values, _) = reference::eigen(&s, self.n);
        let top = values.iter().fold(0.0, |most: f64, &x| most.max(x));
        let least = values.iter().fold(f64::INFINITY, |least, &x| least.min(x));
        let ridge = self.ridge.of(top);
        let mut evidence = RootEvidence {
            iterations: 0,
            residual: 0.0,
            check: 0.0,
            ridge,
            raises: 0,
            stop: Stop::Direct,
        };
        // Below zero by no more than rounding to f32 leaves of a small eigenvalue, and lifted by the ridge.
        let rounding = 8.0 * self.n as f64 * f64::from(f32::EPSILON) * top;
        let lifted = (least + ridge).max(0.5 * ridge);
        if least < -rounding || lifted <= f64::EPSILON * (top + ridge) {
            evidence.stop = Stop::Indefinite;
        }
        let root = match evidence.stop {
            Stop::Direct => reference::inverse_root(&s, self.n, self.p, ridge),
            Stop::Converged
            | Stop::Diverging
            | Stop::Iterations
            | Stop::Indefinite
            | Stop::NotFinite => vec![0.0; s.len()],
        };
        Ok(self.judged(Root {
            values: root.iter().map(|&x| x as f32).collect(),
            evidence,
        }))
    }

    fn on_host(&self) -> Option<Result<Found, KernelFileError>> {
        let Way::Host(method) = self.way else {
            // Nor does a device look at a matrix that none should.
            return self.flaw().map(|reason| Ok(self.no_root(reason)));
        };
        if let Some(reason) = self.flaw() {
            return Some(Ok(self.no_root(reason)));
        }
        let root = inverse_root(&self.symmetric(), self.n, self.p, self.ridge, method);
        Some(root.map(|root| self.judged(root)).map_err(Into::into))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        let root = on_device(context, &self.symmetric(), self.n, self.p, self.ridge)?;
        Ok(self.judged(root))
    }
}
