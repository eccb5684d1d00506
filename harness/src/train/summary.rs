//! What came out of a run in a few numbers, and several runs side by side.

use serde::{Deserialize, Serialize};

use super::not_a_number;
use super::plan::Plan;
use crate::table::{Column, Table};

/// A run in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The name shown in tables and legends.
    pub optimizer: String,
    /// Training loss after each epoch, from epoch 0, in the unit of the workload. Not a number where it diverged.
    #[serde(with = "not_a_number::many")]
    pub losses: Vec<f64>,
    /// Mean wall time of an epoch, evaluation not counted; not a number, as the time of a step, if there was none.
    #[serde(with = "not_a_number::one")]
    pub seconds_per_epoch: f64,
    /// Mean wall time of an evaluation on all examples.
    #[serde(default = "unknown", with = "not_a_number::one")]
    pub seconds_per_evaluation: f64,
    /// Mean wall time of an optimizer step, in milliseconds.
    #[serde(with = "not_a_number::one")]
    pub optimizer_ms_per_step: f64,
    /// Bytes of a parameter.
    #[serde(default = "f32_bytes")]
    pub parameter_bytes: f64,
    /// Bytes of optimizer state per parameter, the parameter itself not counted; not a number if there was no optimizer.
    #[serde(with = "not_a_number::one")]
    pub state_bytes_per_parameter: f64,
    /// Mean milliseconds of a step by part of the optimizer, in order, for optimizers that have parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optimizer_parts: Vec<(String, f64)>,
    /// Anything a reader should know, such as "interrupted"; may be empty.
    #[serde(default)]
    pub note: String,
}

impl RunSummary {
    /// Of a run as planned that has not come to anything yet.
    pub fn of_nothing(plan: &Plan) -> Self {
        Self {
            optimizer: plan.label.clone(),
            losses: Vec::new(),
            seconds_per_epoch: f64::NAN,
            seconds_per_evaluation: f64::NAN,
            optimizer_ms_per_step: f64::NAN,
            parameter_bytes: plan.numerics.precision.parameter_bytes() as f64,
            state_bytes_per_parameter: f64::NAN,
            optimizer_parts: Vec::new(),
            note: String::new(),
        }
    }

    /// The loss after the last epoch, if there was one.
    pub fn final_loss(&self) -> Option<f64> {
        self.losses.last().copied()
    }

    /// The smallest finite loss and the epoch after which it was measured.
    pub fn best_loss(&self) -> Option<(usize, f64)> {
        let finite = self
            .losses
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, loss)| loss.is_finite());
        finite.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

/// Runs side by side, in the order given: final and best loss, the losses after the `epochs` asked for, times, and bytes of
/// the parameter and of the optimizer's state per parameter.
pub fn comparison(runs: &[RunSummary], epochs: &[usize]) -> Table {
    let mut columns = vec![
        Column::left("optimizer"),
        Column::right("final loss"),
        Column::right("best loss (epoch)"),
    ];
    columns.extend(
        epochs
            .iter()
            .map(|epoch| Column::right(format!("epoch {epoch}"))),
    );
    columns.extend(
        ["s/epoch", "optimizer ms/step", "bytes/parameter"]
            .into_iter()
            .map(Column::right),
    );
    let parts = runs.iter().any(|run| !run.optimizer_parts.is_empty());
    if parts {
        columns.push(Column::left("ms/step by part"));
    }
    let noted = runs.iter().any(|run| !run.note.is_empty());
    if noted {
        columns.push(Column::left("note"));
    }
    let mut table = Table::new(columns);
    for run in runs {
        let best = run
            .best_loss()
            .map(|(epoch, loss)| format!("{loss:.3} ({epoch})"));
        let mut row = vec![
            run.optimizer.clone(),
            loss_cell(run.final_loss()),
            best.unwrap_or_else(none),
        ];
        row.extend(
            epochs
                .iter()
                .map(|&epoch| loss_cell(run.losses.get(epoch).copied())),
        );
        row.push(cell(run.seconds_per_epoch, 3));
        row.push(cell(run.optimizer_ms_per_step, 3));
        let state = cell(run.state_bytes_per_parameter, 2);
        row.push(format!("{:.2} + {state}", run.parameter_bytes));
        if parts {
            let cells = run.optimizer_parts.iter();
            let cells: Vec<String> = cells.map(|(part, ms)| format!("{part} {ms:.1}")).collect();
            row.push(cells.join(", "));
        }
        if noted {
            row.push(run.note.clone());
        }
        table.push(row);
    }
    table
}

