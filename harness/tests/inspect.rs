//! What kernels cost on a GPU, told without one: a change that spoils how memory is accessed shows as a change of the snapshot.

use std::env;
use std::fmt::Write;

use sonew_harness::lab::inspect::{
    Arch, Inspected, ProductCost, Request, Tools, inspect, products,
};
use sonew_kernels::context::Profile;
use sonew_kernels::precision::F32;
use sonew_kernels::sonew::Blueprint;
use sonew_optimizers::PrecisionKind;
use tempfile::TempDir;

/// The compilers, or nothing and a loud word about what is missing; a panic if SONEW_REQUIRE_HOST_CUDA or SONEW_REQUIRE_NVRTC
/// is 1.
fn tools_or_skip(test: &str) -> Option<(Tools, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let lacking = |what: String, variable: &str| -> Option<(Tools, TempDir)> {
        let required = env::var(variable).is_ok_and(|it| it == "1");
        assert!(!required, "{test}: {what}");
        println!("SKIPPED: {test}: {what}");
        None
    };
    match Tools::find(folder.path().into()) {
        Err(error) => lacking(error.to_string(), "SONEW_REQUIRE_HOST_CUDA"),
        Ok(tools) => match &tools.nvrtc {
            Err(reason) => lacking(reason.clone(), "SONEW_REQUIRE_NVRTC"),
            Ok(_) => Some((tools, folder)),
        },
    }
}

fn request(kernel: Option<&str>, precisions: &[PrecisionKind], bands: &[usize]) -> Request {
    Request {
        kernel: kernel.map(Into::into),
        precisions: precisions.into(),
        bands: bands.into(),
        values: 1 << 17,
        arch: Arch::Sm90,
        blueprint: None,
    }
}

fn row(it: &Inspected) -> String {
    let mut row = format!(
        "{:<20} {:<12} {:<5} {:>4.0} % of {:>5.1} bytes",
        it.subject.kernel,
        it.subject.case,
        it.subject.precision,
        100.0 * it.efficiency[0],
        it.subject.bytes as f64 / it.subject.values as f64,
    );
    for launch in &it.launches {
        let resources = launch.resources.unwrap();
        write!(
            row,
            "   {} registers, {} spills, {} shared, {} units, {:.0} bytes each",
            resources.registers,
            resources.spills,
            launch.shared_bytes,
            launch.resident_units,
            launch.bytes_ahead,
        )
        .unwrap();
    }
    row + "\n"
}

#[test]
fn the_costs_of_the_kernels_are_those_of_the_snapshot() {
    let Some((tools, _folder)) =
        tools_or_skip("the_costs_of_the_kernels_are_those_of_the_snapshot")
    else {
        return;
    };
    let both = [PrecisionKind::F32, PrecisionKind::Bf16];
    let found = inspect(&request(None, &both, &[0, 1, 4]), tools, &mut |_| {}).unwrap();
    let table: String = found.iter().map(row).collect();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("costs", table);
    });
    for it in found.iter().filter(|it| it.subject.kernel == "sonew-step") {
        let (what, launch) = (row(it), &it.launches[0]);
        assert!(it.efficiency.iter().all(|part| *part >= 0.95), "{what}");
        assert_eq!(launch.resources.unwrap().spills, 0, "{what}");
        assert!(launch.bytes_in_flight >= 32.0 * 1024.0, "{what}");
    }
}

#[test]
fn a_walk_on_a_gpu_moves_more_than_twice_what_it_must() {
    let Some((tools, _folder)) =
        tools_or_skip("a_walk_on_a_gpu_moves_more_than_twice_what_it_must")
    else {
        return;
    };
    let walk = Request {
        blueprint: Some(Blueprint::infer::<F32>(Profile::GPU, 1)),
        ..request(Some("sonew-step"), &[PrecisionKind::F32], &[1])
    };
    let found = inspect(&walk, tools, &mut |_| {}).unwrap();
    assert!(found[0].efficiency[0] < 0.5, "{}", row(&found[0]));
}

fn product_row(it: &ProductCost) -> String {
    let (resources, [rows, columns]) = (it.launch.resources.unwrap(), it.tile);
    format!(
        "{:<22} {:<5} {:>6.3} GFLOP of {} in {:>3} tiles of {rows} × {columns}: {} registers, {} spills, {} shared, {} units, {:.0} % conflicts, {:.0} % of sectors\n",
        it.name,
        it.precision,
        1e-9 * it.operations(),
        it.factors,
        it.launch.cubes,
        resources.registers,
        resources.spills,
        it.launch.shared_bytes,
        it.launch.resident_units,
        100.0 * it.conflicts(),
        100.0 * it.access[0],
    )
}

#[test]
fn the_products_of_the_autoencoder_fill_an_h200_without_spills_and_conflicts() {
    let mut table = String::new();
    for precision in [PrecisionKind::F32, PrecisionKind::Bf16] {
        let Some((tools, _folder)) = tools_or_skip(
            "the_products_of_the_autoencoder_fill_an_h200_without_spills_and_conflicts",
        ) else {
            return;
        };
        let found = products(Arch::Sm90, precision, tools, &mut |_| {}).unwrap();
        assert_eq!(found.len(), 16);
        for it in &found {
            let row = product_row(it);
            table += &row;
            assert_eq!(it.launch.resources.unwrap().spills, 0, "{row}");
            assert!(it.conflicts() == 0.0, "{row}");
            // One for each multiprocessor.
            assert!(it.launch.cubes >= 132 || it.operations() < 0.2e9, "{row}");
        }
    }
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("products", table);
    });
}
