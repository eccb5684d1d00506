//! How a device is held to the contract: its kernels to their oracles, the oracles to snapshots.

use std::fmt::Write;

use cubecl::Runtime;
use sonew_kernels::context::Context;
use sonew_kernels::contract::{Check, Coverage, Outcome};
use sonew_runtime::Gpu;

use crate::tally::{case, name};

/// Runs a check and holds each outcome to its tolerance. What comes back instead is why the device cannot run it.
pub fn hold(
    check: &Check,
    context: &Context,
    lengths: &[usize],
    precision: &str,
) -> Result<Vec<Outcome>, Coverage> {
    let backend = Gpu::name(context.client());
    let what = format!("{} on {backend}", name(check, precision));
    let outcomes = match check.run(context, lengths) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            return Err(Coverage::refused(&error).unwrap_or_else(|| panic!("{what}: {error}")));
        }
    };
    for outcome in &outcomes {
        let worst = outcome.worst().expect("every outcome has values");
        assert!(worst.ratio() <= 1.0, "{what}, {}: {worst:?}", outcome.name);
    }
    Ok(outcomes)
}

/// Holds the oracle to its snapshot, which is the same for all precisions and devices.
pub fn follows_snapshot(check: &Check, outcomes: &[Outcome]) {
    let file = case(check).replace(", ", "-").replace(' ', "-");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(file, text(outcomes));
    });
}

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
