//! Results do not depend on the unit of the data: a power of two in front of it comes out where the formula says, and changes
//! no bit anywhere else.
//!
//! What is compared is a device with itself, so there is no tolerance. Data and units are such that every term is 0 or a normal
//! number of the format it is computed in; f16 leaves little room for that.

use std::marker::PhantomData;

use crate::arena::Arena;

use super::Check;
use super::bench::{Bench, dyadic};
use super::outcome::Outcome;
use super::sonew::{BETA, States};
use crate::catalogue::Kernel;
use crate::context::Context;
use crate::error::Error;
use crate::evidence::PivotEvidence;
use crate::first_order::{Buffers, FirstOrder, Hyper, RuleVisitor, descend, each_rule};
use crate::launch::{Strategy, Sweep};
use crate::norms::{Reduction, norm_per_tensor};
use crate::precision::{Bf16, Bf16Compact, F16, F32, HostFormat, Precision, Storage};
use crate::sonew::reference::Statistics;
use crate::sonew::{
    Blueprint, Decay, EdgeRemoval, FactorBuffers, Ghosts, StepBuffers, StepRates, Tolerance,
    factor, largest_row_sum, step,
};

/// Bands whose factor is checked under every rule of removal, and in a step.
const BANDS: [usize; 3] = [0, 1, 4];
/// Wider bands whose factor is checked under every rule.
const WIDE: [usize; 2] = [6, 10];
const CASE: &str = "any unit";

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    struct Of<P>(PhantomData<P>);
    impl<P: Precision> RuleVisitor for Of<P> {
        type Output = Check;
        fn visit<L: FirstOrder>(&mut self) -> Check {
            Check::new(L::NAME, CASE, rule::<L, P>)
        }
    }
    let mut checks = each_rule(&mut Of::<P>(PhantomData));
    checks.push(Check::new("norms", CASE, norms::<P>));
    for band in BANDS {
        let case = format!("band {band}, {CASE}");
        checks.push(Check::new("sonew-step", case, move |context, lengths| {
            steps::<P>(context, lengths, band)
        }));
    }
    // A factor knows nothing of the parameters' format: other precisions have the states and the arithmetic of one of these.
    if [F32::NAME, Bf16::NAME, F16::NAME, Bf16Compact::NAME].contains(&P::NAME) {
        for band in BANDS.into_iter().chain(WIDE) {
            if band < 10 || !rounds::<P>() {
                checks.push(of_factor::<P>(band));
            }
        }
    }
    checks
}

/// The widest in arithmetic of 16 bits, where every operation is several: CubeCL's optimizer for SPIR-V takes minutes for it.
pub(super) fn long_checks<P: Precision>() -> Vec<Check> {
    if rounds::<P>() {
        vec![of_factor::<P>(WIDE[1])]
    } else {
        Vec::new()
    }
}

/// Whether every operation is rounded to 16 bits.
fn rounds<P: Precision>() -> bool {
    [Bf16::NAME, F16::NAME].contains(&P::NAME)
}

fn of_factor<P: Precision>(band: usize) -> Check {
    let case = format!("band {band}, {CASE}");
    Check::new("banded-ldl", case, move |context, lengths| {
        factors::<P>(context, lengths, band)
    })
}

/// The default of a kernel, but column by column where a vector of them takes long to compile.
fn blueprint<P: Precision>(context: &Context, kernel: &'static str, band: usize) -> Blueprint {
    let default = Kernel::named(kernel).map_or_else(
        || Blueprint::of::<P>(context, kernel, band),
        |kernel| kernel.blueprint::<P>(context, band),
    );
    if band < 4 || default.sweep.team {
        return default;
    }
    let width = P::Params::PER_WORD.max(P::State::PER_WORD);
    let sweep = Sweep {
        width,
        run: default.sweep.run * default.sweep.width / width,
        twins: false,
        team: false,
        ..default.sweep
    };
    Blueprint { sweep, ..default }
}

/// Exponents of units: that of the data first, then others. `squared` leaves room for squares.
fn units<S: HostFormat>(squared: bool) -> [i32; 3] {
    // Three quarters of the exponents below 1 where they are many; in f16 above 1 as well, for terms below it need room.
    let many = S::LEAST_EXPONENT < -100;
    match (many, squared) {
        (true, false) => [0, 3 * S::LEAST_EXPONENT / 4, -3 * S::LEAST_EXPONENT / 4],
        (true, true) => [0, S::LEAST_EXPONENT / 4, -S::LEAST_EXPONENT / 4],
        (false, false) => [6, 4, 8],
        (false, true) => [3, 2, 4],
    }
}

/// Those of a factor. Where neighbours are the same, what rounding leaves of a difference times what it leaves of another is a
/// term too: a wide band has such terms.
fn factor_units<S: HostFormat>(band: usize) -> [i32; 3] {
    let units = units::<S>(false);
    if band <= 4 || S::LEAST_EXPONENT > -100 {
        return units;
    }
    units.map(|exponent| 2 * exponent / 3)
}

