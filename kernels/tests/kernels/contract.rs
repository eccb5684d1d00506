//! The contract of all backends on the software driver: oracles against snapshots, and kernels against oracles.

use sonew_kernels::contract::{Coverage, EDGES, SMALL, checks};
use sonew_kernels::precision::{F32, Precision};

use crate::agreement::{follows_snapshot, hold};
use crate::bench::*;
use crate::tally::Tally;

/// Holds each kernel to its oracle on tensors of these lengths, the oracles of `SMALL` to their snapshots, and notes what the
/// device covers.
fn follows<P: Precision>(bench: &Bench, lengths: &[usize], coverage: &mut Tally) {
    for check in checks::<P, R>() {
        let here = match hold(&check, &bench.context, lengths, P::NAME) {
            Ok(outcomes) => {
                if lengths == SMALL {
                    follows_snapshot(&check, &outcomes);
                }
                Coverage::of::<P, R>(&bench.context)
            }
            Err(lacking) => lacking,
        };
        coverage.note(&check, P::NAME, here.to_string());
    }
}

/// Does that in every precision, and holds what is covered to its snapshot.
fn follows_everywhere(lengths: &[usize]) {
    let bench = Bench::open();
    let mut coverage = Tally::default();
    in_every_precision!(follows(&bench, lengths, &mut coverage));
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
