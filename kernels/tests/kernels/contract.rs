//! The contract of all backends on the software driver: oracles against snapshots, and kernels against oracles.

use cubecl::Runtime;
use sonew_kernels::contract::{EDGES, Formats, SMALL};
use sonew_kernels::precision::PrecisionKind;
use sonew_runtime::Gpu;

use crate::agreement::{follows_snapshot, hold};
use crate::bench::*;
use crate::tally::Tally;

/// Holds each kernel to its oracle on tensors of these lengths, the oracles of `SMALL` to their snapshots, and notes what the
/// device covers.
fn follows(formats: Formats, bench: &Bench, lengths: &[usize], coverage: &mut Tally) {
    for check in formats.checks() {
        let here = match hold(&check, &bench.context, lengths, formats.name()) {
            Ok(outcomes) => {
                if lengths == SMALL {
                    follows_snapshot(&check, &outcomes);
                }
                formats.coverage(&bench.context)
            }
            Err(lacking) => lacking,
        };
        coverage.note(&check, formats.name(), here.to_string());
    }
}

/// Does that in every precision, and holds what is covered to its snapshot.
fn follows_everywhere(lengths: &[usize]) {
    let bench = Bench::open();
    let mut coverage = Tally::default();
    for formats in Formats::ALL {
        follows(formats, &bench, lengths, &mut coverage);
    }
    coverage.follows_snapshot("software-coverage");
}

#[test]
fn every_kernel_in_every_precision_follows_the_same_snapshots() {
    follows_everywhere(SMALL);
}

#[test]
fn every_kernel_in_every_precision_follows_its_oracle_at_the_edges_of_blocks() {
    follows_everywhere(EDGES);
}

#[test]
fn so_does_what_takes_long_to_compile() {
    let bench = Bench::open();
    if Gpu::name(bench.context.client()) == "wgpu<spirv>" {
        println!(
            "SKIPPED: CubeCL's optimizer for SPIR-V would take minutes for each of these texts"
        );
        return;
    }
    for formats in Formats::ALL {
        for check in formats.long_checks() {
            let outcomes = hold(&check, &bench.context, SMALL, formats.name()).unwrap();
            follows_snapshot(&check, &outcomes);
        }
    }
}

#[test]
fn a_kernel_gives_the_same_bits_twice() {
    let bench = Bench::open();
    let formats = Formats::from(PrecisionKind::F32);
    for check in formats.checks() {
        let bits = || -> Option<Vec<u32>> {
            let outcomes = hold(&check, &bench.context, EDGES, formats.name()).ok()?;
            let values = outcomes.iter().flat_map(|outcome| &outcome.found);
            Some(values.map(|x| x.to_bits()).collect())
        };
        assert!(bits() == bits(), "{} {}", check.kernel, check.case);
    }
}
