//! What was measured, in words and tables.

use sonew_optimizers::PrecisionKind;

use super::steps::{Part, TrainingTime};
use super::{Bench, KernelTime};
use crate::table::{Column, Table};

impl Bench {
    /// What was measured, in words and tables.
    pub fn text(&self, of: impl Fn(&Table) -> String) -> String {
        let copies = self.ceiling.copies.iter().map(|copied| {
            let speed = copied.bytes_per_second / 1e9;
            format!("{speed:.2} GB/s of {} values", copied.values)
        });
        let mut text = format!(
            "copy {} (read and written), f32 product {:.1} GFLOP/s\n",
            copies.collect::<Vec<_>>().join(", "),
            self.ceiling.operations_per_second / 1e9
        );
        let parts = [
            ("kernels", self.kernel_table()),
            (
                "matrix products of the autoencoder, f32",
                self.product_table(),
            ),
            ("inverse roots, p = 4", self.root_table()),
            (
                "optimizer steps on the autoencoder's parameters",
                self.optimizer_table(),
            ),
            ("training on a thousand images", self.training_table()),
            ("first use", self.first_use_table()),
            (
                "first step of training in a process",
                self.first_step_table(),
            ),
        ];
        for (name, table) in parts {
            if !table.rows.is_empty() {
                text += &format!("\n{name}\n\n{}", of(&table));
            }
        }
        if let Some(scaling) = &self.scaling {
            text += &format!("\ngrowth of a step of SONew, f32\n\n{}", scaling.text(of));
        }
        if self.out_of_time {
            text += "\nIts time was up: what is not in the tables was not begun.\n";
        }
        text
    }

    fn kernel_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("kernel"),
            Column::left("variant"),
            Column::left("precision"),
            Column::right("values"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("GB/s"),
            Column::right("of copy"),
        ]);
        for KernelTime { subject, seconds } in &self.kernels {
            let speed = subject.bytes as f64 / seconds.median;
            table.push(vec![
                subject.kernel.clone(),
                subject.case.clone(),
                subject.precision.to_string(),
                subject.values.to_string(),
                milliseconds(seconds.median),
                milliseconds(seconds.least),
                format!("{:.2}", speed / 1e9),
                percent(speed / self.ceiling.copied_per_second(subject.values)),
            ]);
        }
        table
    }

    fn product_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("product"),
            Column::right("m"),
            Column::right("n"),
            Column::right("k"),
            Column::left("factors"),
            Column::right("tiles"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("GFLOP/s"),
            Column::right("of product"),
        ]);
        for time in &self.products {
            let subject = &time.subject;
            let side = |at: usize| match &subject.shapes[..] {
                [shape] => shape[at].to_string(),
                _ => String::new(),
            };
            let speed = subject.operations() / time.seconds.median;
            table.push(vec![
                subject.name.clone(),
                side(0),
                side(1),
                side(2),
                subject.factors.to_string(),
                subject.tiles.map_or("–".into(), |tiles| tiles.to_string()),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                format!("{:.1}", speed / 1e9),
                percent(speed / self.ceiling.operations_per_second),
            ]);
        }
        table
    }

    fn root_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("method"),
            Column::right("matrices"),
            Column::right("n"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("GFLOP/s"),
            Column::right("of product"),
        ]);
        for time in &self.roots {
            let speed = time.operations.map(|count| count / time.seconds.median);
            table.push(vec![
                time.method.clone(),
                time.matrices.to_string(),
                time.n.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                speed.map_or("–".into(), |speed| format!("{:.1}", speed / 1e9)),
                speed.map_or("–".into(), |speed| {
                    percent(speed / self.ceiling.operations_per_second)
                }),
            ]);
        }
        table
    }

    fn optimizer_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("optimizer"),
            Column::left("precision"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("times Adam"),
            Column::right("bytes/parameter"),
            Column::right("of copy"),
        ]);
        for time in &self.optimizers {
            let bytes = time.parameters as f64 * time.bytes_per_parameter;
            let speed = bytes / time.seconds.median;
            table.push(vec![
                time.optimizer.clone(),
                time.precision.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                format!("{:.2}", time.times_adam),
                format!("{:.0}", time.bytes_per_parameter),
                percent(speed / self.ceiling.copied_per_second(time.parameters)),
            ]);
        }
        table
    }

    fn training_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("part"),
            Column::left("precision"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("over Adam's"),
        ]);
        let adam = |precision: PrecisionKind| {
            let whole = Part::Step("adam".into());
            let of = |it: &&TrainingTime| it.precision == precision && it.part == whole;
            self.training.iter().find(of).map(|it| it.seconds.median)
        };
        for time in &self.training {
            let over = match (&time.part, adam(time.precision)) {
                (Part::Step(_), Some(adam)) => percent(time.seconds.median / adam - 1.0),
                _ => String::new(),
            };
            table.push(vec![
                time.part.to_string(),
                time.precision.to_string(),
                milliseconds(time.seconds.median),
                milliseconds(time.seconds.least),
                over,
            ]);
        }
        table
    }

    fn first_use_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("optimizer"),
            Column::left("precision"),
            Column::right("cold, ms"),
            Column::right("warm, ms"),
        ]);
        for it in &self.first_uses {
            table.push(vec![
                it.optimizer.clone(),
                it.precision.to_string(),
                format!("{:.1}", 1e3 * it.cold),
                format!("{:.1}", 1e3 * it.warm),
            ]);
        }
        table
    }
}

impl Bench {
    fn first_step_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::left("optimizer"),
            Column::left("precision"),
            Column::right("nothing kept, ms"),
            Column::right("kernels kept, ms"),
        ]);
        for it in &self.first_steps {
            table.push(vec![
                it.optimizer.clone(),
                it.precision.to_string(),
                format!("{:.1}", 1e3 * it.cold),
                format!("{:.1}", 1e3 * it.kept),
            ]);
        }
        table
    }
}

pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", 1e3 * seconds)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
