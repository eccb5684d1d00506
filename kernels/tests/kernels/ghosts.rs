//! How much is computed twice where runs meet.

use sonew_kernels::arena::Layout;
use sonew_kernels::context::Profile;
use sonew_kernels::precision::{Bf16, F32};
use sonew_kernels::sonew::{Blueprint, EdgeRemoval, Ghosts};

#[test]
fn ghosts_are_few_with_the_default_blueprints_up_to_band_8() {
    let layout = Layout::new(&[1000, 3]).unwrap();
    for profile in [Profile::LLVMPIPE, Profile::GPU] {
        for band in 0..=8 {
            let removal = if band > 1 {
                EdgeRemoval::Incident
            } else {
                EdgeRemoval::Outgoing
            };
            for blueprint in [
                Blueprint::infer::<F32>(profile, band),
                Blueprint::infer::<Bf16>(profile, band),
            ] {
                let ghosts = Ghosts::new(&layout, band, removal, blueprint);
                assert!(ghosts.are_few(), "{profile:?}, band {band}: {ghosts:?}");
            }
        }
    }
}
