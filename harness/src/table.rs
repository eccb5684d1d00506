//! Tables for people and programs: Markdown, CSV, and aligned text for a terminal.

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column's heading and side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub heading: String,
    /// Where its cells stand.
    pub align: Align,
}

impl Column {
    /// A column of words.
    pub fn left(heading: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            align: Align::Left,
        }
    }

    /// A column of numbers.
    pub fn right(heading: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            align: Align::Right,
        }
    }
}

/// Rows of text cells under headings. A row that is too short ends in empty cells; cells past the last column are not
/// shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl Into<Vec<String>>) {
        self.rows.push(row.into());
    }

    /// The table in Markdown, padded so that it also reads as text. Vertical bars in cells are escaped.
    pub fn to_markdown(&self) -> String {
        let grid = self.grid(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let widths: Vec<usize> = widths(&grid)
            .into_iter()
            .map(|width| width.max(3))
            .collect();
        let rule = self
            .columns
            .iter()
            .zip(&widths)
            .map(|(column, width)| match column.align {
                Align::Left => "-".repeat(*width),
                Align::Right => format!("{}:", "-".repeat(width - 1)),
            });
        let mut lines: Vec<String> = grid
            .iter()
            .map(|row| self.padded(row, &widths).join(" | "))
            .collect();
        lines.insert(1, rule.collect::<Vec<_>>().join(" | "));
        lines.iter().map(|line| format!("| {line} |\n")).collect()
    }

    /// The table as comma-separated values (RFC 4180, with plain line feeds).
    pub fn to_csv(&self) -> String {
        let quoted = |cell: &str| {
            if cell.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        self.grid(quoted)
            .iter()
            .map(|row| row.join(",") + "\n")
            .collect()
    }

    /// The table as aligned text for a terminal, with a rule under the headings.
    pub fn to_text(&self) -> String {
        let (mut lines, widths) = self.columns();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        lines.insert(1, rule.join("  "));
        lines.join("\n") + "\n"
    }

    /// As [`Table::to_text`], without the rule.
    pub fn to_columns(&self) -> String {
        self.columns().0.join("\n") + "\n"
    }

    /// Headings and rows, aligned, and the width of each column.
    fn columns(&self) -> (Vec<String>, Vec<usize>) {
        let grid = self.grid(|cell| cell.replace('\n', " "));
        let widths = widths(&grid);
        let line = |row: &Vec<String>| {
            let cells = self.padded(row, &widths).join("  ");
            cells.trim_end().to_owned()
        };
        (grid.iter().map(line).collect(), widths)
    }

    /// Headings and rows, each as long as there are columns.
    fn grid(&self, write: impl Fn(&str) -> String) -> Vec<Vec<String>> {
        let headings = self
            .columns
            .iter()
            .map(|column| write(&column.heading))
            .collect();
        let rows = self.rows.iter().map(|row| {
            (0..self.columns.len())
                .map(|index| row.get(index).map_or_else(String::new, |cell| write(cell)))
                .collect()
        });
        std::iter::once(headings).chain(rows).collect()
    }

    fn padded(&self, row: &[String], widths: &[usize]) -> Vec<String> {
        self.columns
            .iter()
            .zip(row)
            .zip(widths)
            .map(|((column, cell), &width)| match column.align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect()
    }
}

fn widths(grid: &[Vec<String>]) -> Vec<usize> {
    let columns = grid.first().map_or(0, Vec::len);
    (0..columns)
        .map(|index| {
            grid.iter()
                .map(|row| row[index].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::new([Column::left("optimizer"), Column::right("loss")]);
        table.push(["SONew, band 4".to_owned(), "51.36".into()]);
        table.push(["a|b \"c\"".to_owned()]);
        table
    }

    #[test]
    fn markdown_has_a_rule_and_escaped_bars() {
        let expected = "\
| optimizer     |  loss |
| ------------- | ----: |
| SONew, band 4 | 51.36 |
| a\\|b \"c\"      |       |
";
        assert_eq!(example().to_markdown(), expected);
    }

    #[test]
    fn csv_quotes_commas_and_quotes() {
        assert_eq!(
            example().to_csv(),
            "optimizer,loss\n\"SONew, band 4\",51.36\n\"a|b \"\"c\"\"\",\n"
        );
    }

    #[test]
    fn text_lines_up() {
        let expected = "\
optimizer       loss
─────────────  ─────
SONew, band 4  51.36
a|b \"c\"
";
        assert_eq!(example().to_text(), expected);
    }

    #[test]
    fn a_table_without_rows_or_columns_is_still_written() {
        assert_eq!(Table::new([Column::right("x")]).to_csv(), "x\n");
        assert_eq!(Table::default().to_csv(), "\n");
        let _ = (Table::default().to_markdown(), Table::default().to_text());
    }
}
