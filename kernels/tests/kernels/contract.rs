//! The contract of all backends on the software driver: oracles against snapshots, and kernels against oracles.

use std::fmt::Write;

use sonew_kernels::contract::{EDGES, Outcome, SMALL, checks};
use sonew_kernels::precision::{F32, Precision};

use crate::bench::*;

/// What an oracle says, ten digits of each value.
fn text(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        writeln!(text, "{}", outcome.name).unwrap();
        for row in outcome.expected.chunks(6) {
            let row: Vec<String> = row.iter().map(|x| format!("{x:.9e}")).collect();
            writeln!(text, "  {}", row.join(" ")).unwrap();
        }
    }
    text
}

/// Holds each kernel to its oracle, and the oracle to what `expected` makes of it.
fn holds<P: Precision>(bench: &Bench, lengths: &[usize], same: impl Fn(&str, &[Outcome])) {
    let backend = <R as cubecl::Runtime>::name(bench.context.client());
    for check in checks::<P, R>() {
        let name = format!("{} {}", check.kernel, check.case);
        let what = format!("{name}, {} on {backend}", P::NAME);
        let outcomes = check
            .run(&bench.context, lengths)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        for outcome in &outcomes {
            let worst = outcome.worst().expect("every outcome has values");
            assert!(worst.ratio() <= 1.0, "{what}, {}: {worst:?}", outcome.name);
        }
        same(&name, &outcomes);
    }
}

fn follows_snapshots<P: Precision>(bench: &Bench) {
    holds::<P>(bench, SMALL, |name, outcomes| {
        let file = name.trim().replace(", ", "-").replace(' ', "-");
        insta::assert_snapshot!(file, text(outcomes));
    });
}

#[test]
fn every_kernel_in_every_precision_follows_the_same_snapshots() {
    let bench = Bench::open();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        in_every_precision!(follows_snapshots(&bench));
    });
}

fn follows_at_edges<P: Precision>(bench: &Bench) {
    holds::<P>(bench, EDGES, |_, _| {});
}

#[test]
fn every_kernel_in_every_precision_follows_its_oracle_at_the_edges_of_blocks() {
    let bench = Bench::open();
    in_every_precision!(follows_at_edges(&bench));
}

#[test]
fn a_kernel_gives_the_same_bits_twice() {
    let bench = Bench::open();
    for check in checks::<F32, R>() {
        let bits = || -> Vec<u32> {
            let outcomes = check.run(&bench.context, EDGES).unwrap();
            let values = outcomes.iter().flat_map(|outcome| &outcome.found);
            values.map(|x| x.to_bits()).collect()
        };
        assert!(bits() == bits(), "{} {}", check.kernel, check.case);
    }
}
