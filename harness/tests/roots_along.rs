//! The device's roots along a run of Shampoo.

use std::rc::Rc;

use sonew_harness::lab::roots::{along, along_table};
use sonew_harness::workloads::autoencoder::images::Images;
use sonew_optimizers::Context;
use sonew_runtime::{Selector, open};

#[test]
fn the_device_refuses_no_root_along_a_run_of_shampoo() {
    let device = open(Selector::Software).unwrap();
    let context = Rc::new(Context::new(device.client, device.info.profile));
    // Fewer images than the widest layer has units, so that statistics have less than full rank; some pixels are always black.
    // Smaller matrices would be taken for vectors.
    let (count, cols) = (16, 70);
    let pixels = (0..count * cols).map(|at| match at % cols {
        0..4 => 0,
        column => ((at * at * 31 + column * 7) % 251) as u8,
    });
    let images = Images {
        count,
        rows: 1,
        cols,
        pixels: pixels.collect(),
    };
    let mut steps = Vec::new();
    let sizes = [cols, 60, cols];
    along(&context, &images, &sizes, 61, 0, &mut |step| {
        steps.push(*step)
    })
    .unwrap();
    let at: Vec<usize> = steps.iter().map(|it| it.step).collect();
    assert_eq!(at, [0, 20, 40, 60]);
    // Two sides of two matrices, and two vectors.
    assert!(steps.iter().all(|it| it.factors == 6), "{steps:?}");
    let raised: usize = steps.iter().map(|it| it.raised).sum();
    assert!(raised > 0, "nothing is hard about {steps:?}");
    assert!(steps.iter().all(|it| it.refused == 0), "{steps:?}");
    let table = along_table(&steps).to_text();
    let all: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(all[..4], ["all", "24", &raised.to_string(), "0"], "{table}");
}