/// Epochs worth a column of their own in a run of `epochs` epochs: all of a short run, a few of a long one, the last left to its own
/// column.
pub fn epochs_to_show(epochs: usize) -> Vec<usize> {
    if epochs <= 8 {
        return (0..epochs.saturating_sub(1)).collect();
    }
    let mut shown: Vec<usize> = [1, 2, 5]
        .iter()
        .map(|tenths| epochs * tenths / 10)
        .collect();
    shown.dedup();
    shown.retain(|&epoch| epoch > 0 && epoch + 1 < epochs);
    shown
}

/// What a parameter took before there were other formats.
fn unknown() -> f64 {
    f64::NAN
}

fn f32_bytes() -> f64 {
    4.0
}

fn loss_cell(loss: Option<f64>) -> String {
    match loss {
        Some(loss) if loss.is_finite() => format!("{loss:.3}"),
        Some(_) => "diverged".into(),
        None => none(),
    }
}

fn cell(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        none()
    }
}

fn none() -> String {
    "–".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(optimizer: &str, losses: &[f64]) -> RunSummary {
        RunSummary {
            optimizer: optimizer.into(),
            losses: losses.to_vec(),
            seconds_per_epoch: 0.25,
            seconds_per_evaluation: 0.125,
            optimizer_ms_per_step: 0.5,
            parameter_bytes: 4.0,
            state_bytes_per_parameter: 12.0,
            optimizer_parts: Vec::new(),
            note: String::new(),
        }
    }

    #[test]
    fn final_and_best_loss_are_told_apart() {
        let summary = run("adam", &[544.0, 60.0, 55.5, 56.25]);
        assert_eq!(
            (summary.final_loss(), summary.best_loss()),
            (Some(56.25), Some((2, 55.5)))
        );
    }

    #[test]
    fn a_diverged_run_keeps_its_row() {
        let table = comparison(
            &[
                run("adam", &[544.0, 60.0]),
                run("sgd", &[544.0, f64::NAN]),
                run("new", &[]),
            ],
            &[0],
        );
        assert_eq!(
            table.rows[0][..4],
            ["adam", "60.000", "60.000 (1)", "544.000"]
        );
        assert_eq!(
            table.rows[1][..4],
            ["sgd", "diverged", "544.000 (0)", "544.000"]
        );
        assert_eq!(table.rows[2][..4], ["new", "–", "–", "–"]);
        assert_eq!(table.columns.len(), 7);
    }

    #[test]
    fn the_parts_of_a_step_have_a_column_where_there_are_any() {
        let parts = RunSummary {
            optimizer_parts: vec![("statistics".into(), 1.25), ("roots".into(), 3.0)],
            ..run("shampoo", &[1.0])
        };
        let table = comparison(&[run("adam", &[1.0]), parts], &[]);
        assert_eq!(table.columns.last().unwrap().heading, "ms/step by part");
        assert_eq!(table.rows[0].last().unwrap(), "");
        assert_eq!(table.rows[1].last().unwrap(), "statistics 1.2, roots 3.0");
    }

    #[test]
    fn a_note_brings_its_column() {
        let noted = RunSummary {
            note: "interrupted".into(),
            ..run("adam", &[1.0])
        };
        assert_eq!(
            comparison(&[noted], &[]).columns.last().unwrap().heading,
            "note"
        );
    }

    #[test]
    fn a_diverged_summary_survives_json() {
        let json = serde_json::to_string(&run("sgd", &[544.0, f64::INFINITY])).unwrap();
        assert!(json.contains("[544.0,null]"));
        assert!(serde_json::from_str::<RunSummary>(&json).unwrap().losses[1].is_nan());
    }

    #[test]
    fn shown_epochs_lie_inside_the_run() {
        assert_eq!(epochs_to_show(100), [10, 20, 50]);
        assert_eq!(epochs_to_show(10), [1, 2, 5]);
        assert_eq!(epochs_to_show(4), [0, 1, 2]);
        assert_eq!(epochs_to_show(1), [0; 0]);
    }
}
