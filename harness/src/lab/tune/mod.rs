//! Which blueprint of a kernel is fastest on a device: every candidate is held to the oracle, then timed; the fastest few and
//! the default are then timed again in turns, so that what else the machine does falls on all of them. Time is bounded: what it
//! does not reach is said.

mod candidates;
mod file;
mod found;
mod meaning;
pub mod tiles;

use candidates::candidates;
pub use file::{TunedFile, TunedFileError};
use found::chosen;
pub use found::{Candidate, Found, Verdict};

use std::time::{Duration, Instant};

use sonew_kernels::catalogue::Kernel;
use sonew_kernels::context::{Profile, Units};
use sonew_kernels::launch::{Sweep, Tuned, Tuning};
use sonew_kernels::precision::{Precision, PrecisionVisitor};
use sonew_kernels::sonew::{Blueprint, EdgeRemoval, Ghosts};
use sonew_optimizers::{Context, Layout, PrecisionKind};
use sonew_runtime::DeviceInfo;

use crate::lab::bench::{self, BenchError, Effort, Last, Seconds, kernels};

/// How many of the fastest are timed again, beside the default.
const FINALISTS: usize = 4;
/// How often.
const ROUNDS: usize = 5;

/// The part of the time in which candidates are visited; in the rest the fastest are timed again.
const VISITING: f64 = 0.75;
/// Bands that [`all`] tunes for.
const BANDS: [usize; 4] = [1, 4, 0, 10];

/// What is tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The kernel, one of [`Kernel::all`].
    pub kernel: String,
    /// In this precision.
    pub precision: PrecisionKind,
    /// For a band of this width; of no meaning for a kernel without one.
    pub band: usize,
    /// On one tensor of so many values; the autoencoder's tensors if none is given.
    pub values: Option<usize>,
    /// How long at most, but for what is under way then.
    pub time: Duration,
}

/// How long a kernel is tuned unless it is said: where a candidate takes a launch of microseconds, or one on a software driver,
/// which compiles and runs it at a hundredth of the speed.
pub fn usual_time(profile: Profile) -> Duration {
    match profile.units {
        Units::Many => Duration::from_secs(20),
        Units::Few => Duration::from_secs(120),
    }
}

/// Every kernel that can be tuned, each with the band it is tuned for: a whole step of SONew first, then its parts, then the
/// rest, and narrow bands before wide ones. Only for `band`, if one is given.
pub fn all(band: Option<usize>) -> Vec<(Kernel, usize)> {
    let mut kernels = Kernel::all();
    kernels.sort_by_key(|it| (!it.eliminates, !it.twins, !it.banded));
    let bands: &[usize] = match &band {
        Some(band) => std::slice::from_ref(band),
        None => &BANDS,
    };
    let mut all = Vec::new();
    for (at, &band) in bands.iter().enumerate() {
        let these = kernels.iter().copied().filter(|it| at == 0 || it.banded);
        all.extend(these.map(|kernel| (kernel, if kernel.banded { band } else { 0 })));
    }
    all
}

/// Proves and times every candidate; `tell` hears of what is next.
///
/// # Errors
/// [`BenchError::Unknown`] for a kernel that cannot be tuned, [`BenchError::TooLarge`], and failures of the device. What a
/// candidate is refused for is in its row.
pub fn tune(
    context: &Context,
    info: &DeviceInfo,
    request: &Request,
    tell: &mut dyn FnMut(&str),
) -> Result<Found, BenchError> {
    let Some(kernel) = Kernel::named(&request.kernel) else {
        return Err(BenchError::Unknown {
            kernel: request.kernel.clone(),
            known: Kernel::names().join(", "),
        });
    };
    request.precision.accept(Tune {
        context,
        info,
        kernel,
        request,
        tell,
    })
}

struct Tune<'a> {
    context: &'a Context,
    info: &'a DeviceInfo,
    kernel: Kernel,
    request: &'a Request,
    tell: &'a mut dyn FnMut(&str),
}

