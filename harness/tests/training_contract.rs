//! Twenty steps of a small autoencoder with every optimizer in every precision, against f64.

use std::fmt::Write;
use std::rc::Rc;

use sonew_harness::lab::training_contract::cases;
use sonew_harness::workloads::autoencoder::network::Route;
use sonew_optimizers::{Context, PrecisionKind, Profile};
use sonew_runtime::Selector;

#[test]
fn the_losses_in_f64_are_those_of_the_snapshot() {
    let mut text = String::new();
    for case in cases() {
        let losses = case.losses().unwrap();
        writeln!(text, "{}", case.optimizer).unwrap();
        for row in losses.chunks(5) {
            let row: Vec<String> = row.iter().map(|x| format!("{x:.9}")).collect();
            writeln!(text, "  {}", row.join(" ")).unwrap();
        }
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.97 * first, "{} does not learn", case.optimizer);
    }
    insta::assert_snapshot!(text);
}

/// Every precision in host memory and in device memory.
fn both_routes() -> impl Iterator<Item = (PrecisionKind, Route)> {
    let routes = [Route::Host, Route::Device];
    let of = move |precision| routes.map(|route| (precision, route));
    PrecisionKind::ALL.into_iter().flat_map(of)
}

#[test]
fn the_software_driver_follows_the_losses_in_every_precision() {
    let device = sonew_runtime::open(Selector::Software)
        .expect("this test needs a Vulkan driver: install mesa-vulkan-drivers");
    let context = Rc::new(Context::new(device.client, Profile::LLVMPIPE));
    for (precision, route) in both_routes() {
        for case in cases() {
            let followed = case.follow(&context, precision, route).unwrap();
            let (step, difference, allowed) = followed.worst();
            println!(
                "{} {precision} {route:?}: {:.3}",
                case.optimizer,
                difference / allowed
            );
            assert!(
                difference <= allowed,
                "{} in {precision}, {route:?}: the loss of step {step} is off by {difference:e} of {allowed:e}",
                case.optimizer
            );
        }
    }
}
