//! How fast a device computes matrix products in tiles of each form.

use serde::{Deserialize, Serialize};
use sonew_kernels::launch::TileSpeed;
use sonew_kernels::product::{Blueprint, Factors, Parts, multiprocessors};
use sonew_optimizers::{Context, Units};

use crate::lab::bench::tables::percent;
use crate::lab::bench::{BenchError, Effort, tile};
use crate::table::{Column, Table};

/// What the command line calls them.
pub const PRODUCT: &str = "product";

/// Terms of the products that are timed.
const TERMS: usize = 2048;
/// Tiles for each multiprocessor.
const TURNS: usize = 8;

/// A form, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileTime {
    /// The form, and its speed relative to the fastest of its factors.
    #[serde(flatten)]
    pub tile: TileSpeed,
    /// Products and sums a second.
    pub operations_per_second: f64,
}

/// Times tiles of every form that the device takes, on results that give each multiprocessor the same number of them, and proves what
/// they find; `tell` hears of what is next.
///
/// # Errors
/// [`BenchError::NoTiles`] where products run in host memory; as [`tile`].
pub fn tiles(
    context: &Context,
    effort: Effort,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<TileTime>, BenchError> {
    if context.profile().units == Units::Few {
        return Err(BenchError::NoTiles);
    }
    let processors = multiprocessors(context);
    let parts = [Parts::Bf16, Parts::F16, Parts::Three, Parts::Tf32];
    let there = parts.into_iter().filter(|parts| parts.have_units(context));
    let factors = [Factors::Whole]
        .into_iter()
        .chain(there.map(Factors::Matrix));
    let mut found = Vec::new();
    for factors in factors {
        let mut times = Vec::new();
        for blueprint in Blueprint::all(factors).chain([Blueprint::small(factors)]) {
            let Blueprint {
                rows,
                columns,
                slices,
                ..
            } = blueprint;
            tell(&format!(
                "{factors} in tiles of {rows} × {columns}, {slices} slices"
            ));
            let shape @ [m, n, k] = [rows * processors, columns * TURNS, TERMS];
            let seconds = tile(context, blueprint.fitted(context), shape, effort)?;
            let operations = 2.0 * (m * n * k) as f64;
            times.push((blueprint, operations / seconds.median));
        }
        found.extend(compared(&times));
    }
    Ok(found)
}

/// What forms of the same factors do beside the fastest of them.
fn compared(times: &[(Blueprint, f64)]) -> Vec<TileTime> {
    let fastest = times.iter().fold(0.0, |most: f64, it| most.max(it.1));
    let time = |&(blueprint, rate): &(Blueprint, f64)| {
        let Blueprint {
            factors,
            rows,
            columns,
            slices,
            ..
        } = blueprint;
        TileTime {
            tile: TileSpeed {
                factors,
                rows,
                columns,
                slices,
                speed: rate / fastest,
            },
            operations_per_second: rate,
        }
    };
    times.iter().map(time).collect()
}

/// A row for each form.
pub fn table(found: &[TileTime]) -> Table {
    let mut table = Table::new(vec![
        Column::left("factors"),
        Column::left("tile"),
        Column::right("slices"),
        Column::right("TFLOP/s"),
        Column::right("of the fastest"),
    ]);
    for TileTime {
        tile,
        operations_per_second,
    } in found
    {
        table.push(vec![
            tile.factors.to_string(),
            format!("{} × {}", tile.rows, tile.columns),
            tile.slices.to_string(),
            format!("{:.2}", 1e-12 * operations_per_second),
            percent(tile.speed),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_of_each_factors_has_a_speed_of_one() {
        let forms: Vec<Blueprint> = Blueprint::all(Factors::Whole).collect();
        let found = compared(&[(forms[0], 2e12), (forms[1], 4e12)]);
        assert_eq!(found[0].tile.speed, 0.5);
        assert_eq!(found[1].tile.speed, 1.0);
        assert!(found[1].tile.is_of(forms[1]) && !found[1].tile.is_of(forms[0]));
    }
}
