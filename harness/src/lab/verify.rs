//! The contract of all backends, checked on one device: every kernel in every precision against its oracle, twice, for the
//! same bits, and training with every optimizer against f64.

use std::collections::HashSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sonew_kernels::contract::{Check, Coverage, EDGES, Formats, LARGE, Outcome, SMALL, Worst};
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::precision::PrecisionKind;
use sonew_optimizers::Context;

use crate::lab::training_contract::cases;
use crate::table::{Column, Table};
use crate::workloads::autoencoder::network::Route;

/// The name of the lines about training.
pub const TRAINING: &str = "training";

/// What is checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only these kernels, or [`TRAINING`]; all if there are none.
    pub kernels: Vec<String>,
    /// In these precisions.
    pub precisions: Vec<PrecisionKind>,
    /// Also at the edges of blocks, and on more than 2²⁴ values.
    pub full: bool,
}

impl Request {
    fn asks(&self, kernel: &str) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|it| it == kernel)
    }
}

/// What became of a kernel in a precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Within its tolerance everywhere, and the same bits twice.
    Right,
    /// Beyond its tolerance.
    Off,
    /// Within its tolerance, but of other bits the second time.
    NotRepeatable,
    /// A launch was refused, or failed.
    Failed {
        /// How.
        reason: String,
    },
    /// The device cannot do this.
    Unsupported {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether a device with this verdict breaks the contract.
    pub fn breaks(&self) -> bool {
        !matches!(self, Self::Right | Self::Unsupported { .. })
    }

    fn text(&self) -> String {
        match self {
            Self::Right => "right".into(),
            Self::Off => "OFF".into(),
            Self::NotRepeatable => "NOT REPEATABLE".into(),
            Self::Failed { reason } => format!("FAILED: {reason}"),
            Self::Unsupported { reason } => format!("unsupported: {reason}"),
        }
    }
}

/// A kernel in a precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The kernel.
    pub kernel: String,
    /// The precision.
    pub precision: PrecisionKind,
    /// How the device has its formats: [`Coverage::word`].
    pub formats: String,
    /// Variants and sizes that were run.
    pub cases: usize,
    /// The case and value that used up most of what it is allowed.
    pub case: String,
    /// |found − expected| of that value.
    pub error: Option<f64>,
    /// What it is allowed.
    pub tolerance: Option<f64>,
    /// The quotient of the two: at most 1 where the kernel is right.
    #[serde(skip)]
    pub share: f64,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Names that [`Request::kernels`] may have.
pub fn kernels() -> Vec<&'static str> {
    let mut names = Vec::new();
    for check in Formats::from(PrecisionKind::F32).checks() {
        if !names.contains(&check.kernel) {
            names.push(check.kernel);
        }
    }
    names.push(TRAINING);
    names
}

/// Checks what was asked for, and calls `progress` with what is next.
pub fn verify(
    context: &Rc<Context>,
    request: &Request,
    mut progress: impl FnMut(&str),
) -> Vec<Line> {
    let mut lines = Vec::new();
    for &precision in &request.precisions {
        let asked = Asked {
            context,
            request,
            precision,
            progress: &mut progress,
        };
        lines.extend(asked.lines());
    }
    lines
}

/// The lines as a table.
pub fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(vec![
        Column::left("kernel"),
        Column::left("precision"),
        Column::left("formats"),
        Column::right("cases"),
        Column::right("largest error"),
        Column::right("tolerance"),
        Column::left("verdict"),
        Column::left("at"),
    ]);
    let number = |x: Option<f64>| x.map_or("–".into(), |x| format!("{x:.1e}"));
    for line in lines {
        table.push(vec![
            line.kernel.clone(),
            line.precision.to_string(),
            line.formats.clone(),
            line.cases.to_string(),
            number(line.error),
            number(line.tolerance),
            line.verdict.text(),
            line.case.clone(),
        ]);
    }
    table
}

/// What is asked of one precision.
struct Asked<'a> {
    context: &'a Rc<Context>,
    request: &'a Request,
    precision: PrecisionKind,
    progress: &'a mut dyn FnMut(&str),
}

