//! How a step of SONew grows: with the number of parameters over four decades, and with the width of the band.

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Context, PrecisionKind};

use super::kernels::kernels;
use super::request::{Request, SCALING, autoencoder};
use super::stopwatch::{Effort, Seconds};
use super::tables::milliseconds;
use super::{BenchError, Last};
use crate::table::{Column, Table};

/// Parameters: four decades in half decades.
const VALUES: [usize; 9] = [
    1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000,
];
/// The band for which they are counted.
const BAND: usize = 1;
/// Bands, on the autoencoder's tensors.
const BANDS: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 8, 10];

/// A step's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Parameters.
    pub values: usize,
    /// The width of the band.
    pub band: usize,
    /// Of a step in f32.
    pub seconds: Seconds,
}

/// Times of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// By the number of parameters.
    pub by_values: Vec<Point>,
    /// By the width of the band.
    pub by_band: Vec<Point>,
}

/// A line through points, y = start + slope · x.
struct Line {
    start: f64,
    slope: f64,
}

impl Line {
    /// The line of least squares of errors relative to y, for points of positive y.
    fn relative(points: &[(f64, f64)]) -> Self {
        Self::fit(points, |y| 1.0 / (y * y))
    }

    /// The line of least squares.
    fn plain(points: &[(f64, f64)]) -> Self {
        Self::fit(points, |_| 1.0)
    }

    fn fit(points: &[(f64, f64)], weight: impl Fn(f64) -> f64) -> Self {
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|&(x, y)| weight(y) * of(x, y)).sum()
        };
        let w = sum(&|_, _| 1.0);
        let (x, y) = (sum(&|x, _| x) / w, sum(&|_, y| y) / w);
        let slope = sum(&|a, b| (a - x) * (b - y)) / sum(&|a, _| (a - x) * (a - x));
        Self {
            start: y - slope * x,
            slope,
        }
    }
}

/// Proves and times the steps; `tell` hears of what is next.
///
/// # Errors
/// As [`kernels`].
pub fn scaling(
    context: &Context,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Scaling, BenchError> {
    let mut measure = |values: Option<usize>, band: usize| -> Result<Point, BenchError> {
        let request = Request {
            kernels: vec!["sonew-step".into()],
            sizes: vec![values.map_or_else(autoencoder, |n| vec![n])],
            effort,
            ..Request::quick(vec![PrecisionKind::F32], vec![band], Vec::new())
        };
        let values = request.sizes[0].iter().sum();
        tell(&format!("{SCALING}: {values} values, band {band}"));
        let mut last = Last::new(effort);
        kernels(context, &request, &mut last)?;
        Ok(Point {
            values,
            band,
            seconds: last.seconds(SCALING)?,
        })
    };
    let by_values = VALUES.iter().map(|&n| measure(Some(n), BAND));
    let by_values = by_values.collect::<Result<_, _>>()?;
    let by_band = BANDS.iter().map(|&band| measure(None, band));
    Ok(Scaling {
        by_values,
        by_band: by_band.collect::<Result<_, _>>()?,
    })
}

impl Scaling {
    /// What was measured, in tables and words.
    pub fn text(&self, of: impl Fn(&Table) -> String) -> String {
        let mut text = of(&self.value_table());
        let logarithms = |points: &[Point], x: &dyn Fn(&Point) -> f64| -> Vec<(f64, f64)> {
            let both = |it: &Point| (x(it).ln(), it.seconds.median.ln());
            points.iter().map(both).collect()
        };
        let points: Vec<(f64, f64)> = self
            .by_values
            .iter()
            .map(|it| (it.values as f64, it.seconds.median))
            .collect();
        let line = Line::relative(&points);
        let large: Vec<Point> = self.by_values.iter().rev().take(5).cloned().collect();
        let exponent = Line::plain(&logarithms(&large, &|it| it.values as f64)).slope;
        text += &format!(
            "\ntime = {:.3} ms + {:.2} ns · n; over the last two decades it grows as n^{exponent:.2}\n\n",
            1e3 * line.start,
            1e9 * line.slope
        );
        text += &of(&self.band_table());
        let wide: Vec<Point> = self
            .by_band
            .iter()
            .filter(|it| it.band >= 1)
            .cloned()
            .collect();
        let exponent = Line::plain(&logarithms(&wide, &|it| it.band as f64)).slope;
        text + &format!("\nfrom band 1 on it grows as b^{exponent:.2}\n")
    }

    fn value_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::right("n"),
            Column::right("band"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("ns/n"),
        ]);
        for it in &self.by_values {
            table.push(vec![
                it.values.to_string(),
                it.band.to_string(),
                milliseconds(it.seconds.median),
                milliseconds(it.seconds.least),
                format!("{:.2}", 1e9 * it.seconds.median / it.values as f64),
            ]);
        }
        table
    }

    fn band_table(&self) -> Table {
        let mut table = Table::new(vec![
            Column::right("band"),
            Column::right("n"),
            Column::right("ms"),
            Column::right("fastest"),
            Column::right("values moved per n"),
            Column::right("ns per value moved"),
        ]);
        for it in &self.by_band {
            // Gradients read, parameters and 2 + b states read and written.
            let moved = 7 + 2 * it.band;
            table.push(vec![
                it.band.to_string(),
                it.values.to_string(),
                milliseconds(it.seconds.median),
                milliseconds(it.seconds.least),
                moved.to_string(),
                format!(
                    "{:.2}",
                    1e9 * it.seconds.median / (it.values * moved) as f64
                ),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again_and_a_power_is_the_slope_of_logarithms() {
        let points: Vec<(f64, f64)> = (1..6)
            .map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x)))
            .collect();
        for line in [Line::plain(&points), Line::relative(&points)] {
            assert!((line.start - 3.0).abs() < 1e-12 && (line.slope - 2.0).abs() < 1e-12);
        }
        let cubes: Vec<(f64, f64)> = (1..6)
            .map(|x| (f64::from(x).ln(), f64::from(x).powi(3).ln()))
            .collect();
        assert!((Line::plain(&cubes).slope - 3.0).abs() < 1e-12);
    }
}