fn power(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

fn scaled(tensors: &[Vec<f64>], unit: f64) -> Vec<Vec<f64>> {
    let times = |tensor: &Vec<f64>| tensor.iter().map(|x| unit * x).collect();
    tensors.iter().map(times).collect()
}

/// How many values have other bits than those of the first unit, each unit's divided by what it should have multiplied.
struct Bits {
    first: Option<Vec<u64>>,
    outcome: Outcome,
}

impl Bits {
    fn of(name: impl Into<String>) -> Self {
        Self {
            first: None,
            outcome: Outcome::named(format!("other bits of {}", name.into())),
        }
    }

    fn add(&mut self, found: &[f32], factor: f64) {
        let bits: Vec<u64> = found
            .iter()
            .map(|&x| (f64::from(x) / factor).to_bits())
            .collect();
        match &self.first {
            None => {
                // A value that is no number has no unit.
                let lost = found.iter().filter(|x| !x.is_finite()).count();
                self.outcome.add(&[lost as f32], &[0.0], |_| 0.0);
                self.first = Some(bits);
            }
            Some(first) => {
                let other = first.iter().zip(&bits).filter(|(a, b)| a != b).count();
                self.outcome.add(&[other as f32], &[0.0], |_| 0.0);
            }
        }
    }
}

/// Statistics of neighbours that are independent, alike, or the same, with few digits.
fn statistics(bench: &Bench<'_>, band: usize) -> Vec<Statistics> {
    let shapes = bench.tensors(|_, _| 0.0);
    let tensors = shapes.iter().map(Vec::len).enumerate();
    tensors
        .map(|(t, n)| {
            let mut h = Statistics::zeros(n, band);
            for step in 0..4 {
                // Of 16 columns the last 5 are the same: their pivots are 0.
                let g = (0..n).map(|i: usize| {
                    let own = if i % 16 > 10 { i / 16 * 16 } else { i };
                    (4.0 * dyadic(step + 50 * t, own)).round() / 4.0
                });
                h.accumulate(&g.collect::<Vec<_>>(), 0.5, Decay::Average(0.5));
            }
            h
        })
        .collect()
}

/// ψ(c H) = ψ(H) and c D(c H) = D(H), whatever is removed, for an absolute γ (times c) and a relative one.
fn factors<P: Precision>(
    context: &Context,
    lengths: &[usize],
    band: usize,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let h = statistics(&bench, band);
    let blueprint = blueprint::<P>(context, "banded-ldl", band);
    let psi: Vec<Arena> = (0..band).map(|_| bench.empty::<P::State>()).collect();
    let d = bench.empty::<P::State>();
    let evidence = bench.slots(blueprint.sweep);
    let mut outcomes = Vec::new();
    for (name, removal) in EdgeRemoval::ALL {
        for relative in [true, false] {
            let kind = if relative { "relative" } else { "absolute" };
            let mut of_psi = Bits::of(format!("psi, {name}, {kind} gamma"));
            let mut of_d = Bits::of(format!("d, {name}, {kind} gamma"));
            let mut of_cut = Bits::of(format!("pivots cut, {name}, {kind} gamma"));
            let mut lost = Outcome::named(format!("pivots out of range, {name}, {kind} gamma"));
            for exponent in factor_units::<P::State>(band) {
                let unit = power(exponent);
                let arena = |of: &dyn Fn(&Statistics) -> &Vec<f64>| {
                    let parts: Vec<Vec<f64>> = h.iter().map(|h| of(h).clone()).collect();
                    bench.arena::<P::State>(&scaled(&parts, unit))
                };
                let edges = (0..band)
                    .map(|k| arena(&|h| &h.edges[k]))
                    .collect::<Result<Vec<_>, _>>()?;
                let gamma = Tolerance {
                    absolute: if relative { 0.0 } else { unit / 64.0 },
                    relative: if relative { 1.0 / 64.0 } else { 0.0 },
                };
                let buffers = FactorBuffers {
                    diagonal: &arena(&|h| &h.diagonal)?,
                    edges: &edges,
                    psi: &psi,
                    d: &d,
                    evidence: &evidence,
                };
                let forced = Strategy::Forced(blueprint);
                factor::<P>(context, buffers, 1.0, 0.0, gamma, removal, forced)?;
                let mut all = Vec::new();
                for psi in &psi {
                    all.extend(bench.read(psi)?.concat());
                }
                of_psi.add(&all, 1.0);
                of_d.add(&bench.read(&d)?.concat(), 1.0 / unit);
                let seen = PivotEvidence::read(context, "contract", &evidence)?;
                of_cut.add(&[seen.cut.count as f32], 1.0);
                lost.add(&[seen.out_of_range.count as f32], &[0.0], |_| 0.0);
            }
            if band > 0 {
                outcomes.push(of_psi.outcome);
            }
            outcomes.extend([of_d.outcome, of_cut.outcome, lost]);
        }
    }
    Ok(outcomes)
}

/// u(c g) = u(g) / c: with a learning rate times c, steps move weights by the same bits.
fn steps<P: Precision>(
    context: &Context,
    lengths: &[usize],
    band: usize,
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let removal = EdgeRemoval::Incident;
    let blueprint = blueprint::<P>(context, "sonew-step", band);
    let ghosts = Ghosts::new(&bench.layout, band, removal, blueprint);
    let (non_finite, cut) = (bench.slots(blueprint.sweep), bench.slots(blueprint.sweep));
    let mut bits = Bits::of("weights");
    for exponent in step_units::<P>() {
        let unit = power(exponent);
        let states = States::zeros::<P>(&bench, Some(ghosts), band)?;
        let params = bench.empty::<P::Params>();
        for t in 1..=2 {
            let g = bench.tensors(|tensor, i| (4.0 * dyadic(70 * t + tensor, i)).round() / 4.0);
            let buffers = StepBuffers {
                params: &params,
                graft: None,
                rates: None,
                rows: None,
                grads: &bench.arena::<P::Params>(&scaled(&g, unit))?,
                moment: &states.moment,
                diagonal: &states.diagonal,
                edges: &states.edges,
                non_finite: &non_finite,
                cut: &cut,
            };
            let rates = StepRates {
                lr: unit / 64.0,
                // Decay is by the learning rate, which is not the same for all units.
                weight_decay: 0.0,
                beta1: 0.5,
                decay: Decay::Average(0.5),
                epsilon: 0.0,
                corrections: (1.0, 1.0),
            };
            let gamma = Tolerance {
                absolute: 0.0,
                relative: 1.0 / 64.0,
            };
            let forced = Strategy::Forced(blueprint);
            step::<P>(context, buffers, rates, gamma, removal, forced)?;
        }
        bits.add(&bench.read(&params)?.concat(), 1.0);
    }
    Ok(vec![bits.outcome])
}

/// Units of a gradient: both its own format and the states' square of it hold them.
fn step_units<P: Precision>() -> [i32; 3] {
    let of_states = units::<P::State>(true);
    let of_params = units::<P::Params>(true);
    if of_states[0] > 0 {
        of_states
    } else {
        of_params
    }
}

/// With ε = 0 a rule that divides by the root of a second moment moves weights by the same bits, and another one by the same
/// with a learning rate divided by the unit.
fn rule<L: FirstOrder, P: Precision>(
    context: &Context,
    lengths: &[usize],
) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let evidence = bench.slots(Sweep::of::<P>(context, L::NAME, 0));
    let mut bits = Bits::of("weights");
    for exponent in step_units::<P>() {
        let unit = power(exponent);
        let params = bench.empty::<P::Params>();
        let states: Vec<_> = L::STATES
            .iter()
            .map(|_| bench.empty::<P::State>())
            .collect();
        for t in 1..=3 {
            let buffers = Buffers {
                params: &params,
                grads: &bench.arena::<P::Params>(&scaled(&bench.dyadic(100 * t), unit))?,
                states: &states,
                rates: None,
                evidence: &evidence,
            };
            let hyper = Hyper {
                lr: if L::NORMALISES { 0.5 } else { 0.5 / unit },
                beta1: BETA,
                beta2: BETA,
                epsilon: 0.0,
                // Decay is by the learning rate, which is not the same for all units.
                weight_decay: 0.0,
                step: t as u64,
            };
            descend::<L, P>(context, buffers, hyper, Strategy::Inferred)?;
        }
        bits.add(&bench.read(&params)?.concat(), 1.0);
    }
    Ok(vec![bits.outcome])
}

