//! What is declared of kernels.

use std::collections::BTreeSet;

use sonew_kernels::catalogue::Kernel;
use sonew_kernels::contract::Formats;

#[test]
fn every_kernel_has_a_name_of_its_own_and_is_checked() {
    let names = Kernel::names();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    for formats in Formats::ALL {
        let checks = formats.checks();
        // The application is checked with the factor that it applies.
        for name in names.iter().filter(|name| **name != "precondition") {
            assert!(checks.iter().any(|it| it.kernel == *name), "{name}");
        }
    }
}
