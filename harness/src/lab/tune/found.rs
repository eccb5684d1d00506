//! What a search for a blueprint found.

use serde::{Deserialize, Serialize};
use sonew_kernels::launch::Tuning;
use sonew_kernels::sonew::Blueprint;
use sonew_optimizers::PrecisionKind;

use crate::lab::bench::Seconds;
use crate::lab::bench::tables::{milliseconds, percent};
use crate::table::{Column, Table};

/// A blueprint takes the default's place if it takes less than this part of its time: smaller differences come and go.
const WORTH_IT: f64 = 0.97;

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is right, and takes so long.
    Timed(Seconds),
    /// It is wrong, or the device does not take it.
    Refused(String),
    /// There was no time for it.
    NotReached,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// How the kernel is laid out.
    pub blueprint: Blueprint,
    /// Whether that is the default.
    pub default: bool,
    /// The first measurement.
    pub verdict: Verdict,
    /// The median over the rounds of the last measurement, in seconds, if it came that far.
    pub again: Option<f64>,
}

impl Candidate {
    pub(super) fn median(&self) -> Option<f64> {
        match &self.verdict {
            Verdict::Timed(seconds) => Some(self.again.unwrap_or(seconds.median)),
            Verdict::Refused(_) | Verdict::NotReached => None,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The kernel.
    pub kernel: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// The band; 0 for a kernel without one.
    pub band: usize,
    /// Values that it went over.
    pub values: usize,
    /// The candidates: those that were timed twice first, then by time, those that were refused last.
    pub candidates: Vec<Candidate>,
    /// Which of them is to be used.
    pub chosen: usize,
}

impl Found {
    /// The blueprint to use.
    pub fn best(&self) -> Tuning {
        Tuning {
            kernel: self.kernel.clone(),
            precision: self.precision.name().into(),
            band: self.band,
            blueprint: self.candidates[self.chosen].blueprint,
        }
    }

    /// All candidates, the fastest first.
    pub fn table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::right("width"),
            Column::right("run"),
            Column::right("units"),
            Column::right("cubes"),
            Column::left("words"),
            Column::left("unrolled"),
            Column::right("ms"),
            Column::right("again"),
            Column::right("of default"),
            Column::left(""),
        ]);
        let default = self.candidates.iter().find(|it| it.default);
        for (at, candidate) in self.candidates.iter().enumerate() {
            let Blueprint { sweep, unroll } = candidate.blueprint;
            let (first, note) = match &candidate.verdict {
                Verdict::Timed(seconds) => (milliseconds(seconds.median), String::new()),
                Verdict::Refused(reason) => ("–".into(), reason.clone()),
                Verdict::NotReached => ("–".into(), "no time left".into()),
            };
            let of_default = match (candidate.median(), default.and_then(Candidate::median)) {
                (Some(time), Some(default)) => percent(time / default),
                _ => "–".into(),
            };
            let mut notes = vec![note];
            notes.extend(sweep.team.then(|| "a team".into()));
            notes.extend(candidate.default.then(|| "default".into()));
            notes.extend((at == self.chosen).then(|| "chosen".into()));
            notes.retain(|note| !note.is_empty());
            table.push(vec![
                sweep.width.to_string(),
                sweep.run.to_string(),
                sweep.units.to_string(),
                sweep.cubes.to_string(),
                if sweep.twins { "64 bits" } else { "" }.into(),
                if unroll { "yes" } else { "no" }.into(),
                first,
                candidate.again.map_or("–".into(), milliseconds),
                of_default,
                notes.join(", "),
            ]);
        }
        table
    }
}

/// The first of the candidates, or the default where that is about as fast.
pub(super) fn chosen(candidates: &[Candidate]) -> usize {
    let default = candidates.iter().position(|it| it.default);
    let fastest = candidates.first().and_then(Candidate::median);
    let of_default = default.and_then(|at| Some((at, candidates[at].median()?)));
    match (fastest, of_default) {
        (Some(fastest), Some((at, default))) if fastest >= WORTH_IT * default => at,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use sonew_kernels::context::Profile;
    use sonew_kernels::launch::Sweep;

    use super::*;

    fn candidate(seconds: Option<f64>, default: bool) -> Candidate {
        let verdict = match seconds {
            Some(it) => Verdict::Timed(Seconds::of(vec![it])),
            None => Verdict::Refused("wrong".into()),
        };
        Candidate {
            blueprint: Blueprint {
                sweep: Sweep::infer(Profile::LLVMPIPE),
                unroll: true,
            },
            default,
            verdict,
            again: None,
        }
    }

    #[test]
    fn the_default_stays_unless_another_is_clearly_faster() {
        let close = [candidate(Some(0.99), false), candidate(Some(1.0), true)];
        assert_eq!(chosen(&close), 1);
        let clear = [candidate(Some(0.9), false), candidate(Some(1.0), true)];
        assert_eq!(chosen(&clear), 0);
        let refused = [candidate(Some(2.0), false), candidate(None, true)];
        assert_eq!(chosen(&refused), 0);
    }
}