/// ‖c g‖ = c ‖g‖ and ‖c H‖₁ = c ‖H‖₁, over nearly all exponents of the format: squares of these are no numbers of f32.
fn norms<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let layout = &bench.layout;
    let reduction = Reduction::new(context, layout);
    let partials = bench.values(layout.blocks() - 2);
    let out = bench.values(lengths.len());
    let values = bench.dyadic(9);
    let (mut of_norm, mut of_rows) = (Bits::of("‖g‖"), Bits::of("‖H‖₁"));
    // Nothing lies below 2⁻², and the norm of 2²⁴ values is below 2¹².
    let extremes = |least: i32| [0, least + 2, -least - 12, 2 - least / 2];
    for exponent in extremes(P::Params::LEAST_EXPONENT) {
        let unit = power(exponent);
        let params = bench.arena::<P::Params>(&scaled(&values, unit))?;
        norm_per_tensor::<P>(context, &reduction, &params, &partials, &out)?;
        let found: Vec<f32> = context.download("contract", &out)?;
        of_norm.add(&found, unit);
    }
    for exponent in extremes(P::State::LEAST_EXPONENT) {
        let unit = power(exponent);
        let diagonal = bench.arena::<P::State>(&scaled(&values, unit))?;
        let edges = [bench.empty::<P::State>()];
        largest_row_sum::<P>(context, &reduction, &diagonal, &edges, &partials, &out)?;
        let found: Vec<f32> = context.download("contract", &out)?;
        of_rows.add(&found, unit);
    }
    Ok(vec![of_norm.outcome, of_rows.outcome])
}