impl Asked<'_> {
    fn lines(self) -> Vec<Line> {
        let formats = Formats::from(self.precision);
        let coverage = formats.coverage(self.context);
        let mut lines: Vec<Line> = Vec::new();
        let mut with_many = HashSet::new();
        for check in formats.checks() {
            if !self.request.asks(check.kernel) {
                continue;
            }
            let known = lines.iter().position(|line| line.kernel == check.kernel);
            let at = known.unwrap_or(lines.len());
            if known.is_none() {
                lines.push(Line::new(check.kernel, self.precision, &coverage));
            }
            let line = &mut lines[at];
            if matches!(coverage, Coverage::Unsupported { .. }) {
                continue;
            }
            (self.progress)(&format!(
                "{} {}, {}",
                check.kernel,
                check.case,
                formats.name()
            ));
            // One variant of a kernel is made with many values: how an index is computed does not depend on the variant. Band
            // 0 is left to the next, which has buffers of edges.
            let large = self.request.full
                && !check.case.contains("band 0")
                && with_many.insert(check.kernel);
            for (size, lengths) in sizes(self.request.full, large) {
                line.take(self.context, &check, size, lengths);
            }
        }
        if self.request.asks(TRAINING) {
            lines.push(self.training(&coverage));
        }
        lines
    }
}

impl Asked<'_> {
    /// Training with every optimizer.
    fn training(self, coverage: &Coverage) -> Line {
        let mut line = Line::new(TRAINING, self.precision, coverage);
        if matches!(coverage, Coverage::Unsupported { .. }) {
            return line;
        }
        for case in cases() {
            (self.progress)(&format!(
                "{TRAINING} {}, {}",
                case.optimizer, self.precision
            ));
            line.cases += 1;
            match case.follow(self.context, self.precision, Route::Auto) {
                Err(error) => {
                    line.case = case.optimizer.into();
                    let reason = error.to_string();
                    line.verdict = Verdict::Failed { reason };
                    return line;
                }
                Ok(followed) => {
                    let (step, error, allowed) = followed.worst();
                    let case = format!("{}, loss of step {step}", case.optimizer);
                    line.note(case, error, allowed);
                }
            }
        }
        line
    }
}

/// The sizes at which a check is made.
fn sizes(full: bool, large: bool) -> Vec<(&'static str, &'static [usize])> {
    let mut sizes = vec![("small", SMALL)];
    sizes.extend(full.then_some(("edges", EDGES)));
    sizes.extend(large.then_some(("2²⁴ values and more", LARGE)));
    sizes
}

impl Line {
    fn new(kernel: &str, precision: PrecisionKind, coverage: &Coverage) -> Self {
        Self {
            kernel: kernel.into(),
            precision,
            formats: coverage.word().into(),
            cases: 0,
            case: String::new(),
            error: None,
            tolerance: None,
            share: 0.0,
            verdict: match coverage {
                Coverage::Native | Coverage::Emulated => Verdict::Right,
                Coverage::Unsupported { reason } => Verdict::Unsupported {
                    reason: reason.clone(),
                },
            },
        }
    }

    /// Takes in a value that is off by `error`.
    fn note(&mut self, case: String, error: f64, allowed: f64) {
        let share = if error == 0.0 { 0.0 } else { error / allowed };
        if share > self.share || self.error.is_none() {
            self.case = case;
            self.error = Some(error);
            self.tolerance = Some(allowed);
            self.share = share;
        }
        if share > 1.0 {
            self.verdict = Verdict::Off;
        }
    }

    /// Takes in that a case was refused or failed. A failure is the worse of the two.
    fn refuse(&mut self, case: String, error: &KernelError) {
        let reason = error.to_string();
        let verdict = match Coverage::refused(error) {
            None => Verdict::Failed { reason },
            Some(_) if self.verdict == Verdict::Right => Verdict::Unsupported { reason },
            Some(_) => return,
        };
        (self.case, self.verdict) = (case, verdict);
    }

    fn take(&mut self, context: &Context, check: &Check, size: &str, lengths: &[usize]) {
        let case = match check.case.as_str() {
            "" => size.to_owned(),
            case => format!("{case}, {size}"),
        };
        self.cases += 1;
        let run = || check.run(context, lengths);
        let (first, second) = match run().and_then(|first| Ok((first, run()?))) {
            Ok(both) => both,
            Err(error) => {
                self.refuse(case, &error);
                return;
            }
        };
        if let Some((name, worst)) = worst(&first) {
            self.note(format!("{case}, {name}"), worst.error, worst.allowed);
        }
        if !self.verdict.breaks() && bits(&first) != bits(&second) {
            self.verdict = Verdict::NotRepeatable;
        }
    }
}

/// The value that uses up most of what it is allowed, and what it is.
fn worst(outcomes: &[Outcome]) -> Option<(&str, Worst)> {
    outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.name.as_str(), outcome.worst()?)))
        .max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio()))
}

fn bits(outcomes: &[Outcome]) -> Vec<u32> {
    let values = outcomes.iter().flat_map(|outcome| &outcome.found);
    values.map(|x| x.to_bits()).collect()
}