impl PrecisionVisitor for Tune<'_> {
    type Output = Result<Found, BenchError>;

    fn visit<P: Precision>(self) -> Self::Output {
        let Self {
            context,
            info,
            kernel,
            request,
            tell,
        } = self;
        let band = if kernel.banded { request.band } else { 0 };
        let profile = context.profile();
        // Without what the context at hand may have been tuned to.
        let untuned = Context::new(context.client().clone(), profile);
        let default = kernel.blueprint::<P>(&untuned, band);
        let name = kernel.name;
        let sizes = request.values.map(|n| vec![n]);
        let started = Instant::now();
        let time_for = |part: f64| started.elapsed() < request.time.mul_f64(part);
        let catalogue = bench::Request {
            kernels: vec![name.into()],
            precisions: vec![request.precision],
            sizes: vec![sizes.unwrap_or_else(bench::autoencoder)],
            bands: vec![band],
            effort: Effort::QUICK,
            proven: true,
            grafts: false,
            until: None,
        };
        // What no candidate can do is refused before the first.
        catalogue.check(info)?;
        let values = catalogue.sizes[0].iter().sum();
        let layout = Layout::new(&catalogue.sizes[0])?;
        let timed_only = bench::Request {
            proven: false,
            grafts: false,
            ..catalogue.clone()
        };
        let measure = |blueprint: Blueprint, request: &bench::Request| {
            let mut tuned = Tuned::default();
            tuned.put(Tuning {
                kernel: name.into(),
                precision: P::NAME.into(),
                band,
                blueprint,
            });
            let client = context.client().clone();
            let context = Context::new(client, profile).with_tuned(tuned);
            let mut last = Last::new(Effort::QUICK);
            kernels(&context, request, &mut last)?;
            last.seconds(name)
        };
        let mut found = Found {
            kernel: name.into(),
            precision: request.precision,
            band,
            values,
            candidates: Vec::new(),
            chosen: 0,
        };
        let blueprints = candidates::<P>(kernel, profile, band, default);
        let count = blueprints.len();
        for (at, blueprint) in blueprints.into_iter().enumerate() {
            let Sweep {
                width,
                run,
                units,
                twins,
                team,
                ..
            } = blueprint.sweep;
            let word = match (twins, team) {
                (true, _) => ", 64-bit words",
                (_, true) => ", a team",
                (false, false) => "",
            };
            let reached = at == 0 || time_for(VISITING);
            if !reached {
                found.candidates.push(Candidate {
                    default: false,
                    blueprint,
                    verdict: Verdict::NotReached,
                    again: None,
                });
                continue;
            }
            tell(&format!(
                "{} of {count}: width {width}, run {run}, {units} units{word}",
                at + 1
            ));
            let verdict = if name == "sonew-step" && !is_one_launch(&layout, band, blueprint) {
                Verdict::Refused(
                    "too many ghost columns for one launch: a step would be others".into(),
                )
            } else {
                match measure(blueprint, &catalogue) {
                    Ok(seconds) => Verdict::Timed(seconds),
                    Err(error) => Verdict::Refused(error.to_string()),
                }
            };
            found.candidates.push(Candidate {
                default: blueprint == default,
                blueprint,
                verdict,
                again: None,
            });
        }
        let by_time = |a: &Candidate, b: &Candidate| {
            let of = |it: &Candidate| (it.again.is_none(), it.median().unwrap_or(f64::INFINITY));
            let (a, b) = (of(a), of(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        found.candidates.sort_by(by_time);
        let finalists: Vec<usize> = (0..count)
            .filter(|&at| {
                let it = &found.candidates[at];
                it.median().is_some() && (at < FINALISTS || it.default)
            })
            .collect();
        if finalists.is_empty()
            && let Verdict::Refused(reason) = &found.candidates[0].verdict
        {
            let reason = reason.clone();
            return Err(BenchError::NoCandidate {
                kernel: name,
                reason,
            });
        }
        let mut rounds = vec![Vec::new(); finalists.len()];
        for round in 1..=ROUNDS {
            if round > 1 && !time_for(1.0) {
                break;
            }
            tell(&format!("the fastest again: {round} of {ROUNDS}"));
            for (times, &at) in rounds.iter_mut().zip(&finalists) {
                let blueprint = found.candidates[at].blueprint;
                times.push(measure(blueprint, &timed_only)?.median);
            }
        }
        for (times, at) in rounds.into_iter().zip(finalists) {
            found.candidates[at].again = Some(Seconds::of(times).median);
        }
        found.candidates.sort_by(by_time);
        found.chosen = chosen(&found.candidates);
        Ok(found)
    }
}

/// Whether a step with this blueprint is the launch that is timed; the optimizer asks the same.
fn is_one_launch(layout: &Layout, band: usize, blueprint: Blueprint) -> bool {
    Ghosts::new(layout, band, EdgeRemoval::of_band(band), blueprint).are_few()
}

#[cfg(test)]
mod tests {
    use sonew_kernels::precision::F32;

    use super::*;

    #[test]
    fn a_blueprint_that_no_step_would_run_as_one_launch_is_told_apart() {
        let layout = Layout::new(&[5000]).unwrap();
        let default = Blueprint::infer::<F32>(Profile::GPU, 1);
        assert!(is_one_launch(&layout, 1, default));
        let mut short = default;
        short.sweep.run = 4;
        assert!(!is_one_launch(&layout, 1, short));
        // No run of a block is long enough for ten neighbours of which each may be cut.
        let wide = Blueprint::infer::<F32>(Profile::LLVMPIPE, 10);
        assert!(!is_one_launch(&layout, 10, wide));
    }

    #[test]
    fn all_begins_with_the_tridiagonal_step_and_has_a_kernel_without_a_band_once() {
        let all = all(None);
        assert_eq!((all[0].0.name, all[0].1), ("sonew-step", 1));
        let adam = all.iter().filter(|(kernel, _)| kernel.name == "adam");
        assert_eq!(adam.count(), 1);
        let steps = all.iter().filter(|(kernel, _)| kernel.name == "sonew-step");
        assert!(steps.map(|(_, band)| *band).eq(BANDS));
        assert!(
            super::all(Some(2))
                .iter()
                .all(|(kernel, band)| { *band == if kernel.banded { 2 } else { 0 } })
        );
    }
}
