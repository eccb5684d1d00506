//! Costs as tables.

use sonew_kernels::product::Factors;

use super::{Inspected, LaunchCost, ProductCost};
use crate::lab::bench::tables::percent;
use crate::table::{Column, Table};

/// One row for each kernel: what it moves beside what it must, what a unit needs, and the least time at `copy` bytes and `rate`
/// operations a second.
pub fn costs(inspected: &[Inspected], copy: f64, rate: f64) -> Table {
    let mut table = Table::new(vec![
        Column::left("kernel"),
        Column::left("variant"),
        Column::left("precision"),
        Column::right("launches"),
        Column::right("bytes/value"),
        Column::right("moved"),
        Column::right("efficiency"),
        Column::right("64 wide"),
        Column::right("registers"),
        Column::right("spills"),
        Column::right("shared"),
        Column::right("conflicts"),
        Column::right("resident"),
        Column::right("ahead"),
        Column::right("in flight"),
        Column::right("floor, µs"),
        Column::right("arithmetic"),
    ]);
    for it in inspected {
        let values = it.subject.values as f64;
        let moved: u64 = it.launches.iter().map(|it| it.traffic[0].moved).sum();
        let (memory, arithmetic) = it.floor(copy, rate);
        let mut row = vec![
            it.subject.kernel.clone(),
            it.subject.case.clone(),
            it.subject.precision.to_string(),
            it.launches.len().to_string(),
            format!("{:.1}", it.subject.bytes as f64 / values),
            format!("{:.1}", moved as f64 / values),
            percent(it.efficiency[0]),
            percent(it.efficiency[1]),
        ];
        row.extend(it.heaviest().map(of_launch).unwrap_or_default());
        row.resize(15, String::new());
        row.push(format!("{:.1}", 1e6 * memory));
        row.push(format!("{:.1}", 1e6 * arithmetic));
        table.push(row);
    }
    table
}

/// One row for each launch of products: how it fills the device, what a unit needs, and the least time at `rate` instructions a
/// second, if units multiply.
pub fn products(found: &[ProductCost], rate: f64) -> Table {
    let mut table = Table::new(vec![
        Column::left("product"),
        Column::right("m"),
        Column::right("n"),
        Column::right("k"),
        Column::right("GFLOP"),
        Column::left("factors"),
        Column::left("tile"),
        Column::right("slices"),
        Column::right("cubes"),
        Column::right("units"),
        Column::right("resident"),
        Column::right("registers"),
        Column::right("spills"),
        Column::right("shared"),
        Column::right("conflicts"),
        Column::right("of sectors"),
        Column::right("64 wide"),
        Column::right("floor, µs"),
    ]);
    for it in found {
        let of = |value: Option<u32>| value.map_or("–".into(), |it| it.to_string());
        let side = |at: usize| match &it.shapes[..] {
            [shape] => shape[at].to_string(),
            _ => String::new(),
        };
        table.push(vec![
            it.name.clone(),
            side(0),
            side(1),
            side(2),
            format!("{:.3}", 1e-9 * it.operations()),
            it.factors.to_string(),
            format!("{} × {}", it.tile[0], it.tile[1]),
            it.slices.to_string(),
            it.launch.cubes.to_string(),
            it.launch.units.to_string(),
            it.launch.resident_units.to_string(),
            of(it.launch.resources.map(|it| it.registers)),
            of(it.launch.resources.map(|it| it.spills)),
            it.launch.shared_bytes.to_string(),
            percent(it.conflicts()),
            percent(it.access[0]),
            percent(it.access[1]),
            // A product and a sum are one instruction of a unit.
            match it.factors {
                Factors::Matrix(_) => "–".into(),
                _ => format!("{:.1}", 1e6 * it.operations() / (2.0 * rate)),
            },
        ]);
    }
    table
}

/// What the units of a launch need.
fn of_launch(launch: &LaunchCost) -> Vec<String> {
    let of = |value: Option<u32>| value.map_or("–".into(), |it| it.to_string());
    let shared = &launch.traffic[0];
    let conflicts = match shared.shared_least {
        0 => "–".into(),
        least => percent(shared.shared_passes as f64 / least as f64 - 1.0),
    };
    vec![
        of(launch.resources.map(|it| it.registers)),
        of(launch.resources.map(|it| it.spills)),
        launch.shared_bytes.to_string(),
        conflicts,
        launch.resident_units.to_string(),
        format!("{:.0} B", launch.bytes_ahead),
        format!("{:.1} KiB", launch.bytes_in_flight / 1024.0),
    ]
}

/// One row for each place in the texts that accesses memory.
pub fn sites(inspected: &[Inspected]) -> Table {
    let mut table = Table::new(vec![
        Column::left("kernel"),
        Column::left("variant"),
        Column::left("precision"),
        Column::left("entry"),
        Column::right("line"),
        Column::left("buffer"),
        Column::left("access"),
        Column::right("requests"),
        Column::right("bytes"),
        Column::right("sectors"),
        Column::right("of least"),
        Column::right("moved"),
    ]);
    for it in inspected {
        for launch in &it.launches {
            for site in &launch.traffic[0].sites {
                table.push(vec![
                    it.subject.kernel.clone(),
                    it.subject.case.clone(),
                    it.subject.precision.to_string(),
                    launch.entry.clone(),
                    site.line.to_string(),
                    format!("buffer_{}", site.buffer),
                    if site.store { "write" } else { "read" }.into(),
                    site.requests.to_string(),
                    site.bytes.to_string(),
                    site.sectors.to_string(),
                    percent(site.sectors as f64 / site.least_sectors.max(1) as f64),
                    site.moved.to_string(),
                ]);
            }
        }
    }
    table
}
