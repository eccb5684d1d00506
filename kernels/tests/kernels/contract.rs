//! The contract of all backends on the software driver: oracles against snapshots, and kernels against oracles.

use sonew_kernels::contract::{Coverage, EDGES, SMALL, checks};
use sonew_kernels::precision::{F32, Precision};

use crate::agreement::{follows_snapshot, hold};
use crate::bench::*;
use crate::tally::Tally;

fn follows_snapshots<P: Precision>(bench: &Bench, coverage: &mut Tally) {
    for check in checks::<P, R>() {
        let here = match hold(&check, &bench.context, SMALL, P::NAME) {
            Ok(outcomes) => {
                follows_snapshot(&check, &outcomes);
                Coverage::of::<P, R>(&bench.context)
            }
            Err(lacking) => lacking,
        };
        coverage.note(&check, P::NAME, here.to_string());
    }
}

#[test]
fn every_kernel_in_every_precision_follows_the_same_snapshots() {
    let bench = Bench::open();
    let mut coverage = Tally::default();
    in_every_precision!(follows_snapshots(&bench, &mut coverage));
    coverage.follows_snapshot("software-coverage");
}

fn follows_at_edges<P: Precision>(bench: &Bench) {
    for check in checks::<P, R>() {
        // What the device lacks is in the snapshot of its coverage.
        let _ = hold(&check, &bench.context, EDGES, P::NAME);
    }
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
